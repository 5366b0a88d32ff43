package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/govmm/govmm/guest-tests/agent"
)

// script is a VMM that is a shell script; $1 is the agent's socket.
type script string

func (script) Name() string { return "script" }

func (s script) Command(_ Guest, socket string) []string {
	return []string{"sh", "-c", string(s), "sh", socket}
}

// self is a VMM that is this test program as TestActAsGuest.
type self struct{}

func (self) Name() string { return "self" }

func (self) Command(_ Guest, socket string) []string {
	return []string{"env", "GOVMM_TEST_GUEST=" + socket, os.Args[0], "-test.run=^TestActAsGuest$"}
}

// TestActAsGuest is no test, but what the VMM self runs.
func TestActAsGuest(t *testing.T) {
	socket := os.Getenv("GOVMM_TEST_GUEST")
	if socket == "" {
		t.Skip("this is the guest of other tests")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Print("console of the guest\r\n")
	server := agent.NewServer(conn, func(bool) { os.Exit(0) })
	if err := server.Hello(agent.Hello{Kernel: "6.1.0-test"}); err != nil {
		t.Fatal(err)
	}
	server.Serve()
}

func startMachine(t *testing.T, v VMM) *Machine {
	t.Helper()
	m, err := Start(v, Guest{}, Terminal{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m
}

func TestLifeOfAMachine(t *testing.T) {
	m := startMachine(t, self{})
	hello, err := m.Boot(t.Context())
	if err != nil || hello.Kernel != "6.1.0-test" {
		t.Fatalf("Boot: %+v, %v", hello, err)
	}
	if out, err := m.Output(t.Context(), "echo", "hello"); err != nil || out != "hello\n" {
		t.Errorf("Output: %q, %v", out, err)
	}
	if _, err := m.Output(t.Context(), "sh", "-c", "echo why >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3: why") {
		t.Errorf("Output of a command that fails: %v", err)
	}
	if err := m.PowerOff(t.Context()); err != nil {
		t.Errorf("PowerOff: %v", err)
	}
	if got := m.Console(); !strings.Contains(got, "console of the guest\n") {
		t.Errorf("Console: %q", got)
	}
}

func TestBootOfAMachineThatEnds(t *testing.T) {
	m := startMachine(t, script("echo no kernel; exit 3"))
	_, err := m.Boot(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Boot: %v, want the exit status", err)
	}
	if err := m.Wait(t.Context()); err == nil {
		t.Error("Wait: no error")
	}
	if m.Console() != "no kernel\n" {
		t.Errorf("Console: %q", m.Console())
	}
}

func TestWaitsEndWithTheContext(t *testing.T) {
	m := startMachine(t, script("sleep 1000"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Boot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Boot: %v", err)
	}
	if err := m.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
}

func TestStopEndsAllThatTheVMMStarted(t *testing.T) {
	m := startMachine(t, script("sleep 1000 & echo $!; wait"))
	for !strings.HasSuffix(m.Console(), "\n") {
		if err := context.Cause(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	var pid int
	if _, err := fmt.Sscan(m.Console(), &pid); err != nil {
		t.Fatal(err)
	}
	m.Stop()
	// Soon it is gone, or a zombie that whoever inherited it has not reaped yet.
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Since(begun) > 5*time.Minute {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Errorf("still there: %s", stat)
			break
		}
	}
	if _, err := os.Stat(m.tmp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left behind", m.tmp)
	}
}

func TestConsoleKeepsTheEnd(t *testing.T) {
	var console tail
	line := strings.Repeat("x", 99) + "\n"
	for range 5000 {
		fmt.Fprint(&console, line)
	}
	fmt.Fprint(&console, "last")
	got := console.String()
	if len(got) != consoleTail || !strings.HasSuffix(got, line+"last") {
		t.Errorf("%d bytes that end with %q", len(got), got[max(0, len(got)-10):])
	}
}

func TestCommandLines(t *testing.T) {
	g := Guest{Kernel: "k", Initrd: "i", Append: "govmm.mode=agent", CPUs: 2, Memory: "1G",
		Disks: []Disk{{Path: "a.qcow2"}, {Path: "b.raw", Format: "raw", ReadOnly: true}}}
	got := strings.Join(Govmm{Path: "govmm"}.Command(g, "/s"), " ")
	for _, want := range []string{
		"govmm run --accel auto --memory 1G --cpus 2 --kernel k --initrd i --append console=ttyS0 quiet",
		"govmm.disks=2 govmm.mode=agent",
		"--serial stdio --serial unix:/s",
		"--disk path=a.qcow2,format=qcow2 --disk path=b.raw,format=raw,readonly=on",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	got = strings.Join(QEMU{Path: "qemu"}.Command(g, "/s"), " ")
	for _, want := range []string{"-m 1G -smp 2", "path=/s", "file=b.raw,format=raw,read-only=on", "scsi-id=1,drive=d1"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}
