package main

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/sockettest"
)

// serveImages runs govmm nbd on a socket until the test ends or stop is called,
// which returns its exit status and messages.
func serveImages(t *testing.T, args ...string) (socket string, stop func() (int, string)) {
	t.Helper()
	socket = sockettest.Path(t)
	ctx, cancel := context.WithCancel(context.Background())
	var stderr bytes.Buffer
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, append([]string{"nbd", "--socket", socket}, args...), strings.NewReader(""), new(bytes.Buffer), &stderr)
	}()
	stop = func() (int, string) {
		cancel()
		s := <-status
		status <- s
		return s, stderr.String()
	}
	t.Cleanup(func() { stop() })
	for {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return socket, stop
		}
		select {
		case s := <-status:
			t.Fatalf("status %d: %s", s, stderr.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestServedImage writes through a server into a qcow2 image, by QEMU's and
// libnbd's tools.
func TestServedImage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tool := range []string{"qemu-io", "nbdinfo"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	for _, args := range [][]string{
		{"img", "create", "base.qcow2", "8M"},
		{"img", "create", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2"},
	} {
		if status, _, stderr := govmm(args...); status != 0 {
			t.Fatal(stderr)
		}
	}
	do := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("verification failed")) {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	do("qemu-io", "-f", "qcow2", "base.qcow2", "-c", "write -P 1 0 1M")
	socket, stop := serveImages(t, "top.qcow2,description=the disk")
	uri := "nbd+unix:///?socket=" + socket
	do("qemu-io", "-f", "raw", uri, "-c", "write -P 2 512k 1M", "-c", "read -P 1 0 512k", "-c", "write -z 4M 64k")
	if out := do("nbdinfo", "--map=qemu:allocation-depth", uri); !strings.Contains(out, "524288    2") || !strings.Contains(out, "1048576    1") {
		t.Errorf("depths:\n%s", out)
	}
	if out := do("nbdinfo", "--map", uri); !strings.Contains(out, "1572864    0") || !strings.Contains(out, "3  hole,zero") {
		t.Errorf("allocation:\n%s", out)
	}
	if status, stderr := stop(); status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
	do("qemu-io", "-r", "-f", "qcow2", "top.qcow2", "-c", "read -P 2 512k 1M", "-c", "read -P 1 0 512k")
	do("qemu-img", "check", "-q", "top.qcow2")
}

// TestServedBitmaps tells clients what is dirty in the bitmaps of an image, also
// by their own writes.
func TestServedBitmaps(t *testing.T) {
	t.Chdir(t.TempDir())
	do := func(name string, args ...string) string {
		t.Helper()
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	do("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "8M")
	do("qemu-img", "bitmap", "--add", "-f", "qcow2", "a.qcow2", "b0")
	do("qemu-io", "-f", "qcow2", "a.qcow2", "-c", "write 1M 64k")
	socket, stop := serveImages(t, "a.qcow2")
	uri := "nbd+unix:///?socket=" + socket
	do("qemu-io", "-f", "raw", uri, "-c", "write 2M 128k")
	got := strings.Join(strings.Fields(do("nbdinfo", "--map=qemu:dirty-bitmap:b0", uri)), " ")
	want := "0 1048576 0 clean 1048576 65536 1 dirty 1114112 983040 0 clean 2097152 131072 1 dirty 2228224 6160384 0 clean"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if status, stderr := stop(); status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
	if out := do("qemu-img", "info", "a.qcow2"); !strings.Contains(out, "name: b0") || strings.Contains(out, "in-use") {
		t.Error(out)
	}
}

func TestNBDBadInput(t *testing.T) {
	t.Chdir(t.TempDir())
	if status, _, stderr := govmm("img", "create", "a.qcow2", "1M"); status != 0 {
		t.Fatal(stderr)
	}
	for want, args := range map[string][]string{
		"no such file":            {"none.qcow2"},
		`unknown key "oops"`:      {"a.qcow2,oops=1"},
		"needs readonly=on":       {"a.qcow2,snapshot=s"},
		"snapshot= (the ID or":    {"--read-only", "a.qcow2,snapshot="},
		`"nope"`:                  {"--read-only", "a.qcow2,snapshot=nope"},
		"has no snapshots":        {"--read-only", "path=a.qcow2,format=raw,snapshot=s"},
		"--shared 0":              {"--shared", "0", "a.qcow2"},
		"needs --tls-creds":       {"--tls-verify-peer", "a.qcow2"},
		"server-cert.pem":         {"--tls-creds", ".", "a.qcow2"},
		`two exports are named "`: {"a.qcow2,export=x,readonly=on", "a.qcow2,export=x,readonly=on"},
		"[socket port]":           {"--socket", "s", "--port", "1", "a.qcow2"},
	} {
		status, _, stderr := govmm(append([]string{"nbd"}, args...)...)
		if status != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d, %q; want one line with %q", args, status, stderr, want)
		}
	}
}
