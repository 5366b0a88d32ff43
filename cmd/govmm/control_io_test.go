package main

import (
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas/mfi"
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

// What a disk's storage refuses is an event with the disk's name and the cause.
func TestControlTellsOfIOErrors(t *testing.T) {
	const (
		ports      = 0xc000 // of the controller, where a machine without a BIOS has them
		scratch    = ports + 0xb0
		queue      = ports + 0x40
		command    = 4
		ioAndDMA   = 5
		stateMask  = 0xf0000000
		statusMask = 0xff << 16
	)
	p := whenPressed(1, func(p *payload.Program) {
		p.ConfigWrite16(controllerSlot, 0, command, ioAndDMA)
		p.WaitPort32(scratch, stateMask, uint32(mfi.StateReady))
		frame := p.Data(mfi.Fields{
			Cmd: mfi.CmdLDWrite, Target: 1, DataLen: 1, Flags: mfi.FlagDontPost,
			SGL: []mfi.SGE{{Addr: p.Reserve(512, 512), Len: 512}},
		}.Marshal(), 64)
		p.Out32(queue, uint32(frame)|1)
		p.WaitOther32(frame, statusMask, uint32(mfi.StatusPending)<<16)
	})
	dir := t.TempDir()
	rules, image := write(t, "[inject-error]\nevent = \"write_aio\"\nerrno = \"28\"\nonce = \"on\"\n", dir, "rules"), dir+"/image"
	if status, _, stderr := govmm("img", "create", "-q", image, "1M"); status != 0 {
		t.Fatal(stderr)
	}
	m := startMachine(t, p, "--disk", "path="+image+",id=data,blkdebug="+rules)
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
