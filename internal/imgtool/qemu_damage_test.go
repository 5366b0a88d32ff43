package imgtool

// damageScripts are about images whose header or tables are no good.
var damageScripts = []script{
	{"header sizes", `
		create -q -f qcow2 a 64M
		poke a 100 255 255 255 255
		info a
		poke a 100 127 255 255 255
		info a
		poke a 100 0 0 0 96
		info a
		poke a 100 0 0 0 112
		poke a 4 0 0 0 4
		info -f qcow2 a
		poke a 4 0 0 0 1
		info -f qcow2 a
		poke a 4 0 0 0 3
		poke a 20 0 0 0 8
		info a
		poke a 20 0 0 0 22
		check a
		poke a 20 0 0 0 16
		poke a 96 0 0 0 7
		info a
		poke a 96 0 0 0 4
		poke a 104 2
		info a
		poke a 104 1
		info a
		poke a 104 0
		poke a 79 8
		info a
		poke a 79 0
		info a
	`},
	{"header extensions", `
		create -q -f qcow2 a 64M
		poke a 8 255 255 255 255 255 255 255 255
		info a
		poke a 112 18 52 86 120 127 255 255 255
		poke a 8 0 0 0 0 0 0 0 116
		info a
		poke a 8 0 0 0 0 0 0 0 0
		info a
		poke a 112 226 121 42 202 0 0 0 16
		info a
		poke a 112 5 55 190 119 0 0 0 16
		info a
		create -q -f qcow2 b 64M
		poke b 8 0 0 0 0 0 0 16 0 255 255 255 255
		info b
		map b
	`},
	{"tables of the header", `
		create -q -f qcow2 a 64M
		poke a 56 255 255 255 255
		info a
		poke a 56 0 2 0 1
		convert -O raw a b
		poke a 56 0 0 0 0
		info a
		poke a 56 0 0 0 1
		poke a 48 18 52 86 120 144 171 205 239
		info a
		poke a 48 255 255 255 255 255 255 0 0
		info a
		poke a 48 0 0 0 0 0 1 0 0
		poke a 60 255 255 255 255
		info a
		poke a 60 0 0 255 255 18 52 86 120 144 171 205 239
		info a
		poke a 60 0 0 0 0 0 0 0 0 0 0 0 0
		poke a 36 255 255 255 255
		info a
		poke a 36 0 0 0 1 18 52 86 120 144 171 205 239
		info a
		poke a 36 0 0 0 0 0 0 0 0 0 3 0 0
		info a
		poke a 36 0 0 0 1
		poke a 24 16 0 0 0 0 0 0 0
		info a
		poke a 24 0 0 0 0 4 0 0 0
		info a
	`},
	{"features", `
		create -q -f qcow2 a 64M
		poke a 32 0 0 0 3
		info a
		poke a 32 0 0 0 0
		poke a 72 0 0 1 0 0 0 0 0
		info a
		check a
		poke a 72 0 0 0 0 0 0 0 2
		info a
		resize a 65M
		snapshot -c x a
		poke a 72 0 0 0 0 0 0 0 0
		poke a 95 2
		convert -O raw a b
	`},
	{"as many snapshots as can be", `
		create -q -f qcow2 a 64M
		poke a 64 0 0 0 0 1 0 0 0
		poke a 60 0 1 0 0
		snapshot -c test a
	`},
	{"a snapshot table with too much in it", `
		create -q -f qcow2 a 64M
		io -f qcow2 -c "write 0 512" a
		img snapshot -c test a
		poke a 458788 0 0 16 0
		info a
		snapshot -l a
		check a
		check --output=json a
		check -r leaks a
		~check -r all a
		~check a
		same a
		create -q -f qcow2 b 64M
		poke b 60 0 2 0 0
		poke b 64 0 0 0 0 0 16 0 0
		info b
		check b
		check -r leaks b
	`},
	{"a refcount of 0", `
		create -q -f qcow2 a 64M
		io -f qcow2 -c "write -P 5 0 128k" a
		poke a 131082 0 0
		check a
		check -r leaks a
		check -r all a
		check a
		same a
		create -q -f qcow2 -o cluster_size=512,refcount_bits=64 b 1M
		io -f qcow2 -c "write -P 5 0 128k" b
		poke b 512 0 0 0 0 0 0 0 0
		~check b
		~check -r all b
		~check b
		same b
	`},
	{"bitmaps that can't be", `
		create -q -f qcow2 a 1M
		img bitmap --add -f qcow2 a one
		poke a 327695 66
		info a
		map a
		resize a 2M
		poke a 327695 2
		info a
		poke a 327697 77
		info a
		poke a 327697 16
		poke a 327699 99
		info a
		convert -O raw a b
	`},
	{"a snapshot's L1 table out of place", `
		create -q -f qcow2 a 64M
		io -f qcow2 -c "write 0 512" a
		img snapshot -c test a
		poke a 458752 0 0 0 0 0 64 2 0
		check a
		info a
		convert -l test -O raw a b
		convert -O raw a b
		snapshot -a test a
		snapshot -d test a
		poke a 458752 0 0 0 0 0 6 0 0 16 0 0 0
		check a
		convert -l test -O raw a b
		snapshot -a test a
		snapshot -d test a
	`},
	{"a file that was cut off", `
		img create -q -f qcow2 a 64k
		io -f qcow2 -c "write 0 64k" a
		img resize -q -f raw --shrink a 320k
		map a
		map --output=json a
		convert -O raw a b
		same b
		create -q -f qcow2 c 64k
		io -f qcow2 -c "write 0 64k" c
		img resize -q -f raw --shrink c 320k
		map c
		map --output=json c
	`},
	{"a refcount block that is also data", `
		img create -q -f qcow2 a 64M
		io -f qcow2 -c "write 0 512" a
		poke a 262144 128 0 0 0 0 2 0 0
		check a
		bench -c 1 -w a
		check -r all a
		check a
		create -q -f raw b 1M
		io -f raw -c "write 0 1M" b
		img create -q -f qcow2 c 1M
		poke c 131072 0 0 0 0 0 0 0 0
		convert -m 1 -c -n -O qcow2 b c
	`},
	{"corruption found on the way", `
		img create -q -f qcow2 a 64M
		io -f qcow2 -c "write 0 128k" a
		poke a 262144 128 0 0 0 0 5 42 0
		convert -O raw a b
		compare a a
		map a
		snapshot -c x a
		rebase -b "" a
		img create -q -f qcow2 c 64M
		io -f qcow2 -c "write 0 128k" c
		poke c 196608 128 0 0 0 0 4 42 0
		convert -O raw c d
		map c
		bench -c 1 -w c
		info c
		bench -c 1 -w c
		img create -q -f qcow2 e 64M
		io -f qcow2 -c "write 0 128k" e
		poke e 262144 128 0 0 0 0 3 0 0
		bench -c 1 -w e
		bench -c 1 -w e
		convert -O raw e f
		img create -q -f qcow2 -o extended_l2=on g 64M
		io -f qcow2 -c "write 0 128k" g
		poke g 262155 1
		img create -q -f qcow2 j 64M
		io -f qcow2 -c "write 0 128k" j
		poke j 262150 66
		bench -c 1 -w j
		bench -c 1 -w g
		img create -q -f qcow2 -o extended_l2=on h 64M
		io -f qcow2 -c "write 0 128k" h
		poke h 262155 1
		convert -O raw h i
	`},
}
