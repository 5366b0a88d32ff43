package imgtool

import "strings"

// optionScripts name images by options: the arguments of --image-opts, json: names and
// passphrases.
var optionScripts = []script{
	{"null devices by name, and who may share", `
		create -f qcow2 -b null-co:// -F raw n 1M
		info n
		info null-co://
		convert n r
		same r
		create -q -f qcow2 m 1M
		bench -U -w -c 1 m
		rebase -U -u -b null-co:// -F raw m
		info --output=json m
	`},
	{"a source that is broken in places", `
		create -q -f qcow2 n 1M
		io -f qcow2 -c "write -P 1 0 64k" -c "write -P 2 128k 64k" n
		convert --image-opts --salvage driver=blkdebug,image.driver=qcow2,image.file.filename=n,inject-error.0.event=none,inject-error.0.iotype=block-status,inject-error.0.sector=300 b
		same b
		convert --image-opts --salvage driver=blkdebug,image.driver=qcow2,image.file.filename=n,inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.sector=9 d
		same d
		convert --image-opts driver=blkdebug,image.driver=qcow2,image.file.filename=n,inject-error.0.event=none,inject-error.0.iotype=block-status,inject-error.0.sector=300 c
		map --image-opts driver=blkdebug,image.driver=qcow2,image.file.filename=n
		info --image-opts driver=blkdebug,image.driver=qcow2,image.file.filename=n
		create -q -f qcow2 -b n -F qcow2 top
		map --output=json --image-opts driver=blkdebug,image.driver=qcow2,image.file.filename=top
		info .
		info -f raw .
	`},
	{"refcounts that don't fit", `
		create -q -f qcow2 -o refcount_bits=1 n 1M
		io -f qcow2 -c "write 0 64k" n
		poke n 262152 128 0 0 0 0 5 0 0
		check -r all n
	`},
	{"image options", `
		create -f qcow2 n 1M
		create r 1M
		create -f qcow2 -b n -F qcow2 top
		io -c "write -P 1 0 64k" r
		info --image-opts driver=file,filename=n
		info --image-opts driver=null-co
		info --image-opts driver=null-co,size=1M
		info --output=json --image-opts driver=null-co
		info --image-opts driver=blkdebug,image.filename=r
		info --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=n
		info --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=n,file.config=/dev/null
		info --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=n,file.inject-error.0.event=read_aio
		map --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=n,file.inject-error.0.event=read_aio
		map --image-opts driver=raw,file.driver=blkdebug,file.image.filename=r
		info file:n
		info foo:n
		info -f qcow2 "json:{'file.filename':'n'}"
		info -f raw "json:{'driver':'qcow2','file.filename':'n'}"
		info "json:{'driver':'qcow2','file':'foo'}"
		info "json:[]"
		info --image-opts n
		info --image-opts driver=qcow2
		info --image-opts driver=foo
		info --image-opts file.driver=file
		info --image-opts driver=qcow2,file.driver=foo
		info --image-opts driver=qcow2,file.filename=n,file.foo=3
		info --image-opts driver=qcow2,file.filename=n,foo=3
		info --image-opts file.filename=n,foo=3
		info --image-opts driver=raw,file.filename=n,foo=3
		info --image-opts driver=file,filename=n,foo=1
		info --image-opts driver=qcow2,file.filename=n,file.locking=foo
		info --image-opts driver=qcow2,file.filename=n,lazy-refcounts=foo
		info --image-opts driver=qcow2,file.filename=n,l2-cache-size=foo
		info --image-opts driver=qcow2,file.filename=n,overlap-check=foo
		info --image-opts driver=qcow2,file.filename=n,discard=foo
		info --image-opts driver=qcow2,file.filename=n,read-only=foo
		info --image-opts driver=qcow2,file.filename=file:n
	`},
	{"part of a file", `
		create r 1M
		io -c "write -P 1 0 64k" -c "write -P 2 512k 512" r
		info --image-opts driver=raw,offset=512,file.filename=r
		info "json:{'driver':'raw','file.filename':'r','offset':512,'size':1024}"
		map --image-opts driver=raw,offset=4k,file.filename=r
		map --output=json --image-opts driver=raw,offset=4k,size=512k,file.filename=r
		convert --image-opts driver=raw,offset=512,size=600k,file.filename=r part
		same part
		convert -n --target-image-opts --image-opts driver=raw,file.filename=part driver=raw,offset=64k,file.filename=r
		same r
		info --image-opts driver=raw,size=1000,file.filename=r
		info --image-opts driver=raw,size=2M,file.filename=r
		info --image-opts driver=raw,offset=2M,file.filename=r
		info --image-opts driver=raw,offset=x,file.filename=r
		info --image-opts driver=raw,offset=1M,size=512,file.filename=r
		info --image-opts driver=raw,size=0,file.filename=r
		resize --image-opts driver=raw,size=512k,file.filename=r 2M
		resize --image-opts driver=raw,offset=512k,file.filename=r 2M
		same r
	`},
	{"files of an image by options", `
		create -f qcow2 n 1M
		create -f qcow2 m 1M
		create r 1M
		create -f qcow2 -b n -F qcow2 top
		create -f qcow2 -o data_file=d,data_file_raw=on image 1M
		io -c "write -P 1 0 64k" n
		io -c "write -P 2 64k 128k" m
		io -c "write -P 3 256k 64k" r
		io -c "write -P 4 512k 64k" top
		map --image-opts driver=qcow2,file.filename=top,backing.driver=qcow2,backing.file.filename=m
		map --image-opts driver=qcow2,file.filename=top,backing.driver=raw,backing.file.filename=r
		convert --image-opts driver=qcow2,file.filename=top,backing.driver=raw,backing.file.filename=r x
		same x
		convert --image-opts driver=qcow2,file.filename=top,backing.driver=raw,backing.offset=128k,backing.file.filename=r y
		same y
		map --image-opts driver=qcow2,file.filename=n,backing.driver=raw,backing.file.filename=r
		map --output=json "json:{'driver':'qcow2','file.filename':'top','backing':null}"
		convert "json:{'driver':'qcow2','file.filename':'top','backing':null}" z
		same z
		map --image-opts driver=qcow2,file.filename=top,backing=n
		map --image-opts driver=qcow2,file.filename=top,backing.driver=raw,backing.file.filename=none
		map --image-opts driver=qcow2,file.filename=top,backing.foo=3
		map --image-opts driver=qcow2,file.filename=top,backing.driver=qcow2,backing.file.foo=3
		info --image-opts driver=qcow2,file.filename=image,data-file.filename=d
		map --image-opts driver=qcow2,file.filename=image,data-file.foo=3
		map --image-opts driver=qcow2,file.filename=n,data-file.filename=d
	`},
	{"images on others", `
		create -f qcow2 base 1M
		io -c "write -P 1 0 128k" base
		create -f qcow2 -b base -F qcow2 top
		rebase -u -b base top
		rebase -u -b none -F qcow2 top
		info top
		rebase -u -b base -F host_device top
		info top
		rebase -u -b base -F qcow2 top
		bitmap --add top b0
		bitmap --add --disable -g 128k top b1
		info top
		bitmap --merge b0 -b base top b1
		bitmap --clear top b0
		bitmap --remove top b1
		create -f qcow2 -b "" a 1M
		create -f qcow2 -o backing_file= a 1M
		create -f qcow2 -o , a 1M
		create -f qcow2 -o size=1M, a
		create -f qcow2 -o ,size=1M a
		create -f qcow2 -o "" a 1M
		create -f qcow2 -o size=1.0 a
		create -f qcow2 a " 1M"
		create -f qcow2 file:im:age 1M
		info file:im:age
		create -f qcow2 --object secret,id=s,data=tell -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1 crypt 1M
		create -f qcow2 -b crypt -F qcow2 over
		info over
		measure -O qcow2 -o backing_file=x base
		measure -O qcow2 --size 7E
		measure -f qcow2
		measure -l x
		measure -o ,
		measure -l snapshot.foo=bar
		convert -l snapshot.foo=bar base x
		create -f qcow2 -o refcount_bits=-1 a 1M
		create -f qcow2 -o refcount_bits=1 once 1M
		io -c "write 0 512" once
		snapshot -c foo once
	`},
	{"committing into a disk by options", `
		create -f qcow2 --object secret,id=s,data=tell -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1 base 1M
		create -f qcow2 -b base -F qcow2 top
		commit --object secret,id=s,data=tell --image-opts driver=qcow2,file.filename=top,backing.driver=qcow2,backing.file.filename=base,backing.encrypt.key-secret=s
		info --image-opts driver=qcow2,file.filename=base,encrypt.key-secret=s
		info --output=json --image-opts driver=qcow2,file.filename=base,encrypt.key-secret=none
	`},
	{"committing by name", `
		create -f qcow2 base 1M
		create -f qcow2 -b base -F qcow2 mid
		create -f qcow2 -b mid -F qcow2 top
		io -c "write -P 1 0 64k" top
		commit -b none top
		commit -b base top
		commit -b mid top
		commit -b ./mid top
		same top
		same base
	`},
	{"repairs", `
		create -f qcow2 a 1M
		io -c "write 0 192k" a
		poke a 131082 0 3
		poke a 131086 0 2
		check a
		check -r leaks a
		check a
		poke a 131084 0 3
		check -r all a
		check a
	`},
	{"key slots of a LUKS disk", keySlots("-f luks -o ", "driver=luks,file.filename=a,key-secret=", "", keyChanges)},
	{"key slots of an image", keySlots("-f qcow2 -o encrypt.format=luks,", "driver=qcow2,file.filename=a,encrypt.key-secret=", "encrypt.", keyChanges[:6])},
	{"key slots that are not there", `
		create -f qcow2 a 1M
		create r 1M
		amend -f luks -o help
		amend -f luks -o help r
		amend -o encrypt.state=active,encrypt.new-secret=s a
		amend -f raw -o size=3M r
		amend -f raw -o help r
		amend -o size=1000 a
		amend -f foo -o help r
	`},
}

// keyChanges are changes of key slots, each behind the passphrase that opens the disk.
var keyChanges = []string{
	"s0 state=active", "s0 new-secret=s1", "s0 state=active,keyslot=9,new-secret=s1", "s0 state=inactive,keyslot=0",
	"s0 state=active,new-secret=s1,iter-time=1", "s1 state=inactive,old-secret=s0", "s1 cipher-alg=aes-128", "s1 foo=1",
	"s1 state=active,new-secret=s0,iter-time=1",
	"s0 state=foo,new-secret=s1", "s0 state=active,new-secret=none", "s0 state=active,new-secret=s1,old-secret=s0",
	"s0 state=inactive,new-secret=s1", "s0 state=inactive,iter-time=1,keyslot=3", "s0 state=inactive",
	"s0 state=inactive,keyslot=8", "s0 state=inactive,keyslot=7", "s0 state=active,keyslot=-1,new-secret=s1",
	"s0 state=active,keyslot=x,new-secret=s1", "s0 state=inactive,old-secret=s2", "s0 state=inactive,old-secret=s0",
	"s0 state=active,new-secret=s1,keyslot=0", "s0 key-secret=s0", "s1 state=active,new-secret=s2,iter-time=0,keyslot=5",
	"s1 state=inactive,keyslot=5,old-secret=s1", "s1 state=inactive,keyslot=4,old-secret=s1",
	"s2 state=inactive,keyslot=5,old-secret=s2", "s1 state=active,new-secret=s0,iter-time=1", "s0 state=inactive,old-secret=s1",
}

// keySlots makes the disk a, and changes its key slots.
func keySlots(create, open, prefix string, changes []string) string {
	const secrets = "--object secret,id=s0,data=abc --object secret,id=s1,data=def --object secret,id=s2,data=ghi "
	lines := "create " + secrets + create + prefix + "key-secret=s0," + prefix + "iter-time=1 a 1M\n"
	for _, change := range changes {
		id, list, _ := strings.Cut(change, " ")
		options := prefix + strings.ReplaceAll(list, ",", ","+prefix)
		lines += "amend " + secrets + "--image-opts " + open + id + " -o " + options + "\n"
	}
	return lines + "info " + secrets + "--image-opts " + open + "s0\ninfo " + secrets + "--output=json --image-opts " + open + "s0\n"
}
