package imgtool

// nestedScripts are about disks in disks, and backing files by names that are no plain
// file names.
var nestedScripts = []script{
	{"disks in disks", `
		create -q -f qcow2 inner 16M
		io -f qcow2 -c "write -P 3 1M 64k" inner
		convert -f raw -O qcow2 inner outer
		info json:{"driver":"qcow2","file":{"driver":"qcow2","file":{"driver":"file","filename":"outer"}}}
		info --output=json --image-opts driver=qcow2,file.driver=qcow2,file.file.filename=outer
		compare --image-opts driver=qcow2,file.filename=inner driver=qcow2,file.driver=qcow2,file.file.filename=outer
		check --image-opts driver=qcow2,file.driver=qcow2,file.file.filename=outer
		convert --image-opts -O raw driver=qcow2,file.driver=qcow2,file.file.filename=outer flat
		same flat
		info --image-opts driver=raw,file.driver=qcow2,file.file.filename=outer
		~map --output=json --image-opts driver=raw,file.driver=qcow2,file.file.filename=inner
		convert --image-opts -O raw driver=raw,file.driver=qcow2,file.file.filename=inner flat2
		same flat2
		convert --image-opts -O qcow2 driver=raw,offset=1M,size=128k,file.driver=qcow2,file.file.filename=inner part
		same part
		info --image-opts file.driver=qcow2,file.file.filename=outer
		info --image-opts driver=qcow2,file.driver=qcow2,file.file.filename=none
		info --image-opts driver=qcow2,file.driver=qcow2,file.file.filename=inner
	`},
	{"backing files by options", `
		create -q -f qcow2 base 1M
		io -f qcow2 -c "write -P 3 0 64k" base
		create -q -f qcow2 -u -b json:{"driver":"qcow2","file":{"driver":"file","filename":"base"}} -F qcow2 top 1M
		info top
		info --backing-chain top
		~map top
		io -f qcow2 -c "read -P 3 0 64k" top
		convert -O raw top flat
		same flat
		io -f qcow2 -c "write -P 4 64k 64k" top
		commit top
		same base
		same top
		create -q -f qcow2 -u -b "json:{'driver':'qcow2','file':{'driver':'blkdebug','inject-error':[{'event':'write_aio','errno':28,'once':true}],'image':{'driver':'file','filename':'base'}}}" -F qcow2 bad 1M
		io -f qcow2 -c "write -P 5 128k 64k" bad
		commit bad
		same base
		create -q -f qcow2 -u -b "json:{'driver':'raw','offset':512,'file':{'filename':'flat'}}" -F raw window 64k
		convert -O raw window flat3
		same flat3
		create -q -f qcow2 -u -b nosuch:thing -F qcow2 odd 1M
		convert -O raw odd flat4
	`},
	{"commit that fails half way", `
		create -q -f qcow2 base 1M
		create -q -f qcow2 -b base -F qcow2 top
		io -f qcow2 -c "write -P 3 0 64k" top
		commit --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=top,file.inject-error.0.event=empty_image_prepare
		same base
	`},
	{"compare's messages", `
		create -q -f qcow2 a 1M
		create -q -f qcow2 b 2M
		io -f qcow2 -c "write -P 3 1M 64k" b
		compare --image-opts driver=qcow2,file.filename=a driver=qcow2,file.driver=blkdebug,file.image.filename=b,file.inject-error.0.event=read_aio
	`},
}
