package imgtool

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/block"
)

// script is a list of command lines that are run twice, by qemu-img and by this
// package, each in a directory of its own: exit statuses and output must agree
// line for line. A line that begins with "io " or "img " is for QEMU's qemu-io or
// qemu-img in both, one with "same " compares the two directories' images of that name. Of one that
// begins with "~" the layout of the file is left out.
type script struct {
	name  string
	lines string
}

// volatile is output that differs from run to run.
var volatile = []struct{ from, to string }{
	{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "DATE"},
	{`"date-(sec|nsec)": \d+`, `"date-$1": N`},
	{`disk size: .*`, "disk size: N"},
	{`"actual-size": \d+`, `"actual-size": N`},
	{`completed in [\d.]+ seconds`, "completed in T seconds"},
	{`uuid"?: "?[0-9a-f-]{36}`, "uuid: U"},
	{`(iters"?): \d+`, "$1: N"},
	{`    \(.*/100%\)\r`, ""},
}

func settle(out string) string {
	for _, v := range volatile {
		out = regexp.MustCompile(v.from).ReplaceAllString(out, v.to)
	}
	return out
}

// settleLayout also leaves out where things lie in a file.
func settleLayout(out string) string {
	return regexp.MustCompile(`(Image end offset|"image-end-offset"|"offset"|required size): \d+`).ReplaceAllString(settle(out), "$1: N")
}

// split cuts a command line at blanks outside double quotes.
func split(line string) (words []string) {
	for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		words = append(words, m[1]+m[2])
	}
	return words
}

func TestAgainstQEMU(t *testing.T) {
	for _, tool := range []string{"qemu-img", "qemu-io"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian package qemu-utils)", tool)
		}
	}
	for _, s := range slices.Concat(scripts, optionScripts, damageScripts, amendScripts, nestedScripts) {
		t.Run(s.name, func(t *testing.T) {
			theirs, ours := t.TempDir(), t.TempDir()
			for _, line := range strings.Split(strings.TrimSpace(s.lines), "\n") {
				line = strings.TrimSpace(line)
				words := split(line)
				switch words[0] {
				case "io", "img":
					for _, dir := range []string{theirs, ours} {
						cmd := exec.Command("qemu-"+words[0], words[1:]...)
						cmd.Dir = dir
						if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("failed")) {
							t.Fatalf("%s in %s: %v\n%s", line, dir, err, out)
						}
					}
				case "poke":
					for _, dir := range []string{theirs, ours} {
						poke(t, filepath.Join(dir, words[1]), words[2:])
					}
				case "same":
					same(t, theirs, ours, words[1])
				default:
					compareRuns(t, theirs, ours, line)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// poke writes bytes into a file: the first of args is where, decimal, the others are the bytes.
func poke(t *testing.T, name string, args []string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []int64
	for _, s := range args {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	for i, b := range list[1:] {
		if _, err := f.WriteAt([]byte{byte(b)}, list[0]+int64(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// compareRuns runs a command line in both ways.
func compareRuns(t *testing.T, theirs, ours, line string) {
	t.Helper()
	settle := settle
	command, loose := strings.CutPrefix(line, "~")
	if loose {
		settle = settleLayout
	}
	words := split(command)
	var wantOut, wantErr, gotOut, gotErr bytes.Buffer
	var cmd *exec.Cmd
	for range 20 {
		wantOut.Reset()
		wantErr.Reset()
		cmd = exec.Command("qemu-img", words...)
		cmd.Dir = theirs
		cmd.Stdout, cmd.Stderr = &wantOut, &wantErr
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		// On a busy machine it can fail to measure how fast it derives keys.
		if !bytes.Contains(wantErr.Bytes(), []byte("Unable to get accurate CPU usage")) {
			break
		}
	}
	t.Chdir(ours)
	tool := Tool{Name: "qemu-img", Stdout: &gotOut, Stderr: &gotErr, DefaultFormat: "raw"}
	code := tool.Run(words)
	if want := cmd.ProcessState.ExitCode(); code != want {
		t.Errorf("%s: status %d, want %d", line, code, want)
	}
	for what, pair := range map[string][2]string{
		"stdout": {gotOut.String(), wantOut.String()}, "stderr": {gotErr.String(), wantErr.String()},
	} {
		if got, want := settle(pair[0]), settle(pair[1]); got != want {
			t.Errorf("%s: %s\n%s\nwant\n%s", line, what, got, want)
		}
	}
}

// same compares the images of one name, by the judgement of qemu-img.
func same(t *testing.T, theirs, ours, name string) {
	t.Helper()
	a, b := filepath.Join(theirs, name), filepath.Join(ours, name)
	if out, err := exec.Command("qemu-img", "compare", a, b).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
	f, err := block.Guess(b)
	if err != nil {
		t.Fatal(err)
	}
	if f != "qcow2" {
		return
	}
	if out, err := exec.Command("qemu-img", "check", b).CombinedOutput(); err != nil {
		t.Errorf("check %s: %v\n%s", name, err, out)
	}
}

var scripts = []script{
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
	{"data and map", `
		create -f qcow2 base 1M
		io -c "write -P 1 0 300k" base
		create -f qcow2 -b base -F qcow2 top 2M
		io -c "write -P 2 128k 128k" -c "write -z 512k 64k" -c "write -z -u 576k 64k" -c "discard 128k 64k" top
		map top
		map --output=json top
		map --output=json -s 100k -l 100k top
		map -f raw --output=json base
		info --backing-chain top
		check top
		check --output=json top
		measure -O qcow2 top
		measure -O qcow2 --output=json top
		measure -O raw top
		measure -O qcow2 --size 1G
		measure -O qcow2 -o cluster_size=4k --size 10G
		measure -O qcow2 -o preallocation=full --size 10M
		measure top
	`},
	{"convert", `
		create -f qcow2 base 4M
		io -c "write -P 1 0 300k" base
		create -f qcow2 -b base -F qcow2 top 5M
		io -c "write -P 2 1M 128k" -c "write -z 64k 64k" -c "write -P 0 2M 128k" top
		convert top raw
		same raw
		convert -O qcow2 top flat
		same flat
		check flat
		compare top flat
		compare -s top flat
		convert -p -O qcow2 -o cluster_size=4k,compat=0.10 top small
		same small
		convert -c -O qcow2 top packed
		compare packed top
		convert -c -O qcow2 -o compression_type=zstd top zpacked
		compare -f qcow2 -F qcow2 zpacked top
		convert -O qcow2 -B base -F qcow2 top again
		same again
		info again
		map --output=json again
		convert -n -O qcow2 base flat
		same flat
		convert -n -O qcow2 top base
		convert base top cat
		same cat
		convert -S 0 -O qcow2 base full
		map --output=json full
		same full
		convert -O qcow2 -W -m 16 top any
		compare top any
		convert -c top x
		convert -c -O qcow2 -o preallocation=full top x
		convert -O qcow2 none x
		convert -O qcow2 -B base top x
		convert -l nope -O qcow2 top x
	`},
	{"compressed into larger clusters", `
		create -f qcow2 -o cluster_size=4k a 1000k
		io -c "write -P 1 4k 8k" -c "write -P 2 100k 4k" -c "write -P 3 900k 100k" a
		convert -c -O qcow2 a b
		compare a b
		convert -c -W -O qcow2 -o cluster_size=2M a c
		compare a c
		create -f qcow2 -b a -F qcow2 top
		io -c "write -P 4 8k 4k" -c "write -P 5 300k 4k" top
		convert -c -O qcow2 -B a -F qcow2 top d
		compare top d
	`},
	{"compare", `
		create -f qcow2 a 1M
		create -f qcow2 b 1M
		create -f qcow2 c 2M
		compare a b
		compare -q a b
		compare a c
		compare -s a c
		io -c "write -P 3 100k 1k" b
		compare a b
		compare b a
		compare -s a b
		compare -q a b
		io -c "write -P 3 1900k 1k" c
		compare a c
		compare a none
		compare -f raw -F qcow2 a b
	`},
	{"snapshot", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 64k" a
		snapshot -c one a
		io -c "write -P 2 0 128k" a
		snapshot -c two a
		snapshot -l a
		snapshot a
		info a
		info --output=json a
		convert -l one -O qcow2 a one
		same one
		convert -l snapshot.name=two -O qcow2 a two
		same two
		convert -l snapshot.id=1 -O qcow2 a id
		same id
		snapshot -a one a
		same a
		snapshot -d one a
		snapshot -d one a
		snapshot -a one a
		snapshot -l a
		~check a
		same a
		create raw 1M
		snapshot -l raw
	`},
	{"resize", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 1M" a
		resize a 2M
		resize a +1M
		info a
		same a
		resize a 1M
		resize --shrink a 512k
		info a
		check a
		same a
		resize -q a 1M
		same a
		resize a -- -512k
		resize a -512k
		resize a -x
		resize -1k
		resize --shrink a -- -512k
		resize --shrink a -- -1M
		resize a 0
		resize a foo
		resize --preallocation=foo a 3M
		resize --preallocation=metadata a 3M
		info a
		resize --preallocation=falloc a 5M
		resize --preallocation=full a +1M
		check a
		same a
		resize --preallocation=full a 6M
		resize --preallocation=falloc a 1M
		resize --preallocation=metadata --shrink a 1M
		create r 1M
		resize r 2M
		resize -f raw r 3M
		resize -f raw --preallocation=metadata r 4M
		resize -f raw --preallocation=falloc r 4M
		info r
		resize -f raw --preallocation=full r 5M
		resize -f raw --shrink --preallocation=full r -256K
		resize -f raw --shrink r -256K
		info r
	`},
	{"commit and rebase", `
		create -f qcow2 base 1M
		io -c "write -P 1 0 512k" base
		create -f qcow2 -b base -F qcow2 mid
		io -c "write -P 2 128k 128k" mid
		create -f qcow2 -b mid -F qcow2 top 2M
		io -c "write -P 3 192k 128k" -c "write -P 4 1500k 64k" top
		commit -d top
		same mid
		same top
		commit top
		same mid
		same top
		info mid
		commit base
		commit -b none top
		io -c "write -P 5 0 64k" top
		commit -b base top
		same base
		rebase -b base -F qcow2 top
		same top
		info top
		map --output=json top
		rebase -b "" top
		info top
		same top
		rebase -u -b base -F qcow2 top
		info top
		rebase -b none -F qcow2 top
		rebase -F foo -b base top
	`},
	{"amend", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 64k" -c "write -z 64k 64k" a
		amend -o compat=0.10 a
		info a
		same a
		amend -o lazy_refcounts=on a
		amend -o refcount_bits=8 a
		amend -o compat=1.1,lazy_refcounts=on,refcount_bits=64 a
		info a
		~check a
		same a
		amend -o size=2M a
		info a
		amend -o compat=5 a
		amend -o foo=1 a
		amend -o refcount_bits=7 a
		amend -o cluster_size=4k a
		create r 1M
		amend -f raw -o size=3M r
	`},
	{"bitmap", `
		create -f qcow2 a 10M
		bitmap --add a b0
		bitmap --add -g 128k a b1
		bitmap --add a b0
		bitmap --disable a b1
		info a
		info --output=json a
		io -c "write 1M 64k" a
		bitmap --merge b0 a b1
		bitmap --clear a b0
		bitmap --enable a b1
		info a
		~check a
		convert --bitmaps -O qcow2 a copy
		info copy
		measure -O qcow2 a
		bitmap --remove a b0
		bitmap --remove a b0
		bitmap --merge none a b1
		bitmap --add -g 1000 a x
		bitmap --add -g 100 a x
		info a
		~check a
		create -f qcow2 -o compat=0.10 old 1M
		bitmap --add --remove a y
		info a
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
	{"rebase without a format", `
		create -f qcow2 a 1M
		create -f qcow2 b 1M
		create r 1M
		rebase -b a b
		rebase -u -b a b
		rebase -b none b
		rebase -f raw -b a -F qcow2 r
		rebase -f raw -u r
		rebase -t foo -b a b
		rebase -T foo -b a b
		info b
	`},
	{"version 2 with snapshots", `
		create -f qcow2 -o compat=0.10 a 1M
		snapshot -c s a
		resize a 2M
		resize a 1M
		amend -o size=2M a
		info a
	`},
	{"sizes that are not of sectors", `
		create -f qcow2 a 1M
		resize a +1000
		create r 1M
		resize -f raw r +1000
		info r
		create tiny 1000
		map --output=json -f raw tiny
		map --output=json -f raw r
		map -f raw r
		create -f qcow2 none 0
		map --output=json none
		map none
		map --output=json -s 2M a
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
	{"dd", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 300k" a
		dd if=a of=b
		same b
		dd -O qcow2 if=a of=c bs=64k count=2
		same c
		info c
		dd -O qcow2 if=a of=d bs=1M skip=2
		info d
		dd if=a of=e bs=4k skip=10 count=10
		same e
		dd if=a of=f bs=0
		dd if=none of=g
	`},
	{"a raw disk whose format is guessed", `
		create r 1M
		measure -O qcow2 -o compat=v2 r
		create -f qcow2 a 1M
		convert -n -O raw r r2
		dd if=a of=r2
		resize r 2M
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
	{"faults", `
		create -f qcow2 a 1M
		io -c "write -P 1 0 64k" a
		info blkdebug::a
		info -f raw blkdebug::a
		map blkdebug::a
		info blkdebug:none:a
		info blkdebug:a
		map --image-opts driver=blkdebug,image.filename=a
		info --image-opts driver=qcow2,file.driver=foo
		convert --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a,file.inject-error.0.event=read_aio,file.inject-error.0.errno=28 b
		convert --salvage --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a,file.inject-error.0.event=read_aio,file.inject-error.0.once=on b
		check --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a
		info --image-opts driver=qcow2,lazy-refcounts=on,overlap-check=all,cache-size=1M,file.filename=a
	`},
	{"a backing file that is not there", `
		create -f qcow2 a 1M
		create -f qcow2 -b a -F qcow2 b
		create -f qcow2 -b b -F qcow2 c
		rebase -u -b none -F qcow2 a
		map c
		compare b c
		create -f qcow2 -b c -F qcow2 d
		info c
		convert c x
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

// TestKeyOrder compares the order of keys with what qemu-img prints of them.
func TestKeyOrder(t *testing.T) {
	for _, want := range []string{
		"backing-filename-format snapshots virtual-size filename cluster-size format actual-size format-specific full-backing-filename encrypted backing-filename dirty-flag",
		"compat compression-type lazy-refcounts bitmaps refcount-bits data-file encrypt data-file-raw corrupt extended-l2",
		"ivgen-alg hash-alg cipher-alg uuid format cipher-mode slots payload-offset master-key-iters",
		"icount vm-clock-nsec name date-sec date-nsec vm-clock-sec id vm-state-size",
		"image-end-offset compressed-clusters total-clusters corruptions corruptions-fixed check-errors leaks leaks-fixed allocated-clusters filename format fragmented-clusters",
		"bitmaps required fully-allocated", "flags name granularity",
	} {
		d := make(dict)
		for _, k := range strings.Fields(want) {
			d[k] = 0
		}
		if got := strings.Join(d.keys(), " "); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "0.977 KiB", 1024: "1 KiB", 64 << 20: "64 MiB", 8461180928: "7.88 GiB", 1<<63 - 1: "8 EiB",
	} {
		if got := humanSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestRunOf cuts a buffer at the units of the disk, not of the buffer.
func TestRunOf(t *testing.T) {
	buf := append(append(make([]byte, 4096), bytes.Repeat([]byte{1}, 5000)...), make([]byte, 4000)...)
	var got []string
	for off := 0; off < len(buf); {
		zero, n := runOf(buf[off:], int64(off)+512, 4096)
		got = append(got, fmt.Sprintf("%v:%d", zero, n))
		off += n
	}
	if want := "true:3584 false:8192 true:1320"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}
