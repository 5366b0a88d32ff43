package imgtool

// wordScripts are command lines that qemu-img refuses, or takes with a word about it.
var wordScripts = []script{
	{"options before the command", `
		create -q -f qcow2 a 1M
		-T foo info a
		-Tfoo info a
		--trace foo* info a
		--trace=foo,file=x info a
		--trace enable=foo info a
		-T
		--trace
		-q info a
	`},
	{"what is said of options", `
		create -q -f qcow2 a 8M
		create -q -f raw r 1M
		create -f qcow2 -F qcow2 x 1M
		create -f raw -o preallocation=metadata x 1M
		info --output a
		check -r foo a
		check -T foo a
		map --output=foo
		snapshot --output=json -l a
		info --outp=json --foo a
		info --o a
		convert --bitmaps -O qcow2 r b
		convert --target-image-opts -n -O qcow2 a driver=qcow2,file.filename=a
		commit -r x a
		measure -o encrypt.format=luks -O qcow2 a
		amend -o size=1000 a
		bench -s 3G a
		bench -S 3G a
		bench -S x a
		bench -c 1 -o 8M a
		bench -c 1 -o 99G a
		bench -c 1 -t foo a
		commit a
	`},
	{"options of disks whose effect is not seen", `
		create -q -f qcow2 a 8M
		create -q -f raw r 1M
		info --image-opts driver=qcow2,file.filename=a,detect-zeroes=on
		info --image-opts driver=qcow2,file.filename=a,detect-zeroes=foo
		info --image-opts driver=qcow2,file.filename=a,detect-zeroes=unmap
		info --image-opts driver=qcow2,file.filename=a,detect-zeroes=unmap,discard=unmap
		info --image-opts driver=qcow2,file.filename=a,file.aio=io_uring
		info --image-opts driver=qcow2,file.filename=a,file.aio=foo
		info --image-opts driver=qcow2,file.filename=a,file.aio=native
		info --image-opts driver=qcow2,file.filename=a,file.aio=native,cache.direct=on
		info --image-opts driver=qcow2,file.filename=a,aio=native
		info --image-opts driver=file,filename=r,aio=native
		info --image-opts driver=file,filename=r,aio-max-batch=4
		info --image-opts driver=qcow2,file.filename=a,file.aio-max-batch=x
		info --image-opts driver=qcow2,file.filename=a,file.pr-manager=x
		info --image-opts driver=qcow2,file.filename=a,file.x-check-cache-dropped=on
		info --image-opts driver=qcow2,file.filename=a,file.drop-cache=foo
		info --image-opts driver=qcow2,file.filename=a,file.drop-cache=on
		info --image-opts driver=qcow2,file.filename=a,node-name=x
		info --image-opts driver=qcow2,file.filename=a,node-name=1x
		info --image-opts driver=qcow2,file.filename=a,file.node-name=
		info --image-opts driver=null-co,size=1M,latency-ns=5
		info --image-opts driver=null-co,size=1M,latency-ns=-5
	`},
}
