package imgtool

// formScripts are command lines whose options, sizes and JSON have forms that are rare, out of use
// or broken.
var formScripts = []script{
	{"JSON that is broken", `
		create -q -f qcow2 a 1M
		info json:}
		info json:{]
		info json:{,}
		info json:{'a'}
		info json:{'a':}
		info json:{'a':1,}
		info "json:{'a' 1}"
		info "json:{'a':1 'b':2}"
		info json:{'a':1;'b':2}
		info json:{a:1}
		info json:{1:2}
		info json:{'driver':qcow2}
		info json:{'driver':'qcow2','file.filename':'a','x':True}
		info json:{'driver':'qcow2','file.filename':'a','x':-}
		info json:{'driver':'qcow2','file.filename':'a','x':01}
		info json:{'driver':'qcow2','file.filename':'a','x':'b}
		info json:{'driver':'qcow2','file.filename':'a','x':'\q'}
		info json:{'driver':'qcow2','file.filename':'a','x':'\u12c'}
		info json:{'driver':'qcow2','file.filename':'a','driver':'raw'}
		info json:nullx
		info json:[[[
		info json:{'a':[1,2}
		info json:{}x
		info json:{'driver':'qcow2','file':{'filename':'a'}}}
	`},
	{"JSON of the wrong types", `
		create -q -f qcow2 a 1M
		info json:{'driver':1,'file.filename':'a'}
		info json:{'driver':'qcow2','file':1}
		info json:{'driver':'qcow2','file':null}
		info json:{'driver':'qcow2','file':['a']}
		info json:{'driver':'qcow2','file':{'filename':1}}
		info json:{'driver':'qcow2','file':'b','file.filename':'a'}
		info json:{'driver':'qcow2','file..filename':'a'}
		info json:{'driver':'qcow2','.file':'x','file.filename':'a'}
		info json:{'driver':'qcow2','backing':'','file.filename':'a'}
		info json:{'driver':'qcow2','backing':1,'file.filename':'a'}
		info json:{'driver':'qcow2','backing':{},'file.filename':'a'}
		map json:{'driver':'qcow2','backing':'x','file.filename':'a'}
		info json:{'driver':'qcow2','file.filename':'a','read-only':'true'}
	`},
	{"forms out of use", `
		create -f qcow2 a 0x100k
		create -f qcow2 -o cluster_size=0x10k a 1M
		create -f qcow2 -o size=0x10k a
		create -f qcow2 -o nolazy_refcounts a 1M
		create -f qcow2 -o lazy_refcounts=yes,extended_l2=false a 1M
		create -f qcow2 -o lazy_refcounts=YES a 1M
		create -f qcow2 -o nofoo a 1M
		create -f qcow2 a +1M
		info --image-opts driver=qcow2,file.filename=a,lazy-refcounts
		info --image-opts driver=qcow2,file.filename=a,nolazy-refcounts
		info --image-opts driver=qcow2,file.filename=a,foo
		info --image-opts driver=qcow2,file.filename=a,read-only=n
		info --image-opts driver=qcow2,file.filename=a,backing=
		info --image-opts driver=qcow2,file.filename=a,backing=x
		info --image-opts driver=qcow2,file.filename=a,backing.driver=qcow2
		map --image-opts driver=qcow2,file.filename=a,backing.driver=qcow2
		amend -o lazy_refcounts a
		amend -o size=0x200k a
		resize a +0x10k
		map -s 0x10k -l 0x10k a
		convert -l snapshot.name,snapshot.id -O raw a b
		convert -l snapshot.foo -O raw a b
		dd bs=0x1k count=0x2k if=a of=b
		measure --size 0x10k -O qcow2
		bitmap --add -g 0x40k a b0
	`},
	{"passphrases in base64", `
		create -q --object secret,id=s,data=QUJD,format=base64 -f luks -o key-secret=s,iter-time=10 a 1M
		map --object secret,id=s,data=ABC --image-opts driver=luks,file.filename=a,key-secret=s
		map --object secret,id=s,data=QUJDQQ,format=base64 --image-opts driver=luks,file.filename=a,key-secret=s
		map --object secret,id=s,data=QUJDQQ==,format=base64 --image-opts driver=luks,file.filename=a,key-secret=s
		map --object secret,id=s,data=QU=JD,format=base64 --image-opts driver=luks,file.filename=a,key-secret=s
		info --object secret,id=s,data=x,format=base64 a
		info --object secret,id=s,data=QU-A,format=base64 a
	`},
	{"options that are empty, or of more than there is", `
		create -f qcow2 -o compat= a 1M
		create -f qcow2 -o preallocation= a 1M
		create -f raw -o preallocation=xyz a 1M
		create -f qcow2 -o compression_type= a 1M
		create -f qcow2 -o data_file= a 1M
		create -f qcow2 -o backing_fmt= a 1M
		create -f qcow2 -o encrypt.format= a 1M
		create -f qcow2 -o encrypt.cipher-alg=aes-256 a 1M
		create -f qcow2 -o encryption=on,encrypt.format=luks a 1M
		create --object secret,id=s,data=x -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.hash-alg=foo a 1M
		create --object secret,id=s,data=x -f luks -o key-secret=s,cipher-mode=foo a 1M
		create -f qcow2 a 9223372036854775807
		create -f raw a 9223372036854775807
		create -f qcow2 -o size=9223372036854775808 a
		create -f qcow2 -o size=18446744073709551615 a
		create -f qcow2 -o size=99999999999999999999 a
		create -f qcow2 -o refcount_bits=99999999999999999999999 a 1M
		create -q -f qcow2 a 1M
		create -f qcow2 -b a -F "" b
		convert -m 0x4 -O qcow2 a c
		convert -S -1 -O qcow2 a c
		convert -B a -F foo -O qcow2 a c
		convert -l "" -O qcow2 a c
		measure --size 1M -O qcow2 -o preallocation=foo
		bench -c 2 -s 0 a
		dd if= of=x
		dd if=a of=
		bitmap --add -g 4G a b
		bitmap --add -g 0 a b
		bitmap --add a ""
		commit -b "" a
		amend -o size=7E a
		create -q -f qcow2 -b a -F qcow2 b
		amend -o backing_file=a b
		amend -o backing_file=a,backing_fmt=qcow2 b
		rebase -u -b a -F "" b
	`},
	{"a backing file whose data file is missing", `
		create -q -f qcow2 -o data_file=d,data_file_raw=on base 1M
		amend -o data_file=gone base
		create -f qcow2 -b base top
		create -f qcow2 -b base -F qcow2 top
		create -f qcow2 -b base -F qcow2 top 2M
		map top
		convert -O raw top x
		create -f qcow2 -b top -F qcow2 above
		info above
	`},
	{"a disk that grows over what its data file has", `
		create -q -f qcow2 -o data_file=d,data_file_raw=on a 1M
		io -f raw -c "truncate 4M" -c "write -P 7 1M 3M" d
		resize a 2M
		map --output=json a
		convert -O raw a r
		same r
		resize a 2100k
		resize --preallocation=falloc a 2200k
		resize --preallocation=full a 2300k
		amend -o size=3M a
		convert -O raw a r
		same r
		info d
		resize a 5M
		convert -O raw a r
		same r
		info d
		resize --shrink a 1M
		info d
		check a
	`},
	{"the same where the data file is not raw", `
		create -q -f qcow2 -o data_file=d a 1M
		io -f raw -c "truncate 4M" -c "write -P 7 1M 3M" d
		resize --preallocation=metadata a 2M
		map --output=json a
		convert -O raw a r
		same r
		resize a 3M
		convert -O raw a r
		same r
		info d
	`},
	{"options of drivers that can't be", `
		create -q -f qcow2 a 1M
		create -q -f raw r 1M
		create -q --object secret,id=s,data=x -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 enc 1M
		create -q --object secret,id=s,data=x -f luks -o key-secret=s,iter-time=10 lk 1M
		create -q -f qcow2 -o data_file=d df 1M
		info --image-opts driver=
		info --image-opts driver=qcow2,file.driver=
		info --image-opts driver=nbd,server.type=unix
		info --image-opts driver=nbd,server.type=foo
		info --image-opts driver=nbd,server.path=/x
		info --image-opts driver=compress
		info --image-opts driver=compress,file.driver=raw,file.file.filename=r
		info --image-opts driver=compress,file.driver=qcow2,file.file.filename=a
		info --image-opts driver=blkdebug,image=x
		info --image-opts driver=qcow2,file.filename=a,l2-cache-entry-size=3
		info --image-opts driver=qcow2,file.filename=a,encrypt.format=luks
		info --image-opts driver=qcow2,file.filename=enc,encrypt.format=aes
		map --object secret,id=s,data=x --image-opts driver=qcow2,file.filename=enc,encrypt.key-secret=s,encrypt.format=aes
		map --object secret,id=s,data=x --image-opts driver=luks,file.filename=lk,key-secret=s
		map --object secret,id=s,data=x --output=json --image-opts driver=luks,file.filename=lk,key-secret=s
		map --image-opts driver=qcow2,file.filename=df,data-file=d
		resize --image-opts driver=qcow2,file.filename=a,read-only=on 2M
		snapshot -c x --image-opts driver=qcow2,file.filename=a,read-only=on
		bench -w -c 1 --image-opts driver=qcow2,file.filename=a,read-only=on
		check -r all --image-opts driver=qcow2,file.filename=a,read-only=on
		check --image-opts driver=qcow2,file.filename=a,read-only=on
	`},
}
