package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/internal/sockettest"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/vmm/kvm"
	"golang.org/x/sys/unix"
)

// The test binary is started as the guard of a terminal, as an NBD server, and to unpack a kernel.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == terminalGuardName || len(os.Args) > 1 && os.Args[1] == kernelUnpackName || len(os.Args) > 1 && os.Args[1] == "nbd" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// kernel writes a guest program to a file. The test is skipped without KVM.
func kernel(t *testing.T, p *payload.Program) string {
	t.Helper()
	s, err := kvm.Open()
	if err != nil {
		t.Skip(err)
	}
	s.Close()
	image, err := io.ReadAll(p.Kernel())
	if err != nil {
		t.Fatal(err)
	}
	return write(t, string(image), t.TempDir(), "kernel")
}

// runArgs are the arguments to run a kernel on this host's KVM.
func runArgs(kernel string, more ...string) []string {
	return append([]string{"run", "--accel", "kvm", "--memory", "16M", "--kernel", kernel}, more...)
}

func TestRunToPowerOff(t *testing.T) {
	p := payload.New()
	p.OutString(payload.COM1, "hello\n")
	p.PowerOff()
	dir := t.TempDir()
	stats, image := filepath.Join(dir, "stats"), filepath.Join(dir, "disk.qcow2")
	if status, _, stderr := govmm("img", "create", "-q", image, "64M"); status != 0 {
		t.Fatal(stderr)
	}
	status, stdout, stderr := govmm(runArgs(kernel(t, p), "--stats", stats, "--disk", "path="+image)...)
	if status != 0 || stdout != "hello\n" || stderr != "" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	var report runReport
	text, err := os.ReadFile(stats)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if report.Outcome != "power-off" || report.Machine.Accesses() == 0 || report.Seconds == 0 {
		t.Errorf("figures: %s", text)
	}
	if status, out, _ := govmm("img", "check", image); status != 0 {
		t.Errorf("the image afterwards: %s", out)
	}
}

func TestRunToReset(t *testing.T) {
	p := payload.New()
	p.TripleFault()
	status, _, stderr := govmm(runArgs(kernel(t, p))...)
	if status != exitReset || !strings.Contains(stderr, "guest reset the machine") {
		t.Errorf("status %d, %q", status, stderr)
	}
}

func TestRunRefusesBadFiles(t *testing.T) {
	p := payload.New()
	p.PowerOff()
	good := kernel(t, p)
	dir := t.TempDir()
	bad := write(t, "this is no kernel, and no disk image", dir, "bad")
	pipe := filepath.Join(dir, "pipe") // which nobody writes to
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{runArgs(bad), "kernel"},
		{runArgs(dir), "not a regular file"},
		{runArgs(pipe), "not a regular file"},
		{runArgs(good, "--initrd", pipe), "not a regular file"},
		{runArgs(good, "--disk", "path="+bad), bad},
		{runArgs(good, "--serial", "unix:"+dir+"/none"), "unix:" + dir + "/none"},
		{runArgs(good, "--serial", "file:"+dir+"/no/file"), dir + "/no/file"},
		{runArgs(good, "--serial", "fd:999"), "fd:999"},
		{runArgs(good, "--cpus", "1000"), "1000"},
	} {
		status, _, stderr := govmm(tt.args...)
		if status != 1 || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: status %d, %q, want %q", tt.args, status, stderr, tt.want)
		}
	}
}

// echo reads n bytes from a port, writes each back, and powers off.
func echo(port uint16, n uint32) *payload.Program {
	const lineStatus, dataReady = 5, 1
	p := payload.New()
	p.OutString(port, "ready\n")
	p.Repeat(n, func() {
		p.WaitPort8(port+lineStatus, dataReady, dataReady)
		p.In8(port)
		p.Raw(0x66, 0xba, byte(port), byte(port>>8)) // mov dx, port
		p.Raw(0xee)                                  // out dx, al
	})
	p.PowerOff()
	return p
}

func TestStdinReachesTheGuest(t *testing.T) {
	image := kernel(t, echo(payload.COM1, 4))
	var stdout, stderr bytes.Buffer
	// Ctrl-A is nothing special where there is no terminal; the end of the
	// input, which comes at once, does not stop the guest.
	status := run(t.Context(), runArgs(image), strings.NewReader("a\x01xb"), &stdout, &stderr)
	if status != 0 || stdout.String() != "ready\na\x01xb" {
		t.Errorf("status %d, %q, %q", status, &stdout, &stderr)
	}
}

func TestSecondSerialPort(t *testing.T) {
	dir := t.TempDir()
	image := kernel(t, echo(payload.COM2, 3))
	t.Run("unix", func(t *testing.T) {
		socket := sockettest.Path(t)
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		got := make(chan string)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				got <- err.Error()
				return
			}
			fmt.Fprint(conn, "abc")
			b, _ := io.ReadAll(conn)
			got <- string(b)
		}()
		status, _, stderr := govmm(runArgs(image, "--serial", "none", "--serial", "unix:"+socket)...)
		if out := <-got; status != 0 || out != "ready\nabc" {
			t.Errorf("status %d, %q, %q", status, out, stderr)
		}
	})
	t.Run("fd", func(t *testing.T) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours := os.NewFile(uintptr(fds[0]), "ours")
		defer ours.Close()
		fmt.Fprint(ours, "abc")
		status, _, stderr := govmm(runArgs(image, "--serial", "none", "--serial", fmt.Sprintf("fd:%d", fds[1]))...)
		b, err := io.ReadAll(ours)
		if status != 0 || string(b) != "ready\nabc" {
			t.Errorf("status %d, %q, %v, %q", status, b, err, stderr)
		}
	})
	t.Run("file", func(t *testing.T) {
		p := payload.New()
		p.OutString(payload.COM2, "logged\n")
		p.PowerOff()
		file := write(t, "an older and longer log", dir, "log")
		status, stdout, stderr := govmm(runArgs(kernel(t, p), "--serial", "none", "--serial", "file:"+file)...)
		b, err := os.ReadFile(file)
		if status != 0 || stdout != "" || string(b) != "logged\n" {
			t.Errorf("status %d, %q, %v, %q", status, b, err, stderr)
		}
	})
}

// halting says that it is ready, and then does nothing for ever.
func halting() *payload.Program {
	p := payload.New()
	p.OutString(payload.COM1, "ready\n")
	p.Halt()
	return p
}

// onReady calls do once, when the guest has said that it is ready.
type onReady struct {
	do   func()
	once sync.Once
	mu   sync.Mutex
	seen bytes.Buffer // guarded by mu
}

func (w *onReady) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.seen.Write(p)
	ready := bytes.Contains(w.seen.Bytes(), []byte("ready\n"))
	w.mu.Unlock()
	if ready {
		w.once.Do(w.do)
	}
	return len(p), nil
}

func TestSignalStopsInGoodOrder(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.qcow2")
	if status, _, stderr := govmm("img", "create", "-q", image, "64M"); status != 0 {
		t.Fatal(stderr)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		out := &onReady{do: func() { syscall.Kill(os.Getpid(), sig) }}
		var stderr bytes.Buffer
		status := run(t.Context(), runArgs(kernel(t, halting()), "--disk", "path="+image), strings.NewReader(""), out, &stderr)
		if status != 128+int(sig) || stderr.Len() > 0 {
			t.Errorf("%v: status %d, %q", sig, status, &stderr)
		}
		if status, out, _ := govmm("img", "check", image); status != 0 {
			t.Errorf("%v: the image afterwards: %s", sig, out)
		}
	}
}

func TestContextStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stderr bytes.Buffer
	status := run(ctx, runArgs(kernel(t, halting())), strings.NewReader(""), &onReady{do: cancel}, &stderr)
	if status != 1 || !strings.Contains(stderr.String(), "canceled") {
		t.Errorf("status %d, %q", status, &stderr)
	}
}

func TestConsoleQuits(t *testing.T) {
	master, slave := openPTY(t)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	var raw *unix.Termios
	out := &onReady{do: func() {
		raw, _ = unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		master.WriteString("\x01h\x01x")
	}}
	var stderr bytes.Buffer
	status := run(t.Context(), runArgs(kernel(t, halting())), slave, out, &stderr)
	if status != 0 {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(stderr.String(), "Ctrl-A X       stop the machine") {
		t.Errorf("no help in %q", &stderr)
	}
	if raw == nil || raw.Lflag&unix.ICANON != 0 {
		t.Error("the terminal was not raw while the guest ran")
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("terminal afterwards: %+v, %v; before: %+v", after, err, before)
	}
}

func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestDriveIdentity(t *testing.T) {
	identity := func(text string, slot int) raid.DriveIdentity {
		d, err := parseDisk(text)
		if err != nil {
			t.Fatal(err)
		}
		return d.identity(slot)
	}
	a, b := identity("a.qcow2", 0), identity("b.qcow2", 1)
	if a.Serial == b.Serial || a.WWN == b.WWN {
		t.Errorf("two images look the same: %+v, %+v", a, b)
	}
	abs, err := filepath.Abs("a.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	if identity("readonly=on,path="+abs, 3).WWN != a.WWN {
		t.Error("the same image looks different by another name and in another slot")
	}
	if named := identity("a.qcow2,serial=X1", 0); named.Serial != "X1" || named.WWN == a.WWN {
		t.Errorf("with a serial number: %+v", named)
	}
	if null := "format=null,size=1M"; identity(null, 0).WWN == identity(null, 1).WWN {
		t.Error("two null devices look the same")
	}
	if a.WWN>>60 != 3 {
		t.Errorf("WWN %#x is not locally assigned", a.WWN)
	}
}

func TestClosersRunBackwardsAndAll(t *testing.T) {
	var c closers
	var order []int
	for i := range 3 {
		c.add(func() error { order = append(order, i); return fmt.Errorf("error %d", i) })
	}
	err := c.close()
	if fmt.Sprint(order) != "[2 1 0]" || err == nil || !strings.Contains(err.Error(), "error 0") {
		t.Errorf("order %v, %v", order, err)
	}
	if err := c.close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

func TestBadKernelIsNamed(t *testing.T) {
	good := kernel(t, payload.New()) // skips without KVM
	bad := write(t, "#!/bin/sh\n", t.TempDir(), "script")
	for _, args := range [][]string{runArgs(bad), runArgs(good, "--initrd", write(t, strings.Repeat("x", 32<<20), t.TempDir(), "initrd"))} {
		status, _, stderr := govmm(args...)
		if status != 1 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: status %d, stderr %q, want status 1 and one line", args, status, stderr)
		}
	}
	if _, _, stderr := govmm(runArgs(bad)...); !strings.Contains(stderr, bad) {
		t.Errorf("%q does not name %s", stderr, bad)
	}
}
