package imgtool

import (
	"bytes"
	"strings"
	"testing"
)

// TestNarrowerRefcountsAreRefusedInWords has a count that does not fit: it is not said to be the L1 table.
func TestNarrowerRefcountsAreRefusedInWords(t *testing.T) {
	t.Chdir(t.TempDir())
	var stdout, stderr bytes.Buffer
	tool := &Tool{Name: qemuImg, Stdout: &stdout, Stderr: &stderr, DefaultFormat: "raw"}
	for _, line := range []string{"create -q -f qcow2 -o preallocation=metadata a 1M", "snapshot -c s a"} {
		if status := tool.Run(strings.Fields(line)); status != 0 {
			t.Fatalf("%s: status %d, %s", line, status, &stderr)
		}
	}
	status := tool.Run(strings.Fields("amend -o refcount_bits=1 a"))
	if text := stderr.String(); status != 1 || !strings.HasPrefix(text, "qemu-img: Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x") ||
		!strings.HasSuffix(text, " has a refcount of 2\n") {
		t.Errorf("status %d, %q", status, text)
	}
}

// belowScripts are about what is below an image, or in its place: names of exports, files that are missing,
// formats that were guessed, bitmaps that are out of date.
var belowScripts = []script{
	{"names of exports", `
		info nbd:
		info nbd:unix:
		info nbd:unix:nowhere
		info nbd:unix:nowhere:exportname=e
		info nbd:unix:nowhere:exportname=
		info nbd:localhost
		info nbd:localhost:
		info nbd::1
		info nbd::
		info nbd:localhost:1
		info nbd:localhost:1:exportname=e
		info nbd:localhost:1:exportname=
		info nbd:localhost:1x
		info nbd:localhost:1:foo=bar
		info nbd:localhost:65537
		info nbd:[127.0.0.1]:1
		info nbd:[::1
		info nbd:[::1]1
		info nbd+unix:///?socket=
		info -f nbd foo
		create -f raw nbd:unix:nowhere 1M
		create -f qcow2 nbd:localhost:1:exportname=e 1M
		create -f qcow2 -b nbd:localhost:1:exportname= -F raw o 1M
		create -q -f raw r 1M
		convert -f raw -O raw r nbd:unix:nowhere
		convert -f raw -O qcow2 r nbd:unix:nowhere:exportname=
	`},
	{"check opens what is below", `
		create -q -f qcow2 a 1M
		create -q -f qcow2 -o data_file=d b 1M
		create -q -f qcow2 -b a -F qcow2 over
		create -q -f qcow2 -b b -F qcow2 over2
		check over
		check over2
		img create -q -f raw a 1M
		io -f raw -c "truncate 0" d
		check over2
		check over
		check -r all over
		check --output=json over
		check -q over
		create -q -f qcow2 -u -b missing -F qcow2 over3 1M
		check over3
		check -r leaks over3
		create -q -f qcow2 -b over3 -F qcow2 -u over4 1M
		check over4
	`},
	{"bitmaps that are out of date", `
		create -q -f qcow2 a 1M
		bitmap --add a b
		poke a 95 0
		create -q -f qcow2 -b a -F qcow2 over
		info -f qcow2 a
		check -f qcow2 a
		map a
		snapshot -l a
		map over
		convert -f qcow2 -O raw a out
		measure -f qcow2 -O raw a
		snapshot -c s a
		info a
	`},
	{"what raw data files, old versions and snapshots can't have", `
		create -q -f qcow2 -o data_file=d,data_file_raw=on a 1M
		create -q -f qcow2 b 1M
		rebase -u -b b -F qcow2 a
		rebase -b b -F qcow2 a
		rebase -b missing -F qcow2 a
		rebase -b "" a
		snapshot -a s a
		snapshot -c s a
		create -q -f qcow2 -o compat=0.10 old 1M
		convert --bitmaps -O qcow2 old out
		convert --bitmaps --skip-broken-bitmaps -O qcow2 old out
		amend -o size=8E b
		amend -o size=9223372036854775296 b
		amend -o size=7E b
		amend -o size=1000 b
	`},
	{"status of what is damaged", `
		create -q -f qcow2 a 1M
		create -q -f qcow2 z 1M
		io -f qcow2 -c "write -q 0 64k" a
		poke a 262149 5 2 0
		measure -O qcow2 a
		rebase -b z -F qcow2 a
	`},
	{"guessed twice", `
		create -q -f raw r 1M
		snapshot -a s r
		snapshot -a s --image-opts file.filename=r
		snapshot -a s --image-opts driver=raw,file.filename=r
		snapshot -c s r
		snapshot -d s r
		snapshot -l r
		resize r 2M
		resize r 7E
		resize -f raw --preallocation=falloc r 7E
	`},
	{"progress of another width of refcounts", `
		create -q -f qcow2 a 64M
		%amend -p -o refcount_bits=64 a
		%amend -p -o refcount_bits=1 a
		create -q -f qcow2 -o compat=0.10 b 64M
		%amend -p -o compat=1.1,refcount_bits=32 b
		%amend -p -o compat=0.10,refcount_bits=16 b
		create -q -f qcow2 -o preallocation=metadata,cluster_size=4k c 300M
		%amend -p -o refcount_bits=64 c
		~check -f qcow2 c
		%amend -p -o refcount_bits=8 c
	`},
	{"growth of raw data files", `
		create -q -f qcow2 -o data_file=d,data_file_raw=on a 1M
		io -f raw -c "truncate 4M" -c "write -q -P 7 1M 3M" d
		resize a 1056k
		same a
		io -f raw -c "read -P 0 1056k 32k" d
		resize a 2M
		same a
		resize --shrink a 1056k
		resize a 3M
		map --output=json a
		same a
		create -q -f qcow2 -o data_file=e b 1056k
		io -f raw -c "truncate 4M" -c "write -q -P 7 1M 3M" e
		resize --preallocation=metadata b 2080k
		same b
		resize --preallocation=falloc b 3M
		same b
	`},
}
