package imgtool

// fileScripts are about the files under images: those of the drivers file and host_device,
// external data files, and files that end inside a sector.
var fileScripts = []script{
	{"files without a format", `
		create -f file a 1M
		create -f file -o help
		create -f file -o help a
		create -f file b 1000
		info b
		create -f file -o size=3k,nocow=on b
		create -f file -o preallocation=full b 3k
		create -f file -o preallocation=foo b 3k
		create -f file -o foo=x b 3k
		create -f file -b a -F raw b 3k
		create -f file nodir/x 1M
		create -f file nbd:x:1 1M
		convert -O file a c
		same c
		convert -O file -o help a c
		convert -O file -B x -F raw a c
		convert -c -O file a c
		info -f file a
		info --output=json -f file a
		check -f file a
		map -f file a
		measure -O file --size 1M
		measure -O file a
		measure -f file a
		compare -f file -F file a a
		resize -f file a 2M
		info a
		amend -f file -o size=3M a
		amend -f file -o help
		dd -f file -O file if=a of=d
		same d
		rebase -f file -b "" a
		commit -f file a
		create -f qcow2 -b a -F file e
		info e
	`},
	{"options that say otherwise than -U", `
		info -U --image-opts driver=null-co,force-share=on
		info -U --image-opts driver=null-co,force-share=off
		create -q -f raw a 1M
		compare -U --image-opts driver=raw,file.filename=a driver=raw,file.filename=a,force-share=off
		map --image-opts driver=raw,file.filename=a,force-share=off
		map -U json:{"driver":"raw","file":{"driver":"file","filename":"a"},"force-share":false}
	`},
	{"devices", `
		create -f host_device -o help
		create -f host_device nowhere 1M
		create -f file a 1M
		create -f host_device a 1M
		create -f host_device /dev/null 1M
		create -f host_device /dev/null 0
		create -f host_device -o preallocation=full /dev/null 0
		convert -O host_device a b
		info -f host_device a
		measure -O host_device a
		create -f qcow2 -b a -F host_device c
		amend -f host_device -o help
	`},
	{"where the data is that is in another file", `
		create -q -f qcow2 -o data_file=d a 1M
		io -f qcow2 -c "write 0 128k" -c "write -z 64k 64k" a
		map a
		map --output=json a
		create -q -f qcow2 -b a -F qcow2 b
		io -f qcow2 -c "write 512k 64k" b
		map b
		map --image-opts driver=qcow2,file.filename=a,data-file.filename=d
		convert -c -O qcow2 -o data_file=e a c
		info --image-opts driver=qcow2,file.filename=f,data-file.filename=nowhere
		create -q -f qcow2 f 1M
		info --image-opts driver=qcow2,file.filename=f,data-file.filename=nowhere
		info --image-opts driver=qcow2,file.filename=f,data-file.filename=d
	`},
	{"a raw disk that ends inside a sector", `
		create -q -f raw a 64k
		poke a 65536 7
		map a
		map --output=json a
		map -f raw --output=json a
		map --output=json -s 65536 a
		map --output=json -s 65537 a
		map --output=json -l 100 a
		map --output=json --image-opts driver=raw,file.filename=a,cache.direct=on
		create -q -f qcow2 -b a -F raw b
		map b
		map --output=json b
		convert -O qcow2 a c
		~map --output=json c
		same c
		convert -c -O qcow2 b d
		same d
		convert -O raw b e
		map --output=json e
		compare a e
		measure -O qcow2 a
		rebase -b "" b
		same b
	`},
}
