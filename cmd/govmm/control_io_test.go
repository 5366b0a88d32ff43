package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas/mfi"
	"golang.org/x/sys/unix"
)

// eventsOf presses the power button of a machine, and lists what it tells until it ends,
// but for the events of the firmware.
func (m *testMachine) eventsOf(status int) string {
	m.t.Helper()
	c, err := qmp.Dial(m.t.Context(), m.socket)
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	m.ctl("shutdown")
	m.wantEnd(status)
	var list []string
	for e := range c.Events() {
		if e.Name != "MEGASAS_EVENT" {
			list = append(list, e.Name+string(e.Data))
		}
	}
	return strings.Join(list, " ")
}

// The controller's ports, where a machine without a BIOS has them.
const (
	raidPorts   = 0xc000
	raidQueue   = raidPorts + 0x40
	raidScratch = raidPorts + 0xb0
)

// startRAID lets the controller use memory, and waits until it can.
func startRAID(p *payload.Program) {
	const command, ioAndDMA, stateMask = 4, 5, 0xf0000000
	p.ConfigWrite16(controllerSlot, 0, command, ioAndDMA)
	p.WaitPort32(raidScratch, stateMask, uint32(mfi.StateReady))
}

// transfer moves a block between a volume and memory, and waits until that is done or
// has failed.
func transfer(p *payload.Program, cmd mfi.Cmd, target uint8, lba uint64, addr uint64) {
	const statusMask = 0xff << 16
	frame := p.Data(mfi.Fields{
		Cmd: cmd, Target: target, DataLen: 1, LBA: lba, Flags: mfi.FlagDontPost,
		SGL: []mfi.SGE{{Addr: addr, Len: 512}},
	}.Marshal(), 64)
	p.Out32(raidQueue, uint32(frame)|1)
	p.WaitOther32(frame, statusMask, uint32(mfi.StatusPending)<<16)
}

// What a disk's storage refuses is an event with the disk's name and the cause.
func TestControlTellsOfIOErrors(t *testing.T) {
	p := whenPressed(1, func(p *payload.Program) {
		startRAID(p)
		transfer(p, mfi.CmdLDWrite, 1, 0, p.Reserve(512, 512))
	})
	dir := t.TempDir()
	rules, image := write(t, "[inject-error]\nevent = \"write_aio\"\nerrno = \"28\"\nonce = \"on\"\n", dir, "rules"), dir+"/image"
	if status, _, stderr := govmm("img", "create", "-q", image, "1M"); status != 0 {
		t.Fatal(stderr)
	}
	m := startMachine(t, p, "--disk", "path="+image+",id=data,werror=report,blkdebug="+rules)
	want := `POWERDOWN BLOCK_IO_ERROR{"device":"data","node-name":"data","operation":"write","action":"report","nospace":true,"reason":`
	if got := m.eventsOf(0); !strings.HasPrefix(got, want) || !strings.Contains(got, "no space left on device") {
		t.Errorf("events %s, want %s", got, want)
	}
}

// A panic and an expired watchdog are told with what becomes of the machine.
func TestControlTellsOfPanics(t *testing.T) {
	const port, panicked, crashed = 0x505, 1, 2
	p := whenPressed(1, func(p *payload.Program) {
		p.Out8(port, crashed)
		p.Out8(port, panicked)
	})
	m := startMachine(t, p, "--on-panic", "exit")
	want := `POWERDOWN GUEST_CRASHLOADED{"action":"run"} GUEST_PANICKED{"action":"poweroff"} SHUTDOWN{"guest":true,"reason":"guest-panic"}`
	if got := m.eventsOf(exitPanic); got != want {
		t.Errorf("events %s, want %s", got, want)
	}
}

// do sends one command.
func (m *testMachine) do(command, args string, result any) {
	m.t.Helper()
	c, err := qmp.Dial(m.t.Context(), m.socket)
	if err == nil {
		defer c.Close()
		err = c.Do(m.t.Context(), command, json.RawMessage(args), result)
	}
	if err != nil {
		m.t.Fatalf("%s: %v", command, err)
	}
}

// What the guest moves is counted, with its time, for the disk that it was on.
func TestControlCountsIO(t *testing.T) {
	const reads, writes, lba = 20, 3, 100
	p := whenPressed(1, func(p *payload.Program) {
		startRAID(p)
		buffer := p.Reserve(512, 512)
		for range writes {
			transfer(p, mfi.CmdLDWrite, 1, lba, buffer)
		}
		for range reads {
			transfer(p, mfi.CmdLDRead, 1, lba, buffer)
		}
		p.OutString(payload.COM1, "done\n")
		p.Halt()
	})
	m := startMachine(t, p, "--disk", "format=null,size=1M,id=data")
	m.ctl("shutdown")
	figures := func(args string) map[string]float64 {
		var list []struct {
			Device, Qdev string
			Node         string `json:"node-name"`
			Stats        map[string]any
		}
		m.do("query-blockstats", args, &list)
		if len(list) != 2 || list[1].Node != "data" {
			t.Fatalf("%+v", list)
		}
		numbers := map[string]float64{}
		for name, v := range list[1].Stats {
			if n, ok := v.(float64); ok {
				numbers[name] = n
			}
		}
		return numbers
	}
	for deadline := time.Now().Add(testLimit); figures(`{}`)["rd_operations"] < reads && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	for _, args := range []string{`{}`, `{"query-nodes":true}`} {
		got := figures(args)
		for name, want := range map[string]float64{
			"rd_operations": reads, "rd_bytes": reads * 512, "wr_operations": writes, "wr_bytes": writes * 512, "flush_operations": writes,
			"wr_highest_offset": (lba + 1) * 512, "failed_wr_operations": 0, "unmap_operations": 0, "unmap_total_time_ns": 0,
		} {
			if got[name] != want {
				t.Errorf("%s: %s is %v, want %v", args, name, got[name], want)
			}
		}
		for _, name := range []string{"rd_total_time_ns", "wr_total_time_ns", "flush_total_time_ns", "idle_time_ns"} {
			if got[name] <= 0 {
				t.Errorf("%s: %s is %v", args, name, got[name])
			}
		}
	}
	m.ctl("quit")
	m.wantEnd(0)
}

// What becomes of a machine whose watchdog expires is told before it happens.
func TestControlTellsOfTheWatchdog(t *testing.T) {
	const (
		slot, bar        = 4, 0xd0100000
		unlock1, unlock2 = 0x80, 0x86
		reload           = 0xc
		nmi              = 2
	)
	p := whenPressed(1, func(p *payload.Program) {
		p.OnInterrupt(nmi, func() { p.PowerOff() })
		p.ConfigWrite32(slot, 0, 0x10, bar)
		p.ConfigWrite16(slot, 0, 0x04, 2) // memory space
		p.ConfigWrite16(slot, 0, 0x60, 3) // no interrupt
		for _, reg := range []uint64{0, 4} {
			p.Store8(bar+reload, unlock1)
			p.Store8(bar+reload, unlock2)
			p.Store32(bar+reg, 1) // as short as can be
		}
		p.ConfigWrite16(slot, 0, 0x68, 2) // enabled
		p.Halt()
	})
	const quit = `SHUTDOWN{"guest":false,"reason":"host-qmp-quit"}`
	for _, tt := range []struct {
		reaction, happens, then string
		paused                  bool
		status                  int
	}{
		{"restart", `WATCHDOG{"action":"reset"} RESET{"guest":true,"reason":"guest-reset"}`, quit, false, 0},
		{"pause", `WATCHDOG{"action":"pause"} STOP{}`, quit, true, 0},
		{"nmi", `WATCHDOG{"action":"inject-nmi"} SHUTDOWN{"guest":true,"reason":"guest-shutdown"}`, "", false, 0},
		{"exit", `WATCHDOG{"action":"poweroff"} SHUTDOWN{"guest":true,"reason":"guest-reset"}`, "", false, exitWatchdog},
	} {
		t.Run(tt.reaction, func(t *testing.T) {
			m := startMachine(t, p, "--watchdog", tt.reaction)
			c, err := qmp.Dial(t.Context(), m.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			m.ctl("shutdown")
			var list []string
			for e := range c.Events() {
				if e.Name == "MEGASAS_EVENT" {
					continue
				}
				list = append(list, strings.TrimSpace(e.Name+string(e.Data)))
				if e.Name != "RESET" && e.Name != "STOP" {
					continue
				}
				var s statusInfo
				if m.do("query-status", "{}", &s); tt.paused != (s.Status == stateWatchdog) || tt.paused == s.Running {
					t.Errorf("the machine is %+v", s)
				}
				m.ctl("quit")
			}
			m.wantEnd(tt.status)
			want := strings.TrimSpace("POWERDOWN " + tt.happens + " " + tt.then)
			if got := strings.Join(list, " "); got != want && got != strings.ReplaceAll(want, "{}", "") {
				t.Errorf("events\n %s, want\n %s", got, want)
			}
		})
	}
}

// smallFileSystem is a directory with room for a number of bytes.
func smallFileSystem(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); errors.Is(err, unix.EPERM) {
		t.Skip("only root can mount a file system that has little room")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillUp writes a file that leaves so many bytes of its file system free.
func fillUp(t *testing.T, path string, free int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var n int64
	for err == nil {
		var wrote int
		wrote, err = f.Write(make([]byte, 4096))
		n += int64(wrote)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Truncate(n - free); err != nil {
		t.Fatal(err)
	}
}
