package main

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/internal/sockettest"
)

// testLimit is far more than anything takes that a test waits for.
const testLimit = 5 * time.Minute

// testMachine is a machine that runs, with a socket to control it.
type testMachine struct {
	t      *testing.T
	socket string
	disk   string
	status chan int
	stderr logText
}

// startMachine runs a program that says "ready" in a machine with one disk.
func startMachine(t *testing.T, p *payload.Program, flags ...string) *testMachine {
	t.Helper()
	dir := t.TempDir()
	m := &testMachine{t: t, socket: sockettest.Path(t), disk: filepath.Join(dir, "a.qcow2"), status: make(chan int, 1)}
	m.image("a.qcow2")
	ready := make(chan struct{})
	args := runArgs(kernel(t, p), append([]string{"--qmp", "unix:" + m.socket, "--name", "test", "--disk", "path=" + m.disk}, flags...)...)
	go func() {
		m.status <- run(t.Context(), args, strings.NewReader(""), &onReady{do: sync.OnceFunc(func() { close(ready) })}, &m.stderr)
	}()
	select {
	case <-ready:
	case status := <-m.status:
		t.Fatalf("the machine ended with status %d: %s", status, &m.stderr)
	}
	return m
}

// image makes an image beside the machine's disk.
func (m *testMachine) image(name string) string {
	m.t.Helper()
	path := filepath.Join(filepath.Dir(m.disk), name)
	if status, _, stderr := govmm("img", "create", "-q", path, "64M"); status != 0 {
		m.t.Fatal(stderr)
	}
	return path
}

// ctl runs govmm ctl, which must succeed, and returns what it prints.
func (m *testMachine) ctl(args ...string) string {
	m.t.Helper()
	status, stdout, stderr := govmm(append([]string{"ctl", m.socket}, args...)...)
	if status != 0 {
		m.t.Fatalf("%q: status %d, %s", args, status, stderr)
	}
	return stdout
}

// refused runs govmm ctl, which must fail in one line with these words in it.
func (m *testMachine) refused(want string, args ...string) {
	m.t.Helper()
	status, _, stderr := govmm(append([]string{"ctl", m.socket}, args...)...)
	if status != exitFailure || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
		m.t.Errorf("%q: status %d, %q, want %q", args, status, stderr, want)
	}
}

func (m *testMachine) wantEnd(status int) {
	m.t.Helper()
	select {
	case got := <-m.status:
		if got != status {
			m.t.Errorf("the machine ended with status %d, want %d: %s", got, status, &m.stderr)
		}
	case <-time.After(testLimit):
		m.t.Fatal("the machine does not end")
	}
	if _, err := os.Stat(m.socket); err == nil {
		m.t.Error("the socket is still there")
	}
}

func (m *testMachine) want(got string, parts ...string) {
	m.t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			m.t.Errorf("%q lacks %q", got, p)
		}
	}
}

func TestControl(t *testing.T) {
	m := startMachine(t, halting(), "--cpus", "2")
	m.want(m.ctl("status"), "running: 2 processors, 16M memory, 1 disk (test)\n")
	m.want(m.ctl("stop", "--output", "json"), "{}\n")
	m.want(m.ctl("status", "--output", "json"), `"status": "paused"`, `"running": false`, `"name": "test"`)
	m.ctl("cont")
	m.want(m.ctl("status"), "running")

	other := m.image("b.qcow2")
	m.ctl("disk", "add", "data", "path="+other+",cache=writeback,serial=SN1")
	m.want(m.ctl("disk", "list"), "disk1  64M   qcow2   writethrough  "+m.disk, "data   64M   qcow2   writeback     "+other)
	m.refused("Duplicate nodes", "disk", "add", "data", "path="+other)
	m.refused("no such file", "disk", "add", "x", "path="+other+".none")
	m.refused("cache=writeback-bbu: only disks of the command line", "disk", "add", "x", "path="+other+",cache=writeback-bbu")
	m.refused("only the keys path, format", "disk", "add", "x", "path="+other+",key-file=x")
	m.refused("unknown key \"media\": must be path, format", "disk", "add", "x", "path="+other+",media=hdd")
	m.refused("Invalid node-name", "disk", "add", "1 2", "path="+other)
	m.ctl("disk", "resize", "data", "128M")
	m.refused("can't become smaller", "disk", "resize", "data", "64M")
	m.want(m.ctl("disk", "list"), "data   128M")
	m.refused("node-name='none'", "disk", "resize", "none", "64M")

	m.ctl("snapshot", "create", "data", "before")
	m.refused("already exists", "snapshot", "create", "data", "before")
	m.want(m.ctl("snapshot", "list", "data"), "1   before")
	m.ctl("snapshot", "delete", "data", "before")
	m.refused("does not exist", "snapshot", "delete", "data", "before")
	m.want(m.ctl("snapshot", "list", "data", "--output", "json"), "[]")

	m.ctl("disk", "remove", "data")
	m.refused("Device 'data' not found", "disk", "remove", "data")
	m.ctl("disk", "add", "data", "path="+other) // in the slot that is free again
	m.want(m.ctl("stats"), "exits: io", "frames posted", "goroutines", "open files", "bytes of heap in use")
	m.ctl("fault", "1 LD_READ: hold", "2 LD_WRITE: drop-interrupt")
	m.ctl("fault", "--clear")
	m.refused("no command is called WRITE", "fault", "1 LD_READ: hold", "1 WRITE: hold")
	m.refused("either LINE... or --clear", "fault")
	m.refused("either LINE... or --clear", "fault", "--clear", "1 LD_READ: hold")
	m.refused("Use either 'script' or 'clear'", "qmp", "x-controller-fault", "{}")
	m.want(m.ctl("qmp", "query-pci"), `"vendor": 4096`, `"desc": "RAID controller"`, `"size": 16384`)
	m.want(m.ctl("qmp", "query-block"), `"virtual-size": 134217728`, `"qdev": "data"`)
	m.want(m.ctl("qmp", "query-version"), `"package": "govmm`)
	m.refused("has not been found", "qmp", "nothing")
	m.refused("not a JSON object", "qmp", "query-status", "{")
	m.ctl("quit")
	m.wantEnd(0)
	for _, path := range []string{m.disk, other} {
		if status, out, _ := govmm("img", "check", path); status != 0 {
			t.Errorf("%s afterwards: %s", path, out)
		}
	}
	m.refused("does not answer", "status")
}

// A disk that is write-back with a battery is listed as what it is.
func TestControlBattery(t *testing.T) {
	for battery, mode := range map[string]string{"good": "writeback", "charging": "writethrough", "none": "writethrough"} {
		other := filepath.Join(t.TempDir(), "b.qcow2")
		if status, _, stderr := govmm("img", "create", "-q", other, "64M"); status != 0 {
			t.Fatal(stderr)
		}
		m := startMachine(t, halting(), "--controller", "bbu="+battery, "--disk", "path="+other+",cache=writeback-bbu")
		for line := range strings.Lines(m.ctl("disk", "list")) {
			if f := strings.Fields(line); f[0] == "disk2" && f[3] != mode {
				t.Errorf("with a battery that is %s: %s", battery, line)
			}
		}
		m.ctl("quit")
		m.wantEnd(0)
	}
}

func TestControlShutdownAndEvents(t *testing.T) {
	m := startMachine(t, listening(1))
	c, err := qmp.Dial(t.Context(), m.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m.ctl("stop")
	m.ctl("cont")
	m.ctl("disk", "add", "data", "path="+m.image("b.qcow2"))
	m.ctl("disk", "remove", "data")
	m.ctl("shutdown", "--wait")
	m.wantEnd(0)
	var names []string
	firmware := 0
	for e := range c.Events() {
		if e.Name == "MEGASAS_EVENT" {
			firmware++
			continue
		}
		names = append(names, e.Name+string(e.Data))
	}
	want := `STOP RESUME DEVICE_DELETED{"device":"data","path":"/machine/peripheral/data"} POWERDOWN SHUTDOWN{"guest":true,"reason":"guest-shutdown"}`
	if got := strings.Join(names, " "); got != want {
		t.Errorf("events %s, want %s", got, want)
	}
	if firmware < 4 { // inserted, created, deleted, removed
		t.Errorf("%d events of the firmware", firmware)
	}
}

func TestControlReset(t *testing.T) {
	p := payload.New()
	p.Out8(0x70, 0x50)
	p.In8(0x71)
	p.Add(1)
	p.Raw(0x66, 0xba, 0x71, 0x00, 0xee) // mov dx, 0x71; out dx, al
	p.If32(0xff, 2, func() { p.PowerOff() })
	p.OutString(payload.COM1, "ready\n")
	p.Halt()
	m := startMachine(t, p)
	m.ctl("reset")
	m.wantEnd(0)
}

// socat is a client that knows nothing of the protocol.
func TestControlBySocat(t *testing.T) {
	socat, err := exec.LookPath("socat")
	if err != nil {
		t.Skip("socat is not installed: guest-tests/setup.sh test does that")
	}
	m := startMachine(t, halting())
	cmd := exec.Command(socat, "-t", "0.1", "-", "UNIX-CONNECT:"+m.socket)
	in, err := cmd.StdinPipe() // open until the server hangs up: who ends first is not told of the end
	if err != nil {
		t.Fatal(err)
	}
	requests := "{\"execute\": \"qmp_capabilities\"}\n{ \"execute\": \"query-status\", \"id\": 5 }\n{\"execute\":\"quit\"}\n"
	go func() { _, _ = io.WriteString(in, requests) }()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\r\n")
	for i, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("line %d is no JSON: %q", i, line)
		}
	}
	m.want(lines[0], `"QMP"`)
	m.want(string(out), `{"return":{"running":true,"singlestep":false,"status":"running"},"id":5}`, `"event":"SHUTDOWN"`)
	m.wantEnd(0)
}

func TestQMPSockets(t *testing.T) {
	dir := t.TempDir()
	p := payload.New()
	p.PowerOff()
	k := kernel(t, p)

	stale := filepath.Join(dir, "stale")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if status, _, stderr := govmm(runArgs(k, "--qmp", "unix:"+stale+",server=on,wait=off")...); status != 0 {
		t.Errorf("a socket that nobody listens at: %s", stderr)
	}

	taken := filepath.Join(dir, "taken")
	l, err = net.Listen("unix", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := write(t, "precious", dir, "file")
	for value, want := range map[string]string{
		"unix:" + taken:                    "another program listens there",
		"unix:" + file:                     "address already in use",
		"unix:" + dir + "/none/x":          "no such file",
		"unix:" + strings.Repeat("x", 120): "at most 107 bytes",
		"tcp:1234":                         "must be unix:PATH",
	} {
		status, _, stderr := govmm(runArgs(k, "--qmp", value)...)
		if status != exitFailure || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q, want %q", value, status, stderr, want)
		}
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Error("a file in the socket's place was replaced")
	}
}
