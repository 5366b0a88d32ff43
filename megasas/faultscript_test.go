package megasas

import (
	"strings"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// TestFaultScript has each fault come with the command that a line names.
func TestFaultScript(t *testing.T) {
	cfg, _ := oneDisk()
	g := running(t, cfg, 1008)
	if err := g.c.Faults().Script(strings.NewReader(`
		# nothing but a remark
		2 LD_READ: answer SCSI_IO_FAILED
		3 LD_READ: answer SCSI_DONE_WITH_ERROR 3/11/00   # MEDIUM ERROR
		4 LD_READ: hold
		1 CTRL_GET_PROPERTIES: answer INVALID_DCMD
		1 PD_GET_LIST: lock-diagnostic
		1 PD_GET_LIST: battery charging
		5 LD_READ: fault 0x123
		5 LD_READ: stay-in-fault 1ms
	`)); err != nil {
		t.Fatal(err)
	}
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	for i, want := range []mfi.Status{mfi.StatusOK, mfi.StatusSCSIIOFailed, mfi.StatusSCSIDoneWithError} {
		if _, s := g.poll(x); s != want {
			t.Errorf("read %d: %v, want %v", i+1, s, want)
		}
	}
	if key, code := g.mem[x.SenseAddr+2], g.mem[x.SenseAddr+12]; key != 3 || code != 0x11 {
		t.Errorf("sense key %d, code %#x", key, code)
	}
	g.mustDCMD(mfi.OpPDGetList, 1024)
	if b := g.c.Battery(); b != BatteryCharging {
		t.Errorf("the battery is %v", b)
	}
	if g.unlock(); g.read(0xf8) != 0 {
		t.Error("the diagnostic register can be unlocked")
	}
	g.c.Faults().LockDiagnostic(false)
	held, _ := g.submit(x)
	if _, s := g.dcmd(mfi.OpCtrlGetProperties, 64); s != mfi.StatusInvalidDCMD {
		t.Errorf("GET_PROPERTIES: %v", s)
	}
	if _, s := g.dcmd(mfi.OpCtrlGetProperties, 64); s != mfi.StatusOK {
		t.Errorf("GET_PROPERTIES again: %v", s)
	}
	g.await("the fifth read's turn", func() bool { return g.c.outstanding.Load() == 0 })
	lost, _ := g.submit(x)
	<-g.m.msi
	if w := g.read(0xb0); w != 0xf1230000 {
		t.Errorf("state word %#x", w)
	}
	g.unlock()
	g.write(0xf8, 0x84)
	g.await("READY", func() bool { return g.state() == mfi.StateReady })
	for _, addr := range []uint64{held, lost} {
		if s := g.status(addr); s != mfi.StatusPending {
			t.Errorf("completed with %v", s)
		}
	}
	if g.c.faults.armed.Load() {
		t.Error("commands still look for faults")
	}
	g.initialize(16)
	g.alive()
}

func TestFaultScriptRefused(t *testing.T) {
	c, err := New(nullDisk())
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"LD_READ: hold":                         "must be N COMMAND: FAULT",
		"1 LD_READ hold":                        "must be N COMMAND: FAULT",
		"0 LD_READ: hold":                       "0: must be a number from 1 on",
		"1 LD_ERASE: hold":                      "no command is called LD_ERASE",
		"1 LD_READ: explode":                    "no such fault, or not with these values: explode",
		"1 LD_READ: fault 0x1000":               "code 0x1000: must be a number below 0x1000",
		"1 LD_READ: fault 1 loud":               "no such fault, or not with these values: fault 1 loud",
		"1 LD_READ: answer PERHAPS":             "no status is called PERHAPS",
		"1 LD_READ: answer SCSI_IO_FAILED 3":    "sense data 3: must be as 3/11/00",
		"1 LD_READ: stay-in-fault a little bit": "no such fault, or not with these values: stay-in-fault a little bit",
		"1 LD_READ: battery dead":               "battery dead: must be none, good, charging or failed",
		"1 LD_READ: lock-diagnostic 1":          "no such fault, or not with these values: lock-diagnostic 1",
		"1 LD_READ: stay-in-fault long":         "time long: must be as 100s or 5m",
	} {
		err := c.Faults().Script(strings.NewReader("\n" + line))
		if err == nil || !strings.HasPrefix(err.Error(), "line 2: ") || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	if c.faults.armed.Load() {
		t.Error("a script that was refused is followed")
	}
}
