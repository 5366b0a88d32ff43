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
	{"names that are no files", `
		create -q -f qcow2 a 8M
		create -q -f raw r 8M
		create -f qcow2 foo:bar 1M
		create -f raw -o foo=x foo:bar 1M
		create -f qcow2 a:b:c 1M
		create -f luks json:{} 1M
		create -f raw blkdebug::x 1M
		create -f raw null-co:// 1M
		create -f raw fat:x 1M
		create -f file foo:bar 1M
		create -f qcow2 -o data_file=foo:bar x 1M
		create -f qcow2 -o data_file=json:{} x 1M
		convert -O qcow2 a foo:bar
		convert -O raw -o foo=x a json:{}
		convert -O raw a null-co://
		convert -n -O raw a null-co://
		dd if=a of=foo:bar
		create -f raw ./foo:bar 1M
		info ./foo:bar
		create -f qcow2 file:y 1M
		info y
		create -f qcow2 -b null-co:// -F null-co nb
		info nb
		create -f qcow2 -b "json:{'driver':'null-co','size':1048576}" -F null-co nb
		create -f qcow2 -b a -F foo nb
		info json:
		info json:{
		info json:{"driver":"qcow2","file.filename":"a"}}
		info "json:{'driver':'qcow2','file.filename':'a'} x"
		info json:1
		convert -O raw a /dev/null
		create -f raw /dev/null 1M
		create -f qcow2 /dev/null 1M
	`},
	{"snapshots that are named by a number", `
		create -q -f qcow2 a 8M
		snapshot -c s1 a
		snapshot -c 1 a
		snapshot -c 7 a
		snapshot -d 2 a
		snapshot -d 3 a
		snapshot -a 3 a
		snapshot -d 1 a
		snapshot -d 1 a
		snapshot -l a
	`},
	{"what is said of faults to inject", `
		create -q -f raw r 8M
		info --image-opts driver=file
		info --image-opts driver=host_device
		info --image-opts driver=raw
		info --image-opts driver=blkdebug
		info --image-opts driver=blkdebug,image.filename=r,inject-error.0.event=foo
		info --image-opts driver=blkdebug,image.filename=r,inject-error.0.errno=5
		info --image-opts driver=blkdebug,image.filename=r,inject-error.0.event=read_aio,inject-error.0.once=foo
		info --image-opts driver=blkdebug,image.filename=r,inject-error.0.event=read_aio,inject-error.0.foo=1
		info --image-opts driver=blkdebug,image.filename=r,inject-error.0.event=read_aio,inject-error.0.errno=x
		info --image-opts driver=blkdebug,image.filename=r,inject-error.0.event=read_aio,inject-error.0.iotype=x
		info --image-opts driver=blkdebug,image.filename=r,set-state.0.event=read_aio,set-state.0.new_state=x
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
