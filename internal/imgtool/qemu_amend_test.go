package imgtool

// amendScripts are about what amend changes, and what it refuses.
var amendScripts = []script{
	{"amend the external data file", `
		create -q -f qcow2 a 64M
		amend -o data_file=foo a
		amend -o data_file_raw=on a
		create -q -f qcow2 -o data_file=d b 64M
		amend -o data_file=foo b
		info b
		io -r -c "read 0 4k" --image-opts data-file.filename=d,file.filename=b
		info --image-opts data-file.filename=d,file.filename=b
		amend -o data_file= --image-opts data-file.filename=d,file.filename=b
		convert -O raw b x
		info b
		info --image-opts data-file.filename=d,file.filename=b
		amend -o data_file=d --image-opts data-file.filename=d,file.filename=b
		same b
		create -q -f qcow2 -o data_file=e,data_file_raw=on c 64M
		amend -o data_file_raw=on c
		info c
		amend -o data_file_raw=off c
		info c
		amend -o data_file_raw=on c
		amend -o compat=0.10 c
		check c
	`},
	{"formats that can't be made", `
		create -f bochs a 1M
		create -f bochs -o help
		create -f null-co a 1M
		create -f foo -o help
		convert -O bochs -o help
		convert -O foo -o help
		convert -O bochs a b
		create -q -f qcow2 a 1M
		convert -O null-co a b
		amend -o help
		amend -f bochs -o help
		amend -f foo -o help
		amend -f raw -o help
		amend -o size=2M a a
		amend -o size=2M
	`},
	{"amend to version 2", `
		create -q -f qcow2 -o extended_l2=on a 64M
		amend -o compat=0.10 a
		create -q -f qcow2 -o refcount_bits=8 b 64M
		amend -o compat=0.10 b
		create -q -f qcow2 c 64M
		snapshot -c x c
		resize -q c 65M
		amend -o compat=0.10 c
		amend -o compat=0.10,size=64M c
		resize c 65M
		amend -o compat=1.1,size=66M c
		~check c
		create -q -f qcow2 -o compression_type=zstd d 64M
		io -f qcow2 -c "write -c 0 64k" d
		amend -o compat=0.10 d
		amend -o compat=9 d
		create -q -f qcow2 e 64M
		img snapshot -c test e
		poke e 327680 0 0 0 0 0 64 2 0
		amend -o compat=0.10 e
		poke e 327680 0 0 0 0 0 5 0 0 16 0 0 0
		amend -o compat=0.10 e
		create -q -f qcow2 f 64M
		io -f qcow2 -c "write 0 64k" f
		poke f 262144 128 0 0 0 0 5 42 1
		amend -o compat=0.10 f
		create -q -f qcow2 g 64M
		io -f qcow2 -c "write 0 64k" g
		poke g 196608 128 0 0 0 0 4 42 0
		amend -o compat=0.10 g
	`},
}
