package imgio

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/govmm/govmm/qcow2"
)

// TestMain is the program itself when a test runs it as a child.
func TestMain(m *testing.M) {
	if os.Getenv("IMGIO_CHILD") != "" {
		os.Exit(Main("qemu-io", "0", os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestAmounts writes numbers of bytes, and times.
func TestAmounts(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0 bytes", 20: "20 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1536: "1.500 KiB", 1 << 20: "1 MiB", 8 << 30: "8 GiB", 1 << 50: "1 PiB", 3 << 60: "3 EiB",
		0.5: "0.500000 bytes",
	} {
		if got := amount(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "00.00 sec", 123 * time.Millisecond: "00.12 sec", 2 * time.Second: "0:00:02.00", 3723 * time.Second: "1:02:03.00",
	} {
		if got := duration(d, false); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := duration(0, true); got != "0:00:00.00" {
		t.Errorf("%q", got)
	}
}

// TestSignals lets the program end itself by a signal.
func TestSignals(t *testing.T) {
	for command, want := range map[string]syscall.Signal{"abort": syscall.SIGABRT, "sigraise 15": syscall.SIGTERM, "sigraise 9": syscall.SIGKILL} {
		cmd := exec.Command(os.Args[0], "-c", command, "-c", "help")
		cmd.Env = append(os.Environ(), "IMGIO_CHILD=1")
		out, err := cmd.CombinedOutput()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != want || len(out) != 0 {
			t.Errorf("%s: %v, %q; want it to end by %v", command, err, out, want)
		}
	}
}

// newDisk makes an image with breakpoints, and a session that has it open.
func newDisk(t *testing.T) (*Session, *bytes.Buffer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := qcow2.OpenFile(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(qcow2.Create(f, qcow2.CreateOptions{Size: 8 << 20}), f.Close()); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s := NewSession("imgio", &out, &out)
	if !s.Run("open -t writeback -o driver=qcow2 blkdebug::" + path) {
		t.Fatal(out.String())
	}
	t.Cleanup(func() { s.Close() })
	return s, &out
}

// TestSuspendedRequests closes an image, and waits for a breakpoint that nobody
// can come to any more: neither takes forever.
func TestSuspendedRequests(t *testing.T) {
	s, out := newDisk(t)
	for _, line := range []string{"break write_aio A", "aio_write 0 512", "wait_break A"} {
		if !s.Run(line) {
			t.Fatalf("%s: %s", line, out)
		}
	}
	if !s.Run("close") || !strings.Contains(out.String(), "wrote 512/512 bytes at offset 0\n") {
		t.Errorf("close: %s", out)
	}
	s, out = newDisk(t)
	if s.Run("wait_break A") || !strings.Contains(out.String(), "No such file or directory") {
		t.Errorf("wait_break: %s", out)
	}
}

// TestOverlappingRequests writes the same bytes by many requests at a time: the
// last that was begun is what stays.
func TestOverlappingRequests(t *testing.T) {
	s, out := newDisk(t)
	for i := range 50 {
		if !s.Run("aio_write -q -P " + string(rune('0'+i%10)) + " 1000 3000") {
			t.Fatal(out)
		}
	}
	if !s.Run("aio_flush") || !s.Run("read -q -P 9 1000 3000") {
		t.Fatal(out)
	}
}

// TestHelp lists every command, and explains those that have options.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	s := NewSession("imgio", &out, &out)
	s.Run("help")
	for _, c := range commands() {
		if !strings.Contains(out.String(), c.name+" ") {
			t.Errorf("%s is not listed", c.name)
		}
		if !s.Run("help " + c.name) {
			t.Errorf("help %s fails", c.name)
		}
		for i := 0; i < len(c.letters) && c.help != ""; i++ {
			if l := string(c.letters[i]); l != ":" && !strings.Contains(c.help, " -"+l) && !strings.Contains(c.help, "with -"+l) && !strings.Contains(c.help, "from -"+l) && !strings.Contains(c.help, "for -"+l) {
				t.Errorf("%s: nothing about -%s", c.name, l)
			}
		}
	}
	if got := Complete("aio_"); len(got) != 3 {
		t.Errorf("completes aio_ to %q", got)
	}
	if line, pos, ok := complete("aio", 3, '\t'); line != "aio_" || pos != 4 || !ok {
		t.Errorf("completes aio to %q", line)
	}
}

// TestReopen changes the access and the cache mode of an open image.
func TestReopen(t *testing.T) {
	s, out := newDisk(t)
	for _, step := range []struct {
		line string
		ok   bool
	}{
		{"write 0 512", true}, {"reopen -r", true}, {"write 0 512", false}, {"reopen -w -c unsafe", true}, {"write 0 512", true},
		{"reopen -o read-only=on", false}, {"write 0 512", true}, {"reopen -r -o read-only=on", false}, {"reopen -o cache.direct=on -c none", false},
		{"reopen -o surprise=1", false}, {"read -P 0xcd 0 512", true},
	} {
		if s.Run(step.line) != step.ok {
			t.Errorf("%s: %s", step.line, out)
		}
	}
}

// TestSuspendedAtTheEnd ends the program with a request that nobody resumes: it goes on.
func TestSuspendedAtTheEnd(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("raw", make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	args := []string{"-f", "raw", "-c", "break write_aio A", "-c", "aio_write -P 7 0 512", "-c", "wait_break A", "-c", "quit", "blkdebug::raw"}
	if status := Main("qemu-io", "0", args, strings.NewReader(""), &out, &errs); status != 0 || errs.Len() > 0 {
		t.Errorf("status %d: %s%s", status, &out, &errs)
	}
	if got, err := os.ReadFile("raw"); err != nil || got[511] != 7 || !strings.Contains(out.String(), "wrote 512/512") {
		t.Errorf("not written (%v): %s", err, &out)
	}
}
