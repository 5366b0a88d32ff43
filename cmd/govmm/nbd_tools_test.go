package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/sockettest"
	"golang.org/x/sys/unix"
)

// tool runs a program of somebody else's and returns what it printed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed (Debian packages libnbd-bin, qemu-utils, fio)", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("verification failed")) {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// clientURI names an export on a Unix socket to libnbd, QEMU and fio.
func clientURI(socket, export string) string {
	return "nbd+unix:///" + export + "?socket=" + socket
}

// patchy writes a raw file with data, zeroes and holes in it.
func patchy(t *testing.T, file string, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	rng := rand.New(rand.NewPCG(3, 4))
	for off := 0; off+200_000 < size; off += 100_000 + rng.IntN(1_000_000) {
		for i := range 1 + rng.IntN(200_000) {
			data[off+i] = byte(rng.Uint32())
		}
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return data
}

// ended stops a server and fails unless it was content.
func ended(t *testing.T, stop func() (int, string)) {
	t.Helper()
	if status, stderr := stop(); status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// TestNbdcopyOfImages copies into an image, and out of it, by several connections
// at once.
func TestNbdcopyOfImages(t *testing.T) {
	t.Chdir(t.TempDir())
	data := patchy(t, "in.raw", 48<<20)
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "48M")
	socket, stop := serveImages(t, "a.qcow2")
	for _, connections := range []string{"1", "4"} {
		tool(t, "nbdcopy", "--flush", "--connections="+connections, "--requests=64", "in.raw", clientURI(socket, ""))
		tool(t, "nbdcopy", "--connections="+connections, clientURI(socket, ""), "out.raw")
		if got, err := os.ReadFile("out.raw"); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%s connections: other contents, or %v", connections, err)
		}
	}
	ended(t, stop)
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", "in.raw", "a.qcow2")
	tool(t, "qemu-img", "check", "-q", "a.qcow2")
}

// TestFioVerifiesServedImage has fio write blocks of many sizes at random places and
// read all of them back, 32 at a time: through the page cache and past it.
func TestFioVerifiesServedImage(t *testing.T) {
	for name, cache := range map[string]string{"cache": "", "direct": ",cache.direct=on"} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "32M")
			if f, err := os.OpenFile("a.qcow2", os.O_RDWR|unix.O_DIRECT, 0); err != nil && cache != "" {
				t.Skipf("no direct I/O where tests keep their files: %v", err)
			} else if err == nil {
				f.Close()
			}
			socket, stop := serveImages(t, "path=a.qcow2"+cache)
			tool(t, "fio", "--name=verify", "--ioengine=nbd", "--uri="+clientURI(socket, ""), "--rw=randwrite", "--size=32M", "--loops=2",
				"--bsrange=512-128k", "--bs_unaligned=0", "--iodepth=32", "--verify=crc32c", "--verify_fatal=1", "--randseed=7", "--fsync=200")
			ended(t, stop)
			tool(t, "qemu-img", "check", "-q", "a.qcow2")
		})
	}
}

// TestNbdfuseOfImage mounts an export as a file, which is read and written.
func TestNbdfuseOfImage(t *testing.T) {
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skipf("no file system in user space here: %v", err)
	} else {
		f.Close()
	}
	if os.Getuid() != 0 {
		t.Skip("mounting takes root here")
	}
	t.Chdir(t.TempDir())
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "8M")
	tool(t, "qemu-io", "-f", "qcow2", "a.qcow2", "-c", "write -P 3 1M 1M")
	tool(t, "nbdfuse", "--version")
	socket, stop := serveImages(t, "a.qcow2")
	dir := t.TempDir()
	mount := exec.Command("nbdfuse", "--pidfile", "ready", dir, clientURI(socket, ""))
	var complaints bytes.Buffer
	mount.Stderr = &complaints
	if err := mount.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- mount.Wait() }()
	unmount := func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
			_ = mount.Process.Kill()
		}
		if err := <-gone; err != nil {
			t.Errorf("nbdfuse: %v: %s", err, complaints.String())
		}
	}
	for _, err := os.Stat("ready"); err != nil; _, err = os.Stat("ready") {
		select {
		case err := <-gone:
			t.Fatalf("nbdfuse: %v: %s", err, complaints.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	file, err := os.OpenFile(filepath.Join(dir, "nbd"), os.O_RDWR, 0)
	if err != nil {
		unmount()
		t.Fatal(err)
	}
	got := make([]byte, 3<<20)
	if _, err := file.ReadAt(got, 0); err != nil || got[1<<20-1] != 0 || got[1<<20] != 3 || got[2<<20-1] != 3 || got[2<<20] != 0 {
		t.Errorf("read: %v, or other contents", err)
	}
	if _, err := file.WriteAt(bytes.Repeat([]byte{9}, 100_000), 5_000_000); err != nil {
		t.Error(err)
	}
	if err := file.Sync(); err != nil {
		t.Error(err)
	}
	file.Close()
	unmount()
	ended(t, stop)
	tool(t, "qemu-io", "-f", "qcow2", "a.qcow2", "-c", "read -P 9 5000000 100000", "-c", "read -P 3 1M 1M")
}

// TestServedSnapshot serves the disk as it was, while it is another now.
func TestServedSnapshot(t *testing.T) {
	t.Chdir(t.TempDir())
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "8M")
	tool(t, "qemu-io", "-f", "qcow2", "a.qcow2", "-c", "write -P 1 0 1M")
	tool(t, "qemu-img", "snapshot", "-c", "before", "a.qcow2")
	tool(t, "qemu-io", "-f", "qcow2", "a.qcow2", "-c", "write -P 2 0 1M")
	socket, stop := serveImages(t, "--read-only", "a.qcow2,snapshot=before,export=then", "a.qcow2,export=now")
	tool(t, "qemu-io", "-r", "-f", "raw", clientURI(socket, "then"), "-c", "read -P 1 0 1M", "-c", "read -P 0 1M 7M")
	tool(t, "qemu-io", "-r", "-f", "raw", clientURI(socket, "now"), "-c", "read -P 2 0 1M", "-c", "read -P 0 1M 7M")
	ended(t, stop)
}

// extent is an entry of `qemu-img map --output=json`, as far as an NBD client knows.
type extent struct {
	Start, Length int64
	Zero, Data    bool
}

// mapped is what qemu-img tells of an image; neighbours that are alike are one.
func mapped(t *testing.T, args ...string) []extent {
	t.Helper()
	var list, merged []extent
	out := tool(t, "qemu-img", append([]string{"map", "--output=json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, e := range list {
		if n := len(merged); n > 0 && merged[n-1].Zero == e.Zero && merged[n-1].Data == e.Data {
			merged[n-1].Length += e.Length
			continue
		}
		merged = append(merged, e)
	}
	return merged
}

// TestMapOfServedImage asks for the allocation of an image through the server and
// past it, by qemu-img both times.
func TestMapOfServedImage(t *testing.T) {
	t.Chdir(t.TempDir())
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "16M")
	tool(t, "qemu-io", "-f", "qcow2", "base.qcow2", "-c", "write 0 1M", "-c", "write 4M 192k", "-c", "write -z 6M 1M")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2")
	tool(t, "qemu-io", "-f", "qcow2", "top.qcow2", "-c", "write 512k 1M", "-c", "write -z 4M 64k", "-c", "write 15M 1M")
	want := mapped(t, "-f", "qcow2", "top.qcow2")
	socket, stop := serveImages(t, "top.qcow2")
	if got := mapped(t, "-f", "raw", clientURI(socket, "")); !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", clientURI(socket, ""), "copy.qcow2")
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", clientURI(socket, ""), "copy.qcow2")
	if out := tool(t, "qemu-img", "info", clientURI(socket, "")); !strings.Contains(out, "virtual size: 16 MiB (16777216 bytes)") {
		t.Error(out)
	}
	ended(t, stop)
}

// TestBitmapOfServedImage has qemu-img read a bitmap the way that backup programs
// do: what is dirty is shown as what has no data.
func TestBitmapOfServedImage(t *testing.T) {
	t.Chdir(t.TempDir())
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "8M")
	tool(t, "qemu-img", "bitmap", "--add", "-f", "qcow2", "a.qcow2", "b0")
	tool(t, "qemu-io", "-f", "qcow2", "a.qcow2", "-c", "write 1M 64k", "-c", "write 7M 1M")
	socket, stop := serveImages(t, "--read-only", "a.qcow2")
	var dirty []string
	for _, e := range mapped(t, "--image-opts", "driver=nbd,server.type=unix,server.path="+socket+",x-dirty-bitmap=qemu:dirty-bitmap:b0") {
		if !e.Data {
			dirty = append(dirty, fmt.Sprintf("%d+%d", e.Start, e.Length))
		}
	}
	if got := strings.Join(dirty, " "); got != "1048576+65536 7340032+1048576" {
		t.Errorf("dirty are %s", got)
	}
	ended(t, stop)
}

// TestFastZeroIsNoEmptyPromise offers fast zeroes where there are zero clusters, and
// not in an old image with a backing file, where they would be written.
func TestFastZeroIsNoEmptyPromise(t *testing.T) {
	t.Chdir(t.TempDir())
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "8M")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-b", "base.qcow2", "-F", "qcow2", "old.qcow2")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "new.qcow2")
	for image, want := range map[string]string{"old.qcow2": "can_fast_zero: false", "new.qcow2": "can_fast_zero: true"} {
		socket, stop := serveImages(t, image)
		if out := tool(t, "nbdinfo", clientURI(socket, "")); !strings.Contains(out, want) {
			t.Errorf("%s: want %q in\n%s", image, want, out)
		}
		ended(t, stop)
	}
}

// TestOnceEndsAfterNbdcopy serves several connections of one client, and ends.
func TestOnceEndsAfterNbdcopy(t *testing.T) {
	t.Chdir(t.TempDir())
	data := patchy(t, "in.raw", 16<<20)
	socket, server := serverProcess(t, "--once", "--read-only", "path=in.raw,format=raw")
	tool(t, "nbdcopy", "--connections=4", clientURI(socket, ""), "out.raw")
	if err := server.Wait(); err != nil {
		t.Errorf("%v: %s", err, server.Stderr)
	}
	if got, err := os.ReadFile("out.raw"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("other contents, or %v", err)
	}
}

// TestSIGTERMFlushesServedImage ends a server while a client that never flushed is
// connected.
func TestSIGTERMFlushesServedImage(t *testing.T) {
	t.Chdir(t.TempDir())
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "64M")
	socket, server := serverProcess(t, "a.qcow2")
	client := exec.Command("qemu-io", "-t", "unsafe", "-f", "raw", clientURI(socket, ""))
	in, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = client.Process.Kill() // its server is gone: how it ends is its own affair
		_ = client.Wait()
	}()
	if _, err := fmt.Fprintln(in, "write -P 7 1M 40M"); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); ; {
		if !lines.Scan() {
			t.Fatalf("qemu-io ended: %v", lines.Err())
		}
		if strings.Contains(lines.Text(), "wrote 41943040/41943040") {
			break
		}
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("%v: %s", err, server.Stderr)
	}
	tool(t, "qemu-img", "check", "-q", "a.qcow2")
	tool(t, "qemu-io", "-r", "-f", "qcow2", "a.qcow2", "-c", "read -P 7 1M 40M")
}

// serverProcess runs govmm nbd in a process of its own, and returns when it listens at its
// socket. The process is killed at the end of the test if it still runs.
func serverProcess(t *testing.T, args ...string) (socket string, server *exec.Cmd) {
	t.Helper()
	socket = sockettest.Path(t)
	server = exec.Command(os.Args[0], append([]string{"nbd", "--socket", socket}, args...)...)
	server.Stderr = new(bytes.Buffer)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if server.ProcessState == nil {
			_ = server.Process.Kill()
			_ = server.Wait()
		}
	})
	sockettest.Await(t, socket)
	return socket, server
}
