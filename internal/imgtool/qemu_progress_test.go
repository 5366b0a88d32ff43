package imgtool

// progressScripts are operations that show how far they are. That of commit depends on the moment
// at which qemu-img looks.
var progressScripts = []script{
	{"progress of convert", `
		create -q -f qcow2 a 64M
		io -f qcow2 -c "write -P 5 0 20M" -c "write -P 6 40M 4M" -c "write -z 50M 1M" a
		create -q -f qcow2 e 64M
		create -q -f qcow2 none 0
		create -q -f qcow2 one 64k
		create -q -f qcow2 -b a -F qcow2 top
		io -f qcow2 -c "write -P 7 0 5M" -c "write -P 8 60M 1M" top
		%convert -p -O qcow2 a b
		%convert -p -m 1 -O raw a b
		%convert -p -c -O qcow2 a b
		%convert -p -S 0 -O raw a b
		%convert -p -O raw e b
		%convert -p -O raw none b
		%convert -p -q -O qcow2 one b
		%convert -p -O qcow2 -B a -F qcow2 top b
		%convert -p -n -O qcow2 a one
		%convert -p missing b
		%convert -p one nodir/b
		%convert -p -O foo a b
		%convert -p a
		%convert -p -T foo a b
	`},
	{"progress of compare", `
		create -q -f qcow2 a 64M
		io -f qcow2 -c "write -P 5 0 20M" -c "write -P 6 40M 4M" -c "write -z 50M 1M" a
		create -q -f qcow2 c 33M
		io -f qcow2 -c "write -P 5 0 20M" c
		create -q -f qcow2 big 10G
		create -q -f qcow2 none 0
		%compare -p a a
		%compare -p a c
		%compare -p c a
		%compare -p -s a c
		%compare -p big big
		%compare -p none none
		%compare -p none big
		%compare -p -q a c
		%compare -p missing a
	`},
	{"progress of rebase", `
		create -q -f qcow2 a 64M
		io -f qcow2 -c "write -P 5 0 20M" -c "write -P 6 40M 4M" a
		create -q -f qcow2 -b a -F qcow2 top
		io -f qcow2 -c "write -P 7 0 5M" -c "write -P 8 60M 1M" top
		create -q -f qcow2 e 64M
		create -q -f qcow2 none 0
		%rebase -p -b e -F qcow2 top
		%rebase -p -b "" top
		%rebase -p -b e -F qcow2 none
		%rebase -p -u -b a -F qcow2 top
		%rebase -p -u -b a top
		%rebase -p -b missing -F qcow2 top
		%rebase -p -b "" missing
		%rebase -p -t foo -b "" top
		%rebase -p -q -b "" top
	`},
	{"progress of amend and commit", `
		create -q -f qcow2 -o compat=0.10 a 64M
		%amend -p -o compat=1.1 a
		%amend -p -o lazy_refcounts=on a
		%amend -p -o compat=0.10 a
		%amend -p -o compat=9 a
		%amend -p -o foo=1 a
		%amend -p -o compat=1.1 missing
		%amend -p -o help -f qcow2
		%commit -p a
		%commit -p missing
	`},
}
