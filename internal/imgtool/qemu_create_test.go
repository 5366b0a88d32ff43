package imgtool

// createScripts are about making images: what their options give, and what is refused.
var createScripts = []script{
	{"usage", `
		info
		foo
		info -x a
		info -f
		info --outp=xx a
		info a b
		info none
		info -f foo none
		create
		create -f foo a 1M
		create a
		create a 1Q
		create a 1M 2M 3M
		create -f qcow2 -o help
		create -f qcow2 -o help x
		create -f raw -o help
		create -f luks -o ?
		amend -f qcow2 -o help
		amend a
		convert a
		convert -m 17 a b
		convert -S 100 a b
		convert --target-is-zero a b
		convert -O foo a b
		compare a
		snapshot -l -c x a
		rebase a
		resize a
		measure
		measure --size 1M a
		measure a b
		bitmap a
		bitmap a b
		dd if=a
		dd foo=a
		map none
		check none
		bench --pattern=999 a
		bench --flush-interval=3 -w a
	`},
	{"create", `
		create -f qcow2 a 1G
		info a
		info --output=json a
		check a
		map a
		map --output=json a
		create -f qcow2 -o cluster_size=4k,refcount_bits=1,lazy_refcounts=on b 1M
		info b
		info --output=json b
		create -f qcow2 -o compat=0.10 c 10M
		info c
		info --output=json c
		create -f qcow2 -o compression_type=zstd,size=3M d
		info d
		create -f qcow2 -b a -F qcow2 e
		create -f qcow2 -o extended_l2=on,cluster_size=128k x 10M
		info x
		info --output=json x
		info e
		info --output=json e
		info --backing-chain e
		info --backing-chain --output=json e
		create -f qcow2 -b a -F qcow2 f 2G
		info f
		create f2 1000
		info f2
		create -q f3 1M
		create -f qcow2 -o preallocation=metadata p 10M
		info p
		map --output=json p
		same a
		same b
		same d
		same e
		same p
	`},
	{"create refuses", `
		create -f qcow2 a 1M
		create -f qcow2 -b a b
		create -f qcow2 -b none -F qcow2 b
		create -f qcow2 -b a -F foo b
		create -f qcow2 -b a -F qcow2 a
		create -f qcow2 -o foo=1 b 1M
		create -f qcow2 -o cluster_size=100 b 1M
		create -f qcow2 -o cluster_size=4M b 1M
		create -f qcow2 -o cluster_size=x b 1M
		create -f qcow2 -o compat=9 b 1M
		create -f qcow2 -o refcount_bits=3 b 1M
		create -f qcow2 -o refcount_bits=x b 1M
		create -f qcow2 -o refcount_bits=8,compat=0.10 b 1M
		create -f qcow2 -o lazy_refcounts=on,compat=0.10 b 1M
		create -f qcow2 -o lazy_refcounts=maybe b 1M
		create -f qcow2 -o compression_type=zstd,compat=0.10 b 1M
		create -f qcow2 -o compression_type=lzma b 1M
		create -f qcow2 -o preallocation=some b 1M
		create -f qcow2 -o data_file_raw=on b 1M
		create -f qcow2 -o extended_l2=on,cluster_size=8k b 1M
		create -f qcow2 -o extended_l2=on,compat=0.10 b 1M
		create -f qcow2 b
		create -f qcow2 b 1E
		create -f raw -b a -F qcow2 b
	`},
	{"in what order things are found wrong", `
		convert -T foo none b
		convert -t foo none b
		convert -n -o size=1M none b
		convert -n -B none none b
		convert -O raw -F qcow2 -S 0 none b
		measure -O raw -o cluster_size=4k none
		measure -O raw -o cluster_size=4k --size 1M
		check -f raw none
		create -f qcow2 a 1M
		create r 1M
		convert -O raw -F qcow2 a b
		convert -l s -f raw r b
		convert -t foo a b
		convert -c -n -f raw a r
		convert -n -O raw a none
		convert -O qcow2 -o size=5M,cluster_size=4k a sized
		info sized
		convert -O qcow2 -o backing_file=a a b
		create -f qcow2 -o size=1M b 1M
		create -b a -F qcow2 b
		create -F qcow2 b 1M
		create -f qcow2 -b r -F qcow2 b
		create -f qcow2 -b a -F qcow2 -o preallocation=falloc b
		create -f qcow2 -o extent_size_hint=1M,nocow=off b 1M
		check -r all r
		create -f qcow2 -b none -F qcow2 -u b
		convert -S 100 -m 17 a b
		convert -m 17 -S 100 a b
		commit -b d -f raw r
		bitmap --enable r y
		bitmap --merge x -b none a y
		bitmap --merge x a y
		amend -o backing_file=r a
		bench -n -c 1 a
		bench -i native -c 1 a
	`},
	{"preallocation over a backing file", `
		create -f qcow2 base 1M
		io -c "write -P 1 0 1M" base
		create -f qcow2 -b base -F qcow2 a 100000
		resize --preallocation=metadata a 1M
		same a
		create -f qcow2 -b base -F qcow2 b 2M
		io -c "write -P 2 0 64k" b
		resize --preallocation=falloc b 3M
		resize --preallocation=full b 4M
		same b
		create -f qcow2 -b b -F qcow2 c 1M
		resize --preallocation=metadata c 2M
		~map --output=json c
		resize --preallocation=falloc c 3M
		same c
		info b
	`},
	{"secrets", `
		create -f qcow2 --object secret,id=s,data=tell -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 a 1M
		create -f luks --object secret,id=s,data=tell -o key-secret=s,iter-time=10 l 1M
		info a
		info l
		info --object {"qom-type":"secret","id":"s","data":"tell"} a
		info --object {'qom-type':'secret','id':'1s','data':'tell'} a
		info --object {"qom-type":"secret","id":"s","data":1} a
		info --object {"id":"s" a
		info --object secret,id=1s,data=tell a
		info --object secret,id=s,data a
		info --object secret,id=s,data=tell,iv=x,keyid=none a
		measure -O luks --object secret,id=s,data=tell -o key-secret=s --size 1G
		measure -O luks --object secret,id=s,data=tell -o key-secret=s,cipher-alg=aes-128 --size 1000
		measure -O luks --object secret,id=s,data=tell -o key-secret=s -f raw l
		measure -O luks --size 1G
		measure -O luks -o key-secret=x --size 1G
		create -f luks --object secret,id=s,format=base64,data=//79 -o key-secret=s,iter-time=10 n 1M
		check --object {"qom-type":"secret","id":"s","data":"tell"} --image-opts driver=luks,file.filename=l,key-secret=s
		check a
		check l
		check --object secret,id=s,data=tell --image-opts driver=luks,file.filename=l,key-secret=s
		check --object secret,id=s,data=tell --image-opts driver=qcow2,file.filename=a,encrypt.key-secret=s
		check --object secret,id=s,data=wrong --image-opts driver=qcow2,file.filename=a,encrypt.key-secret=s
		check --object secret,id=s,data=wrong --image-opts driver=luks,file.filename=l,key-secret=s
		map a
		map l
		compare a a
		convert a x
		snapshot -l a
		resize a 2M
		resize -f luks l 2M
		measure l
		info --object secret,id=s a
		info --object secret,id=s,file=none a
	`},
	{"names", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 300k" a
		info --image-opts driver=qcow2,file.filename=a
		map --image-opts driver=qcow2,file.driver=file,file.filename=a
		map "json:{'driver':'qcow2','file':{'driver':'file','filename':'a'}}"
		map --output=json --image-opts driver=raw,file.filename=a
		compare --image-opts driver=qcow2,file.filename=a driver=raw,file.filename=a
		info --image-opts driver=foo,file.filename=a
		info --image-opts -f qcow2 driver=qcow2,file.filename=a
		measure --image-opts driver=null-co,size=1M
		check file:a
	`},
	{"encryption", `
		create -f qcow2 --object secret,id=s,data=tell -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 a 1M
		create -f qcow2 -o encrypt.format=luks a2 1M
		create -f qcow2 -o encrypt.format=luks,encrypt.key-secret=none a2 1M
		create -f qcow2 --object secret,id=s,data=tell -o encrypt.format=foo,encrypt.key-secret=s a2 1M
		convert --object secret,id=s,data=tell --image-opts driver=qcow2,file.filename=a,encrypt.key-secret=s plain
		same plain
	`},
}
