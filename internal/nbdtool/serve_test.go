package nbdtool

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/sockettest"
)

// uri names an export on a Unix socket to clients.
func uri(socket, export string) string { return "nbd+unix:///" + export + "?socket=" + socket }

// serve runs a server in the background by --fork, of the program at path, until the test
// ends. pid is its process ID.
func serve(t *testing.T, path string, args ...string) (socket string, pid int) {
	t.Helper()
	dir := t.TempDir()
	socket = sockettest.Path(t)
	pidFile := filepath.Join(dir, "pid")
	if status, printed := run(t, path, append([]string{"--fork", "--pid-file", pidFile, "-k", socket}, args...)...); status != 0 {
		t.Fatalf("%q: status %d, %s", args, status, printed)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, pid) })
	return socket, pid
}

// stop ends a server and waits until it is gone.
func stop(t *testing.T, pid int) {
	t.Helper()
	_ = syscall.Kill(pid, syscall.SIGTERM) // it may be gone
	gone(t, pid)
}

// gone waits until a server has ended, be it that nobody has asked for its status.
func gone(t *testing.T, pid int) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("the server stays")
		}
	}
}

// disk makes a qcow2 image with data, snapshots and bitmaps in the working directory.
func disk(t *testing.T) {
	t.Helper()
	need(t, name, "nbdinfo", "nbdcopy")
	t.Chdir(t.TempDir())
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "8M")
	tool(t, "qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", "base.qcow2")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "a.qcow2")
	tool(t, "qemu-io", "-f", "qcow2", "-c", "write -P 2 1M 1M", "a.qcow2")
	tool(t, "qemu-img", "snapshot", "-c", "before", "a.qcow2")
	tool(t, "qemu-img", "bitmap", "--add", "-f", "qcow2", "a.qcow2", "b0")
	tool(t, "qemu-io", "-f", "qcow2", "-c", "write -P 3 2M 1M", "-c", "write -z 4M 1M", "a.qcow2")
}

// TestClientsSeeWhatQEMUServes compares what clients are told by a server of ours and one
// of QEMU's under the same options.
func TestClientsSeeWhatQEMUServes(t *testing.T) {
	disk(t)
	theirs, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		options, export string
		contexts        []string
	}{
		{"", "", []string{"base:allocation"}},
		{"-e 3", "", nil},
		{"-r -e 0", "", nil},
		{"-x disk -D text", "disk", nil},
		{"-A -B b0", "", []string{"base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0"}},
		{"-r -l before", "", []string{"base:allocation"}},
		{"-l snapshot.id=1,snapshot.name=before", "", nil},
		{"-o 1048576", "", nil},
		{"--cache=writethrough --discard=unmap --detect-zeroes=unmap --aio=io_uring", "", nil},
	} {
		t.Run("options "+test.options, func(t *testing.T) {
			if strings.Contains(test.options, "io_uring") {
				if out, err := exec.Command("qemu-io", "-i", "io_uring", "-r", "-f", "qcow2", "-c", "length", "a.qcow2").CombinedOutput(); err != nil {
					t.Skipf("QEMU has no io_uring here: %v\n%s", err, out)
				}
			}
			var told [2]string
			for i, path := range []string{theirs, "/proc/self/exe"} {
				socket, pid := serve(t, path, append(strings.Fields("-t -f qcow2 "+test.options), "a.qcow2")...)
				told[i] = tool(t, "nbdinfo", uri(socket, test.export))
				for _, c := range test.contexts {
					told[i] += tool(t, "nbdinfo", "--map="+c, uri(socket, test.export))
				}
				told[i] += tool(t, "nbdinfo", "--list", uri(socket, ""))
				tool(t, "nbdcopy", uri(socket, test.export), fmt.Sprint("copy", i))
				told[i] = strings.ReplaceAll(told[i], socket, "SOCKET")
				stop(t, pid)
			}
			if told[0] != told[1] {
				t.Errorf("clients are told\n%s\nwant\n%s", told[1], told[0])
			}
			tool(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", "copy0", "copy1")
		})
	}
}

// TestListIsThatOfQEMU lists what servers of ours and of QEMU's export.
func TestListIsThatOfQEMU(t *testing.T) {
	disk(t)
	theirs, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{theirs, "/proc/self/exe"} {
		for _, options := range []string{"", "-r", "-s", "-x disk -D text -A -B b0", "-f raw"} {
			socket, pid := serve(t, server, append(strings.Fields("-t -f qcow2 "+options), "a.qcow2")...)
			wantStatus, want := run(t, theirs, "-L", "-k", socket)
			if status, printed := inside("-L", "-k", socket); status != wantStatus || printed != want {
				t.Errorf("options %s: status %d\n%s\nwant %d\n%s", options, status, printed, wantStatus, want)
			}
			stop(t, pid)
		}
	}
}

// TestLiveSocketIsTakenOver has a second server listen where the first one does: new clients
// come to the second, whose socket stays when the first one ends.
func TestLiveSocketIsTakenOver(t *testing.T) {
	disk(t)
	socket := sockettest.Path(t)
	begin := func(export string) (pid int) {
		if status, printed := ours(t, "--fork", "--pid-file", "pid", "-t", "-r", "-f", "qcow2", "-x", export, "-k", socket, "a.qcow2"); status != 0 {
			t.Fatalf("status %d, %s", status, printed)
		}
		text, _ := os.ReadFile("pid")
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		t.Cleanup(func() { stop(t, pid) })
		return pid
	}
	first := begin("first")
	begin("second")
	stop(t, first)
	if _, printed := inside("-L", "-k", socket); !strings.Contains(printed, "export: 'second'") {
		t.Errorf("%s", printed)
	}
	other := sockettest.Path(t)
	if err := os.WriteFile(other, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, printed := inside("-k", other, "-f", "qcow2", "a.qcow2"); status != 1 || !strings.HasSuffix(printed, "Address already in use\n") {
		t.Errorf("a file that is no socket: status %d, %s", status, printed)
	}
}

// TestImageInUseIsRefusedAsByQEMU serves an image that another server writes to, in the ways
// of options: who only reads it, be it under a temporary image, must not see it change.
func TestImageInUseIsRefusedAsByQEMU(t *testing.T) {
	disk(t)
	theirs, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, theirs, "-t", "-f", "qcow2", "a.qcow2")
	at := sockettest.Path(t)
	for _, options := range []string{"", "-r", "-s", "-r -s", "-r -l before"} {
		args := append(strings.Fields(options), "-f", "qcow2", "-k", at, "a.qcow2")
		wantStatus, want := run(t, theirs, args...)
		if status, printed := inside(args...); status != wantStatus || printed != want {
			t.Errorf("options %s: status %d, %s, want %d, %s", options, status, printed, wantStatus, want)
		}
	}
}

// TestNoWarningOfWhatIsNotWritten guesses that a disk is raw, and says nothing of that where
// nothing is written to it.
func TestNoWarningOfWhatIsNotWritten(t *testing.T) {
	disk(t)
	if err := os.WriteFile("r.raw", make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, options := range []string{"-r", "-s"} {
		serve(t, "/proc/self/exe", "-t", options, "r.raw") // which fails if anything is printed
	}
}

// TestWritesAreThoseOfQEMU has clients change copies of an image through a server of ours
// and one of QEMU's: contents and allocation are the same afterwards.
func TestWritesAreThoseOfQEMU(t *testing.T) {
	disk(t)
	theirs, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, options := range []string{"--cache=writethrough", "--detect-zeroes=on", "--discard=unmap --detect-zeroes=unmap", "-s"} {
		t.Run("options "+options, func(t *testing.T) {
			var maps [2]string
			for i, path := range []string{theirs, "/proc/self/exe"} {
				image := fmt.Sprintf("image%d", i)
				tool(t, "cp", "a.qcow2", image)
				socket, pid := serve(t, path, append(strings.Fields("-f qcow2 "+options), image)...)
				tool(t, "qemu-io", "-d", "unmap", "-f", "raw", "-c", "write -P 9 5M 64k", "-c", "write -P 0 2M 128k", "-c", "discard 1M 128k",
					"-c", "write -z -u 1536k 128k", "-c", "write -z 2560k 64k", uri(socket, ""))
				gone(t, pid) // the only client has left
				tool(t, "qemu-img", "check", "-q", image)
				maps[i] = tool(t, "qemu-img", "map", "--output=json", "-f", "qcow2", image)
			}
			tool(t, "qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", "image0", "image1")
			if a, b := flat(maps[0]), flat(maps[1]); a != b {
				t.Errorf("map\n%s\nwant\n%s", b, a)
			}
		})
	}
}

// flat is a map without offsets into the file, which allocators may choose.
func flat(text string) string {
	var b strings.Builder
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, `, "offset"`)
		fmt.Fprintln(&b, line)
	}
	return b.String()
}

// TestForkPrintsAndReturns lets go of who calls it, even with its output in a pipe, and
// says by the status whether anything was printed.
func TestForkPrintsAndReturns(t *testing.T) {
	disk(t)
	if err := os.WriteFile("r.raw", make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := sockettest.Path(t)
	status, printed := ours(t, "--fork", "--pid-file", "pid", "-k", socket, "-t", "r.raw")
	if status != 1 || !strings.HasPrefix(printed, "WARNING: Image format was not specified for 'r.raw'") {
		t.Errorf("status %d, %s", status, printed)
	}
	text, _ := os.ReadFile("pid")
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	if pid == 0 {
		t.Fatal("no process")
	}
	stop(t, pid)
	if status, printed := ours(t, "--fork", "-k", socket, "nofile"); status != 1 || printed != "qemu-nbd: Failed to blk_new_open 'nofile': Could not open 'nofile': No such file or directory\n" {
		t.Errorf("status %d, %s", status, printed)
	}
}

// TestServiceManagerPassesSocket serves on a socket that the client has opened: at once,
// and after --fork.
func TestServiceManagerPassesSocket(t *testing.T) {
	disk(t)
	link := filepath.Join(t.TempDir(), name)
	exe, err := os.Executable()
	if err == nil {
		err = os.Symlink(exe, link)
	}
	if err != nil {
		t.Fatal(err)
	}
	tool(t, "nbdcopy", "--", "[", link, "-r", "-f", "qcow2", "a.qcow2", "]", "copy")
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", "copy", "a.qcow2")
	tool(t, "nbdcopy", "--", "[", link, "--fork", "-r", "-f", "qcow2", "a.qcow2", "]", "copy")
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", "copy", "a.qcow2")
}

// TestEndInsideASectorIsToldAsQEMUDoes maps exports of a raw disk whose file ends inside a sector.
func TestEndInsideASectorIsToldAsQEMUDoes(t *testing.T) {
	need(t, name, "qemu-img")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("raw", bytes.Repeat([]byte{1}, 70000), 0o644); err != nil {
		t.Fatal(err)
	}
	theirs, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, options := range []string{"-r -f raw", "-r"} {
		var told [2]string
		for i, path := range []string{theirs, "/proc/self/exe"} {
			socket, pid := serve(t, path, append(strings.Fields("-t "+options), "raw")...)
			told[i] = tool(t, theirs, "-L", "-k", socket) + tool(t, "qemu-img", "map", "-f", "raw", "--output=json", "nbd:unix:"+socket)
			stop(t, pid)
		}
		if told[0] != told[1] {
			t.Errorf("options %s: clients are told\n%s\nwant\n%s", options, told[1], told[0])
		}
	}
}

// TestRawFlagsAreThoseOfQEMU compares what clients are told of raw disks, fast zeroes among it.
func TestRawFlagsAreThoseOfQEMU(t *testing.T) {
	need(t, name, "nbdinfo")
	theirs, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	tool(t, "qemu-img", "create", "-q", "-f", "raw", "r", "1M")
	for _, options := range []string{"-f raw r", "-f raw -r r", "-f raw -o 512 r", "-f raw -A r", "-f raw --detect-zeroes=on r", "--image-opts driver=null-co,size=1M"} {
		var told [2]string
		for i, path := range []string{theirs, "/proc/self/exe"} {
			socket, pid := serve(t, path, strings.Fields("-t "+options)...)
			told[i] = strings.ReplaceAll(tool(t, "nbdinfo", uri(socket, "")), socket, "SOCKET")
			stop(t, pid)
		}
		if told[0] != told[1] {
			t.Errorf("%s: clients are told\n%s\nwant\n%s", options, told[1], told[0])
		}
	}
}
