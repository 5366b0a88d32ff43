package imgtool

// changeScripts are about changing images: size, snapshots, backing files, bitmaps.
var changeScripts = []script{
	{"snapshot", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 64k" a
		snapshot -c one a
		io -c "write -P 2 0 128k" a
		snapshot -c two a
		snapshot -l a
		snapshot a
		info a
		info --output=json a
		convert -l one -O qcow2 a one
		same one
		convert -l snapshot.name=two -O qcow2 a two
		same two
		convert -l snapshot.id=1 -O qcow2 a id
		same id
		snapshot -a one a
		same a
		snapshot -d one a
		snapshot -d one a
		snapshot -a one a
		snapshot -l a
		~check a
		same a
		create raw 1M
		snapshot -l raw
	`},
	{"resize", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 1M" a
		resize a 2M
		resize a +1M
		info a
		same a
		resize a 1M
		resize --shrink a 512k
		info a
		check a
		same a
		resize -q a 1M
		same a
		resize a -- -512k
		resize a -512k
		resize a -x
		resize -1k
		resize --shrink a -- -512k
		resize --shrink a -- -1M
		resize a 0
		resize a foo
		resize a 8E
		resize a 9E
		resize a 7E
		resize a 16E
		resize a +8E
		resize a -8E
		resize a 9223372036854775807
		resize a 0x7fffffffffffffff
		resize a 0x8000000000000000
		resize --preallocation=foo a 3M
		resize --preallocation=metadata a 3M
		info a
		resize --preallocation=falloc a 5M
		resize --preallocation=full a +1M
		img check a
		same a
		resize --preallocation=full a 6M
		resize --preallocation=falloc a 1M
		resize --preallocation=metadata --shrink a 1M
		create r 1M
		resize r 2M
		resize -f raw r 3M
		resize -f raw --preallocation=metadata r 4M
		resize -f raw --preallocation=falloc r 4M
		info r
		resize -f raw --preallocation=full r 5M
		resize -f raw --shrink --preallocation=full r -256K
		resize -f raw --shrink r -256K
		info r
	`},
	{"commit with data files", `
		create -f qcow2 -o data_file=base.data base 1M
		create -f qcow2 -o data_file=mid.data -b base -F qcow2 mid
		create -f qcow2 -o data_file=top.data -b mid -F qcow2 top
		io -c "write -P 1 0 128k" base
		io -c "write -P 2 64k 128k" mid
		io -c "write -P 3 256k 64k" top
		commit -d top
		compare top mid
		commit -b base top
		io -c "read -P 1 0 64k" -c "read -P 2 64k 128k" -c "read -P 3 256k 64k" base
		same base
		same base.data
		check base
	`},
	{"commit and rebase", `
		create -f qcow2 base 1M
		io -c "write -P 1 0 512k" base
		create -f qcow2 -b base -F qcow2 mid
		io -c "write -P 2 128k 128k" mid
		create -f qcow2 -b mid -F qcow2 top 2M
		io -c "write -P 3 192k 128k" -c "write -P 4 1500k 64k" top
		commit -d top
		same mid
		same top
		commit top
		same mid
		same top
		info mid
		commit base
		commit -b none top
		io -c "write -P 5 0 64k" top
		commit -b base top
		same base
		rebase -b base -F qcow2 top
		same top
		info top
		map --output=json top
		rebase -b "" top
		info top
		same top
		rebase -u -b base -F qcow2 top
		info top
		rebase -b none -F qcow2 top
		rebase -F foo -b base top
	`},
	{"amend", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 64k" -c "write -z 64k 64k" a
		amend -o compat=0.10 a
		info a
		same a
		amend -o lazy_refcounts=on a
		amend -o refcount_bits=8 a
		amend -o compat=1.1,lazy_refcounts=on,refcount_bits=64 a
		info a
		~check a
		same a
		amend -o size=2M a
		info a
		amend -o compat=5 a
		amend -o foo=1 a
		amend -o refcount_bits=7 a
		amend -o cluster_size=4k a
		create r 1M
		amend -f raw -o size=3M r
	`},
	{"bitmap", `
		create -f qcow2 a 10M
		bitmap --add a b0
		snapshot -a one a
		bitmap --add -g 128k a b1
		bitmap --add a b0
		bitmap --disable a b1
		info a
		info --output=json a
		io -c "write 1M 64k" a
		bitmap --merge b0 a b1
		bitmap --clear a b0
		bitmap --enable a b1
		info a
		~check a
		convert --bitmaps -O qcow2 a copy
		info copy
		measure -O qcow2 a
		bitmap --remove a b0
		bitmap --remove a b0
		bitmap --merge none a b1
		bitmap --add -g 1000 a x
		bitmap --add -g 100 a x
		info a
		~check a
		create -f qcow2 -o compat=0.10 old 1M
		bitmap --add --remove a y
		info a
	`},
	{"rebase without a format", `
		create -f qcow2 a 1M
		create -f qcow2 b 1M
		create r 1M
		rebase -b a b
		rebase -u -b a b
		rebase -b none b
		rebase -f raw -b a -F qcow2 r
		rebase -f raw -u r
		rebase -t foo -b a b
		rebase -T foo -b a b
		info b
	`},
	{"version 2 with snapshots", `
		create -f qcow2 -o compat=0.10 a 1M
		snapshot -c s a
		resize a 2M
		resize a 1M
		amend -o size=2M a
		info a
	`},
	{"sizes that are not of sectors", `
		create -f qcow2 a 1M
		resize a +1000
		create r 1M
		resize -f raw r +1000
		info r
		create tiny 1000
		map --output=json -f raw tiny
		map --output=json -f raw r
		map -f raw r
		create -f qcow2 none 0
		map --output=json none
		map none
		map --output=json -s 2M a
	`},
	{"a backing file that is not there", `
		create -f qcow2 a 1M
		create -f qcow2 -b a -F qcow2 b
		create -f qcow2 -b b -F qcow2 c
		rebase -u -b none -F qcow2 a
		map c
		compare b c
		create -f qcow2 -b c -F qcow2 d
		info c
		convert c x
	`},
}
