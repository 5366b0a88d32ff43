package imgio

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// images makes the images that scripts work on: a, an empty qcow2 image; v2; raw;
// top on base; one with bitmaps; pattern, a file of three bytes; and rules.
func images(t *testing.T) *os.Root {
	t.Helper()
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip("qemu-utils not installed")
	}
	dir := t.TempDir()
	for _, line := range []string{
		"create -q -f qcow2 a 8M",
		"create -q -f qcow2 -o compat=0.10 v2 8M",
		"create -q -f qcow2 -o cluster_size=4k small 8M",
		"create -q -f qcow2 -o extended_l2=on sub 8M",
		"create -q -f qcow2 -o data_file=data,data_file_raw=on apart 8M",
		"create -q --object secret,id=s,data=x -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 locked 8M",
		"create -q -f raw raw 1M",
		"create -q -f qcow2 base 8M",
		"create -q -f qcow2 -b base -F qcow2 top",
		"create -q -f qcow2 short 1000k",
		"create -q -f qcow2 -b short -F qcow2 over 1M",
		"create -q -f qcow2 marked 8M",
		"bitmap --add -f qcow2 marked b0",
		"bitmap --add --disable -g 512 -f qcow2 marked b1",
	} {
		var out []byte
		var err error
		for range 20 {
			cmd := exec.Command("qemu-img", strings.Fields(line)...)
			cmd.Dir = dir
			// On a busy machine it can fail to measure how fast it derives keys.
			if out, err = cmd.CombinedOutput(); !bytes.Contains(out, []byte("accurate CPU usage")) {
				break
			}
		}
		if err != nil {
			t.Fatalf("qemu-img %s: %v\n%s", line, err, out)
		}
	}
	cmd := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 3 1M 1M", "base")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, text := range map[string]string{
		"pattern": "abc", "empty": "",
		"enospc": "[inject-error]\nevent = \"write_aio\"\nerrno = \"28\"\nonce = \"on\"\n",
		"broken": "[inject-error]\nevent = \"write_bio\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// copyOf returns a directory with copies of images.
func copyOf(t *testing.T, images *os.Root) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, images.FS()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// outcome is what a run of the program printed, without times, and its status.
type outcome struct {
	stdout, stderr string
	status         int
}

var (
	nodeNames  = regexp.MustCompile(`#block\d+`)
	humanTimes = regexp.MustCompile(` ops; .*`)
	terseTimes = regexp.MustCompile(`(?m)^(\d+,\d+),[0-9:.]+,.*`)
)

// withoutTimes leaves out what differs from run to run: times, and names that are made up.
func withoutTimes(s string) string {
	s = nodeNames.ReplaceAllString(s, "#blockN")
	return terseTimes.ReplaceAllString(humanTimes.ReplaceAllString(s, " ops; T"), "$1,T")
}

func ours(t *testing.T, dir, stdin string, args []string) outcome {
	t.Helper()
	t.Chdir(dir)
	var stdout, stderr bytes.Buffer
	status := Main("qemu-io", "0", args, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{withoutTimes(stdout.String()), withoutTimes(stderr.String()), status}
}

func theirs(t *testing.T, dir, stdin string, args []string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("qemu-io", args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return outcome{withoutTimes(stdout.String()), withoutTimes(stderr.String()), cmd.ProcessState.ExitCode()}
}

// script is a run of the program: words of options and image, then commands.
type script struct {
	args     string
	commands []string
}

func scripts() []script {
	one := func(args string, commands ...string) script { return script{args, commands} }
	return []script{
		one("-f qcow2 a", "write 0 64k", "read -P 0xcd 0 64k", "read -P 1 0 64k", "read -v 0 40", "map", "alloc 0 1M", "alloc 0", "length", "info"),
		one("-f qcow2 a", "w -P 7 1000 3000", "r -P 7 1000 3000", "r -P 0 0 1000", "r -P 7 -s 10 -l 20 990 100", "r -P 7 -s 10 -l 21 989 100", "r -v 990 33"),
		one("-f qcow2 a", "write -z 0 128k", "write -z -u 64k 64k", "write -n 0 512", "write -zn 0 64k", "write -zn 0 512", "map"),
		one("-f qcow2 -t writeback a", "writev -P 9 512 512 1k 2k", "readv -P 9 512 1k 1k 1536", "readv -v 500 20 20", "writev -P 1 0 0", "flush"),
		one("-f qcow2 a", "write -c 0 64k", "read -P 0xcd 0 64k", "write -c 100 512", "write -c 512 512", "write -c 0 100", "map"),
		one("-f qcow2 a", "write -s pattern 0 10", "read -v 0 10", "write -s empty 0 10", "write -s nowhere 0 10"),
		one("-f qcow2 a", "write -C 0 512", "read -C 0 1M", "write -q 0 512", "read -q 0 512", "read -qv 0 16", "discard -C 0 64k", "discard -q 0 64k"),
		one("-f qcow2 a", "write 0 1M", "discard 64k 128k", "map", "discard 8M 1", "discard 0 3G", "discard 0", "alloc 0 2M"),
		one("-f qcow2 a", "read 8M 512", "read 7M 2M", "write 8M 1", "write 7M 2M", "read 1E 512", "read 0 0", "write 0 0", "readv 8M 512", "writev 8M 512"),
		one("-f qcow2 a", "read -Z 0 1", "read -P", "read 0", "read 0 1.5", "read 0 1.5k", "read 0 0x10", "read 0 0x", "read 0 12q", "read 99999999999E 1",
			"read 0 2147483648", "write 0 2147483648", "write -P 300 0 1", "write -P x 0 1", "read -P -1 0 1", "write -z -P 1 0 1", "write -P 1 -s x 0 1"),
		one("-f qcow2 a", "write -b -z 0 1", "write -f -c 0 512", "write -u 0 1", "write -f 0 512", "read -s 1 0 512", "read -P 0 -s 600 0 512", "read -p 0 1",
			"read 0 512 512", "read -l x 0 1", "read 0 .5k", "read 0 1b", "read 0 1kk", "read 0 k", "read x 1"),
		one("-f qcow2 a", "foo", "help foo", "length 1", "alloc", "alloc 1 2 3", "alloc x", "alloc 0 x", "alloc 9M", "alloc 7M 2M", "map 1", "truncate 1 2 3 4"),
		one("-f qcow2 a", "break foo A", "break l2_load", "resume A", "remove_break A", "sleep -1", "sleep x", "sleep 1", "sigraise 1000", "sigraise x", "reopen x",
			"reopen -q", "reopen -c foo", "reopen -r -w", "truncate -m foo 1M", "truncate -q"),
		one("-f qcow2 a", "writev -P 300 0 1", "writev 0", "writev 0 x", "writev 0 512 2147483648", "readv 0 1G 1G 1", "readv -Z 0 1", "writev x 1"),
		one("-f qcow2 a", "aio_write -P 5 0 64k", "aio_flush", "aio_read -P 5 0 64k", "aio_flush", "aio_read -P 6 0 64k", "aio_flush", "aio_read -v 0 20", "aio_flush"),
		one("-f qcow2 a", "aio_write -z 0 64k", "aio_flush", "aio_write -z 0 64k 64k", "aio_write -u 0 1", "aio_write -z -P 1 0 1", "aio_flush", "aio_write -i 0 1", "aio_read -i 0 1",
			"aio_write 8M 512", "aio_flush", "aio_read 8M 512", "aio_flush", "aio_read -C 0 512", "aio_flush", "aio_write -q 0 512", "aio_flush", "aio_write 0", "aio_read x 1"),
		one("-f qcow2 a", "truncate 16M", "length", "truncate 1000", "truncate 4M", "length", "map", "truncate x"),
		one("-f qcow2 a", "close", "length", "open -o driver=qcow2 a", "length", "open a", "close", "close", "help"),
		one("-f qcow2 a", "open -t foo b", "open -d foo b", "open -i foo b", "open -Z b", "open a b"),
		one("", "open -r -o driver=qcow2 a", "write 0 512", "writev 0 512", "aio_write 0 512", "discard 0 512", "truncate 1M", "read 0 512"),
		one("-r -f qcow2 a", "write 0 512", "reopen -w", "write 0 512", "reopen -r", "write 0 512", "read -P 0xcd 0 512"),
		one("-f qcow2 v2", "info", "write -z 0 64k", "write 64k 64k", "discard 64k 64k", "map"),
		one("-f qcow2 small", "write 1k 9k", "map", "alloc 0 64k", "info", "discard 0 4k", "map"),
		one("-f raw raw", "write -P 4 100 1000", "read -P 4 100 1000", "map", "alloc 0 64k", "info", "write -c 0 512", "length", "discard 0 4k", "read -P 0 0 4k"),
		one("-f qcow2 top", "map", "alloc 1M 1M", "read -P 3 1M 1M", "write 1536k 1k", "map", "read -P 3 1M 512k", "write -z 1M 64k", "read -P 0 1M 64k"),
		one("-f qcow2 marked", "info"),
		// Storage with units: what is less reads the rest of one before.
		one("--image-opts driver=raw,file.driver=blkdebug,file.align=4096,file.image.filename=raw", "write -P 4 0 64k", "break pwritev_rmw_head A", "aio_write -P 5 512 512", "wait_break A",
			"resume A", "aio_flush", "break pwritev_rmw_after_tail B", "aio_write -P 6 8192 6000", "wait_break B", "resume B", "aio_flush",
			"write -P 7 32767 2", "read -P 4 0 512", "read -P 5 512 512", "read -P 4 1k 7k", "read -P 6 8192 6000", "read -P 4 14192 18575", "read -P 7 32767 2", "read -P 4 32769 100"),
		one("-f qcow2 sub", "info", "write 1k 3k", "map", "write -z 32k 2k", "alloc 0 64k"),
		// Zeroes behind the end of a backing file whose last cluster has data are written, as it may grow.
		one("", "open -o driver=qcow2 short", "write -P 3 960k 40k", "close", "open -o driver=qcow2 over", "write -z 1010k 5k", "map", "read -P 0 1000k 24k", "read -P 3 960k 40k"),
		// One write for data and the storage of zeroes between.
		one("--image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a,file.set-state.0.event=write_aio,file.set-state.0.new_state=2,"+
			"file.inject-error.0.event=write_aio,file.inject-error.0.state=2", "write -P 3 0 192k", "read -P 3 0 192k"),
		// Zeroes in a part of a cluster are those of all of it, if the rest is known to be zero.
		one("-f qcow2 top", "write -z 4097k 1k", "map", "write -z 1025k 1k", "map", "read -P 0 1025k 1k", "write -z 3100k 100k", "write -z -u 6143k 66k", "map"),
		one("-f qcow2 sub", "write -z 20k 1k", "write -z 28k 100", "map", "write 64k 1k", "write -z 66k 1k", "write -z 127k 3k", "map"),
		one("-f qcow2 apart", "info", "write -P 2 0 64k", "read -P 2 0 64k", "map"),
		one("--object secret,id=s,data=x --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=locked", "info", "write -P 2 0 64k", "read -P 2 0 64k"),
		one("--object secret,id=s,data=x --image-opts driver=qcow2,encrypt.key-secret=t,file.filename=locked", "length"),
		one("-f qcow2 nowhere", "length"),
		one("-f qcow2 raw", "length"),
		one("-f foo a", "length"),
		one("--image-opts -f raw a", "length"),
		one("--image-opts driver=qcow2,file.filename=a", "length", "open -o x=y a"),
		one("--image-opts driver=raw,file.filename=raw,read-only=on", "length", "write 0 512"),
		one("--image-opts driver=qcow2,file.filename=nowhere", "length"),
		one("--image-opts driver=raw,file.filename=raw,read-only=maybe", "length"),
		one("--image-opts driver=null-co,size=1M", "length"),
		one("-r -U -f qcow2 a", "length"),
		one("-U -f qcow2 a", "length"),
		one("", "open -r -U -o driver=null-co,force-share=on", "length", "close", "open -r -U -o driver=null-co,force-share=off", "length"),
		one("-r -U --image-opts driver=null-co,force-share=off", "length"),
		one("-T foo -f qcow2 a", "length"), one("--trace foo*,file=x -f qcow2 a", "length"),
		one("--image-opts driver=qcow2,file.filename=a,detect-zeroes=on", "write -P 0 0 64k", "map", "write -P 1 64k 64k", "write -P 0 64k 64k", "map", "aio_write -P 0 1M 64k", "aio_flush", "map"),
		one("--image-opts driver=qcow2,file.filename=a,detect-zeroes=unmap", "writev -P 0 0 64k 64k", "write -P 1 64k 64k", "write -P 0 64k 64k", "map"),
		one("--image-opts -d ignore driver=qcow2,file.filename=a,detect-zeroes=unmap", "map"),
		one("-f qcow2 a", "reopen -o detect-zeroes=on", "write -P 0 1M 64k", "map", "reopen -o detect-zeroes=foo"),
		one("--image-opts driver=null-co,size=1M,latency-ns=10", "read 0 512", "write 0 512", "flush"),
		one("-s -f qcow2 a", "write -P 1 0 64k", "read -P 1 0 64k", "map"),
		one("-s raw", "write -P 1 0 64k", "read -P 1 0 64k", "map"),
		one("-s -U -f qcow2 a", "write -P 1 0 64k", "read -P 1 0 64k"),
		one("-s -C -f qcow2 a", "read 0 512", "map"),
		one("-U -f qcow2 a", "length"),
		one("-n -f raw raw", "write -P 8 0 64k", "read -P 8 0 64k"),
		one("-m -f raw raw", "write -P 8 0 64k", "read -P 8 0 64k"),
		one("-t foo a"), one("-d foo a"), one("-i foo a"),
		one("-d ignore -f qcow2 a", "write 0 64k", "discard 0 64k", "map"),
		one("-f qcow2 blkdebug:enospc:a", "write 0 64k", "write 0 64k", "read -P 0xcd 0 64k"),
		one("-f raw blkdebug:enospc:raw", "write 0 64k", "write 0 64k", "read -P 0xcd 0 64k"),
		one("-f qcow2 blkdebug::a", "break write_aio A", "aio_write -P 3 0 64k", "wait_break A", "read -P 0 0 64k", "resume A", "aio_flush", "read -P 3 0 64k",
			"break foo B", "resume B", "break write_aio B", "remove_break B", "remove_break B", "write 0 512"),
		one("-f qcow2 blkdebug::a", "break write_aio A", "aio_write 0 64k", "wait_break A", "remove_break A", "aio_flush"),
		one("-f qcow2 a", "reopen -o read-only=on", "write 0 512", "truncate 7E", "reopen -r", "reopen -o read-only=on", "write 0 512"),
		one("-f raw raw", "truncate 1000", "length", "truncate 3000", "length"),
		one("-f qcow2 a", "read 0x1k 0x1k", "close", "open -o lazy-refcounts,nocache.direct a", "length", "reopen -o nolazy-refcounts"),
		one("--image-opts driver=qcow2,file.filename=a,lazy-refcounts,backing=", "length"),
		// Zeroes in a part of a cluster allocate all of it.
		one("-f qcow2 a", "truncate 20000k", "write -z 10M 2k", "write -z -u 10340k 1k", "write -z 11M 200k", "write -z 19999k 1k", "map"),
		one("raw", "write -P 1 0 64k", "write -s a 0 64k", "write -s a 512 64k", "read -P 1 0 512"),
		one("-r raw", "length"),
		one("-f qcow2 a", "truncate -m metadata 9M", "truncate -m falloc 10M", "truncate -m full 11M", "truncate -m foo 12M", "truncate -m full 1M", "map", "length"),
		one("-f raw raw", "truncate -m full 512", "length"),
		one("-f raw raw", "write -c 1E 64k", "write -c 0 64k"),
		one("-f qcow2 blkdebug::nowhere", "length"),
		one("-f qcow2 blkdebug:nowhere:a", "length"),
		one("--image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a,file.inject-error.0.event=write_aio,file.inject-error.0.errno=5,file.inject-error.0.once=on",
			"write 0 64k", "aio_write 64k 64k", "aio_flush", "writev 0 512"),
		one("", "open -o l2-cache-entry-size=256 a", "open -o l2-cache-entry-size=4242 a", "open -o l2-cache-entry-size=0 a", "open -o l2-cache-entry-size=128k a",
			"open -o driver=qcow2,l2-cache-entry-size=512 a", "length"),
		// Reopening what can't change, and what can't be.
		one("-f qcow2 top", "reopen -o node-name=x", "reopen -o file.node-name=x", "reopen -o backing.node-name=x", "reopen -o driver=qcow2", "reopen -o driver=raw", "reopen -o file.driver=file",
			"reopen -o file.driver=qcow2", "reopen -o backing.driver=qcow2", "reopen -o backing.driver=raw", "reopen -o auto-read-only=foo", "reopen -o auto-read-only=on"),
		one("", "open -o node-name=x,file.node-name=y a", "reopen", "reopen -o node-name=x", "reopen -o file.node-name=y", "reopen -o node-name=y"),
		one("-f qcow2 a", "reopen -o refcount-cache-size=256T", "reopen -o overlap-check=constant,overlap-check.template=all", "reopen -o overlap-check=all,overlap-check.template=all",
			"reopen -o cache-clean-interval=-1", "reopen -o cache-clean-interval=x", "reopen -o l2-cache-size=1T,l2-cache-entry-size=512", "length"),
		one("--image-opts driver=null-co,size=1M", "info"),
		one("--image-opts driver=file,filename=raw", "info"),
		// Files that are no disks.
		one("", "open -r -o driver=file,filename=.", "open -o driver=file,filename=.", "open -r -o driver=host_device,filename=.", "open -r -o driver=host_cdrom,filename=raw",
			"open -r -o driver=file,filename=/dev/null,locking=off"),
		// Character devices are disks, of a size if they have one.
		one("", "open -r -o driver=host_device,filename=/dev/null,locking=off", "length", "read 0 512", "close",
			"open -o driver=host_device,filename=/dev/null,locking=off", "length", "write 0 512", "close", "open -o driver=host_cdrom,filename=/dev/null,locking=off"),
		one("-f raw /dev/null", "length", "info"),
		one("-f raw -r /dev/zero", "length", "read 0 512"),
		// What stands over a disk.
		one("", "open -o driver=compress,file.driver=qcow2,file.file.filename=a", "write -P 7 0 64k", "write -P 8 96k 64k", "write -P 9 1000010 10", "read -P 7 0 64k", "read -P 9 1000010 10",
			"read -P 0 64k 32k", "read -P 8 96k 64k", "write -P 3 8190k 2k", "read -P 3 8190k 2k", "close", "open -o driver=qcow2 a", "read -P 9 1000010 10", "read -P 3 8190k 2k"),
		one("--image-opts driver=blkdebug,image.driver=qcow2,image.file.filename=a,inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.sector=8", "write 0 4k", "write 4k 512",
			"write 4608 512", "alloc 0 1M", "read 0 8k"),
		one("", "open -o driver=blkdebug,image.driver=qcow2,align=4k,max-transfer=64k blkdebug::a", "write -P 33 1000 128k", "read -P 33 1000 128k", "read -P 0 0 1000", "alloc 1 1"),
		one("--image-opts driver=blkdebug,image.driver=qcow2,image.file.filename=a,inject-error.0.event=none,inject-error.0.iotype=block-status", "map"),
		// A flush that failed is told once, and the end says no more.
		one("-t writeback --image-opts driver=qcow2,file.filename=apart,data-file.driver=blkdebug,data-file.image.filename=data,data-file.inject-error.0.event=none,data-file.inject-error.0.iotype=flush",
			"write 0 512", "flush"),
		// Disks in disks. What the inner one is to become larger for, qemu-io does not write.
		one("--image-opts driver=raw,file.driver=qcow2,file.file.filename=a", "write -P 3 0 64k", "read -P 3 0 64k", "length", "info", "alloc 0 1M", "write -c 0 64k", "write -b 0 512",
			"write -z 64k 64k", "discard 0 64k", "read -P 0 0 64k", "read 8M 512", "truncate 9M", "length"),
		one("--image-opts driver=raw,offset=64k,size=128k,file.driver=qcow2,file.file.filename=a", "write -P 3 0 64k", "read -P 3 0 64k", "read -P 0 64k 64k", "length", "read 128k 512"),
		one("--image-opts driver=qcow2,file.driver=raw,file.file.filename=a", "write -P 3 0 64k", "read -P 3 0 64k", "map", "length"),
		one("--image-opts driver=qcow2,file.driver=raw,file.offset=0,file.file.filename=a", "write -P 3 0 64k", "read -P 3 0 64k", "map", "length"),
		one("--image-opts driver=qcow2,file.driver=qcow2,file.file.filename=a", "length"),
		one("--image-opts driver=qcow2,file.driver=foo,file.file.filename=a", "length"),
		one("--image-opts driver=qcow2,file.driver=qcow2", "length"),
		one("--image-opts driver=qcow2,file.driver=null-co", "length"),
		one("--image-opts driver=raw,file.driver=null-co,file.size=1M", "length", "read 0 64k"),
		one("--image-opts driver=raw,file.driver=qcow2,file.foo=1,file.file.filename=a", "length"),
		one("--image-opts driver=qcow2,file.driver=blkdebug,file.image.driver=raw,file.image.file.filename=a,file.inject-error.0.event=write_aio", "write 0 64k", "read -P 0 0 64k"),
		one("-s --image-opts driver=qcow2,file.driver=raw,file.file.filename=a", "write -P 3 0 64k", "read -P 3 0 64k", "map", "close", "open driver=qcow2,file.filename=a", "read -P 0 0 64k"),
		one("-s --image-opts driver=raw,file.driver=qcow2,file.file.filename=a", "write -P 3 0 64k", "read -P 3 0 64k", "close", "open driver=qcow2,file.filename=a", "read -P 0 0 64k"),
		one("", "open -o driver=qcow2,lazy-refcounts=on v2", "open -o driver=qcow2,lazy-refcounts=on a", "write 0 64k", "info", "reopen -o lazy-refcounts=off", "write 64k 64k", "info"),
		// What is read of backing files is kept, in whole clusters.
		one("-C -f qcow2 top", "read -P 0 0 64k", "read -P 3 1040k 1k", "map", "alloc 1M 1M", "read 4M 1", "read 0 0", "write -P 5 2M 64k", "write -c -P 6 3M 64k", "read -P 5 2M 64k", "read -P 6 3M 64k",
			"discard 1M 64k", "read -P 0 1M 64k", "aio_read 5M 100k", "aio_flush", "write -b 0 512", "read -P 3 1100k 948k", "map", "info", "length"),
		one("-C -f qcow2 over", "read 999k 25k", "map", "read 0 1M", "map", "truncate 2M", "length"),
		one("-C -f qcow2 a", "read 0 1k", "map"),
		one("-C -f qcow2 v2", "read 0 1k", "map"),
		one("-C -f qcow2 sub", "read 1k 1k", "map"),
		one("-C -f raw raw", "read 0 64k", "write 0 64k", "map", "truncate 2M", "length"),
		one("-C -r -f qcow2 top", "length"),
		one("", "open -C -r top", "open -C -o driver=qcow2 top", "read -P 3 1M 64k", "map"),
		one("", "open -r -o driver=copy-on-read,file.driver=qcow2 top", "open -o driver=copy-on-read,file.driver=qcow2 top", "read -P 3 1M 64k", "map", "length", "info", "close",
			"open -o driver=copy-on-read,file.driver=qcow2,foo=1 top"),
		one("", "open -C -o driver=blkdebug,image.driver=qcow2,inject-error.0.event=cor_write,inject-error.0.sector=2048 top", "read 960k 64k", "read 1M 64k", "map"),
		// What blkdebug's storage is said to be able to do.
		one("", "open -o driver=qcow2,file.align=4k blkdebug::a", "write -P 0xa 0x200 0x400", "write -P 0xa 0x20000 0x600", "write -z 0x400 0x20000", "read -P 0xa 0x200 0x200", "read -P 0 0x400 0x20000",
			"read -P 0xa 0x20400 0x200", "aio_write -z 0x200 0x200", "aio_flush", "read -P 0 0x200 0x200", "discard 0 1M", "map"),
		one("", "open -o driver=raw,file.align=512,file.opt-discard=64k,file.max-discard=128k,file.opt-write-zero=4k,file.max-write-zero=8k,file.max-transfer=4k blkdebug::raw", "write -P 3 0 1M",
			"discard 1k 200k", "read -P 3 0 64k", "read -P 0 64k 128k", "read -P 3 192k 64k", "write -z 300k 33k", "read -P 0 300k 33k", "write -z -u 500k 33k", "read -P 0 500k 33k", "read -P 3 533k 1k"),
		one("", "open -o driver=qcow2,file.align=3 blkdebug::a", "open -o driver=qcow2,file.align=4k,file.max-transfer=2k blkdebug::a", "open -o driver=qcow2,file.align=2G blkdebug::a",
			"open -o driver=qcow2,file.align=x blkdebug::a", "open -o driver=qcow2,file.align=512,file.opt-discard=1k,file.max-discard=512 blkdebug::a"),
		one("--image-opts driver=blkdebug,image.filename=raw,take-child-perms.0=write,unshare-child-perms.0=consistent-read", "length"),
		one("--image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a,file.inject-error.event=write_aio,file.inject-error.errno=28", "write 0 512", "read 0 512"),
		// Nothing is said of a flush that fails when there was nothing to flush.
		one("--image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=a,file.inject-error.0.event=l2_load", "read 0 512"),
		// The machine's state, behind the disk.
		one("-f qcow2 a", "read -b 0 4k", "write -b -P 3 0 4k", "read -b -P 3 0 4k", "read -b -P 0 4k 1M", "write 0 64k", "write -b -P 4 1T 512", "read -b -P 4 1T 512",
			"read -b -P 3 0 4k", "map", "length", "write -b 0 100", "read -b 100 512", "write -b -P 5 63k 2k", "read -b -P 5 63k 2k"),
		one("-f qcow2 top", "write -b -P 3 1M 4k", "read -b -P 0 0 1M", "map"),
		one("-f qcow2 small", "write -b 0 5M", "read -b -P 0xcd 0 5M", "write -b 1P 512", "read -b 1P 512"),
		one("-f qcow2 sub", "write -b -P 2 1k 2k", "read -b -P 2 1k 2k", "read -b -P 0 0 1k"),
		one("-f qcow2 v2", "write -b -P 2 1k 2k", "read -b -P 2 1k 2k"),
		one("-r -f qcow2 a", "read -b -P 0 0 512", "write -b 0 512"),
		one("-f raw raw", "read -b 0 512", "write -b 0 512"),
		one("--image-opts driver=blkdebug,image.driver=file,image.filename=raw", "length"),
	}
}

// TestAgainstQEMU runs scripts through qemu-io and through this package, on equal
// images: what they print, and their status, are the same but for times. The
// images in the end are equal, too.
func TestAgainstQEMU(t *testing.T) {
	made := images(t)
	for _, s := range scripts() {
		t.Run(s.args+": "+strings.Join(s.commands, "; "), func(t *testing.T) {
			var args []string
			words := strings.Fields(s.args)
			for _, c := range s.commands {
				args = append(args, "-c", c)
			}
			args = append(args, words...)
			there, here := copyOf(t, made), copyOf(t, made)
			want, got := theirs(t, there, "", args), ours(t, here, "", args)
			if got.stdout != want.stdout {
				t.Errorf("standard output:\n%s", difference(got.stdout, want.stdout))
			}
			if got.stderr != want.stderr {
				t.Errorf("messages:\n%s", difference(got.stderr, want.stderr))
			}
			if got.status != want.status {
				t.Errorf("status %d, want %d", got.status, want.status)
			}
			for _, name := range []string{"a", "v2", "small", "top", "over"} {
				if len(words) == 0 || words[len(words)-1] != name {
					continue
				}
				out, err := exec.Command("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", filepath.Join(here, name), filepath.Join(there, name)).CombinedOutput()
				if err != nil {
					t.Errorf("%s: %s", name, out)
				}
			}
		})
	}
}

// difference shows two texts, line by line where they differ.
func difference(got, want string) string {
	var b strings.Builder
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var x, y string
		if i < len(g) {
			x = g[i]
		}
		if i < len(w) {
			y = w[i]
		}
		if x != y {
			b.WriteString("  got:  " + x + "\n  want: " + y + "\n")
		}
	}
	return b.String()
}

// TestPromptAgainstQEMU feeds commands from the standard input.
func TestPromptAgainstQEMU(t *testing.T) {
	made := images(t)
	for _, stdin := range []string{
		"length\n\nfoo\nread 0 512\nquit\nlength\n",
		"length\nread 9M 1",
		"",
		"   length  \nq\n",
	} {
		args := []string{"-f", "qcow2", "a"}
		there, here := copyOf(t, made), copyOf(t, made)
		want, got := theirs(t, there, stdin, args), ours(t, here, stdin, args)
		if got != want {
			t.Errorf("%q: got %+v, want %+v", stdin, got, want)
		}
	}
}
