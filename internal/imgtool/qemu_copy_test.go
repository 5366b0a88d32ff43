package imgtool

// copyScripts are about copying and comparing disks.
var copyScripts = []script{
	{"data and map", `
		create -f qcow2 base 1M
		io -c "write -P 1 0 300k" base
		create -f qcow2 -b base -F qcow2 top 2M
		io -c "write -P 2 128k 128k" -c "write -z 512k 64k" -c "write -z -u 576k 64k" -c "discard 128k 64k" top
		map top
		map --output=json top
		map --output=json -s 100k -l 100k top
		map -f raw --output=json base
		info --backing-chain top
		check top
		check --output=json top
		measure -O qcow2 top
		measure -O qcow2 --output=json top
		measure -O raw top
		measure -O qcow2 --size 1G
		measure -O qcow2 -o cluster_size=4k --size 10G
		measure -O qcow2 -o preallocation=full --size 10M
		measure top
	`},
	{"convert", `
		create -f qcow2 base 4M
		io -c "write -P 1 0 300k" base
		create -f qcow2 -b base -F qcow2 top 5M
		io -c "write -P 2 1M 128k" -c "write -z 64k 64k" -c "write -P 0 2M 128k" top
		convert top raw
		same raw
		convert -O qcow2 top flat
		same flat
		check flat
		compare top flat
		compare -s top flat
		convert -p -O qcow2 -o cluster_size=4k,compat=0.10 top small
		same small
		convert -c -O qcow2 top packed
		compare packed top
		convert -c -O qcow2 -o compression_type=zstd top zpacked
		compare -f qcow2 -F qcow2 zpacked top
		convert -O qcow2 -B base -F qcow2 top again
		same again
		info again
		map --output=json again
		convert -n -O qcow2 base flat
		same flat
		convert -n -O qcow2 top base
		convert base top cat
		same cat
		convert -S 0 -O qcow2 base full
		map --output=json full
		same full
		convert -O qcow2 -W -m 16 top any
		compare top any
		convert -c top x
		convert -c -O qcow2 -o preallocation=full top x
		convert -O qcow2 none x
		convert -O qcow2 -B base top x
		convert -l nope -O qcow2 top x
	`},
	{"compressed into larger clusters", `
		create -f qcow2 -o cluster_size=4k a 1000k
		io -c "write -P 1 4k 8k" -c "write -P 2 100k 4k" -c "write -P 3 900k 100k" a
		convert -c -O qcow2 a b
		compare a b
		convert -c -W -O qcow2 -o cluster_size=2M a c
		compare a c
		create -f qcow2 -b a -F qcow2 top
		io -c "write -P 4 8k 4k" -c "write -P 5 300k 4k" top
		convert -c -O qcow2 -B a -F qcow2 top d
		compare top d
	`},
	{"compare", `
		create -f qcow2 a 1M
		create -f qcow2 b 1M
		create -f qcow2 c 2M
		compare a b
		compare -q a b
		compare a c
		compare -s a c
		io -c "write -P 3 100k 1k" b
		compare a b
		compare b a
		compare -s a b
		compare -q a b
		io -c "write -P 3 1900k 1k" c
		compare a c
		compare a none
		compare -f raw -F qcow2 a b
	`},
	{"dd", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 300k" a
		dd if=a of=b
		same b
		dd -O qcow2 if=a of=c bs=64k count=2
		same c
		info c
		dd -O qcow2 if=a of=d bs=1M skip=2
		info d
		dd if=a of=e bs=4k skip=10 count=10
		same e
		dd if=a of=f bs=0
		dd if=none of=g
	`},
	{"a raw disk whose format is guessed", `
		create r 1M
		measure -O qcow2 -o compat=v2 r
		create -f qcow2 a 1M
		convert -n -O raw r r2
		dd if=a of=r2
		resize r 2M
	`},
	{"faults", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 64k" a
		info blkdebug::a
		info -f raw blkdebug::a
		map blkdebug::a
		info blkdebug:none:a
		info blkdebug:a
		map --image-opts driver=blkdebug,image.filename=a
		info --image-opts driver=qcow2,file.driver=foo
		convert --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a,file.inject-error.0.event=read_aio,file.inject-error.0.errno=28 b
		convert --salvage --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a,file.inject-error.0.event=read_aio,file.inject-error.0.once=on b
		check --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a
		info --image-opts driver=qcow2,lazy-refcounts=on,overlap-check=all,cache-size=1M,file.filename=a
	`},
}
