package megasas

import (
	"bytes"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// send is a management command with data for the controller.
func (g *guest) send(op mfi.Opcode, data []byte, box ...byte) mfi.Status {
	g.t.Helper()
	x := mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: op, DataLen: uint32(len(data)), Flags: mfi.FlagWrite}
	copy(x.Mailbox[:], box)
	if len(data) > 0 {
		at := g.alloc(uint64(len(data)))
		copy(g.mem[at:], data)
		x.SGL = []mfi.SGE{{Addr: at, Len: uint32(len(data))}}
	}
	_, s := g.poll(x)
	return s
}

func le16(v ...uint16) []byte {
	var p []byte
	for _, x := range v {
		p = append(p, byte(x), byte(x>>8))
	}
	return p
}

// TestSetProperties changes the controller's properties as tools do: read,
// change, write, read again.
func TestSetProperties(t *testing.T) {
	cfg, _ := oneDisk()
	g := running(t, cfg, 1008)
	l := newListener(g)
	p := bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
	p[0x08] = 77    // rebuild rate
	p[0x21] |= 0x04 // disable OCR
	if s := g.send(mfi.OpCtrlSetProperties, p); s != mfi.StatusOK {
		t.Fatalf("SET_PROPERTIES: %v", s)
	}
	l.expectArgs(mfi.EventPropertiesChanged, 0, 0)
	p[0]++ // the sequence number
	now := g.mustDCMD(mfi.OpCtrlGetProperties, 64)
	if !bytes.Equal(now, p) {
		t.Errorf("properties are\n% x, want\n% x", now, p)
	}
	if info := g.mustDCMD(mfi.OpCtrlGetInfo, 2048); !bytes.Equal(info[0x600:0x640], now) {
		t.Error("the controller information has other properties")
	}
}

func TestSetPropertiesRefused(t *testing.T) {
	g := running(t, threeDrives(), 16)
	before := bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
	for name, tt := range map[string]struct {
		change func(p []byte) []byte
		want   mfi.Status
	}{
		"stale":                {func(p []byte) []byte { p[0]--; return p }, mfi.StatusInvalidSequenceNumber},
		"ahead":                {func(p []byte) []byte { p[1]++; return p }, mfi.StatusInvalidSequenceNumber},
		"short":                {func(p []byte) []byte { return p[:63] }, mfi.StatusInvalidParameter},
		"rate over 100":        {func(p []byte) []byte { p[0x0b] = 101; return p }, mfi.StatusInvalidParameter},
		"alarm without alarm":  {func(p []byte) []byte { p[0x12] = 1; return p }, mfi.StatusNoHWPresent},
		"coercion":             {func(p []byte) []byte { p[0x11] = 1; return p }, mfi.StatusInvalidParameter},
		"unknown switch":       {func(p []byte) []byte { p[0x23] = 0x80; return p }, mfi.StatusInvalidParameter},
		"JBOD off while there": {func(p []byte) []byte { p[0x21] &^= 0x20; return p }, mfi.StatusWrongState},
	} {
		if s := g.send(mfi.OpCtrlSetProperties, tt.change(bytes.Clone(before))); s != tt.want {
			t.Errorf("%s: %v, want %v", name, s, tt.want)
		}
	}
	if now := g.mustDCMD(mfi.OpCtrlGetProperties, 64); !bytes.Equal(now, before) {
		t.Errorf("properties changed:\n% x, before\n% x", now, before)
	}
}

func TestBIOSData(t *testing.T) {
	g := running(t, threeDrives(), 16)
	p := make([]byte, 64)
	p[0], p[2], p[4] = 1, 1, 2
	if s := g.send(mfi.OpCtrlBIOSDataSet, p); s != mfi.StatusOK {
		t.Fatalf("BIOS_DATA_SET: %v", s)
	}
	got := g.mustDCMD(mfi.OpCtrlBIOSDataGet, 64)
	sum := byte(0)
	for _, b := range got {
		sum += b
	}
	if !bytes.Equal(got[:63], p[:63]) || sum != 0 {
		t.Errorf("BIOS data % x, sum %d", got, sum)
	}
	p[0] = 2
	if s := g.send(mfi.OpCtrlBIOSDataSet, p); s != mfi.StatusDeviceNotFound {
		t.Errorf("boot from an absent volume: %v", s)
	}
	if s := g.send(mfi.OpCtrlBIOSDataSet, p[:32]); s != mfi.StatusInvalidParameter {
		t.Errorf("half of the BIOS data: %v", s)
	}
}

// TestPatrolRead says that there is none, and refuses to begin.
func TestPatrolRead(t *testing.T) {
	g := running(t, nullDisk(), 16)
	if p := g.mustDCMD(mfi.OpCtrlPRGetStatus, 16); !bytes.Equal(p, make([]byte, 16)) {
		t.Errorf("status % x: want stopped, never run", p)
	}
	p := bytes.Clone(g.mustDCMD(mfi.OpCtrlPRGetProperties, 208))
	if p[0] != byte(mfi.PatrolDisabled) {
		t.Errorf("mode %d", p[0])
	}
	if s := g.send(mfi.OpCtrlPRSetProperties, p); s != mfi.StatusOK {
		t.Errorf("setting what is: %v", s)
	}
	p[0] = byte(mfi.PatrolAuto)
	if s := g.send(mfi.OpCtrlPRSetProperties, p); s != mfi.StatusPRDisabled {
		t.Errorf("enabling: %v", s)
	}
	for _, op := range []mfi.Opcode{mfi.OpCtrlPRStart, mfi.OpCtrlPRStop} {
		if s := g.send(op, nil); s != mfi.StatusPRDisabled {
			t.Errorf("%v: %v", op, s)
		}
	}
}

func TestLocate(t *testing.T) {
	g := running(t, threeDrives(), 16)
	blinks := func() bool { return memory(g.mustDCMD(mfi.OpPDGetInfo, 512, 2, 0)).u32(0x104)&(1<<5) != 0 }
	if blinks() {
		t.Error("the lamp blinks at first")
	}
	if s := g.send(mfi.OpPDLocateStart, nil, 2, 0); s != mfi.StatusOK || !blinks() {
		t.Errorf("start: %v, blinks %v", s, blinks())
	}
	if s := g.send(mfi.OpPDLocateStop, nil, 2, 0); s != mfi.StatusOK || blinks() {
		t.Errorf("stop: %v, blinks %v", s, blinks())
	}
	if s := g.send(mfi.OpPDLocateStart, nil, 9, 0); s != mfi.StatusDeviceNotFound {
		t.Errorf("absent drive: %v", s)
	}
}

// TestStateSet moves drives as tools do: with the sequence number that PD_GET_INFO
// tells.
func TestStateSet(t *testing.T) {
	g := running(t, threeDrives(), 1008)
	info := func(id byte) memory { return g.mustDCMD(mfi.OpPDGetInfo, 512, id, 0) }
	set := func(id byte, to mfi.PDState) mfi.Status {
		return g.send(mfi.OpPDStateSet, nil, le16(uint16(id), info(id).u16(2), uint16(to))...)
	}
	for _, tt := range []struct {
		id   byte
		to   mfi.PDState
		want mfi.Status
	}{
		{0, mfi.PDSystem, mfi.StatusWrongState}, // a member
		{0, mfi.PDHotSpare, mfi.StatusWrongState},
		{0, 0x1234, mfi.StatusWrongState},
		{0, mfi.PDOffline, mfi.StatusOK},
		{0, mfi.PDFailed, mfi.StatusWrongState},
		{0, mfi.PDOnline, mfi.StatusOK},
		{1, mfi.PDOnline, mfi.StatusWrongState},
		{1, mfi.PDUnconfiguredGood, mfi.StatusOK},
		{1, mfi.PDUnconfiguredBad, mfi.StatusOK},
		{1, mfi.PDUnconfiguredGood, mfi.StatusOK},
		{1, mfi.PDSystem, mfi.StatusOK},
		{1, mfi.PDUnconfiguredGood, mfi.StatusOK},
	} {
		before := info(tt.id).u16(0xb8)
		if s := set(tt.id, tt.to); s != tt.want {
			t.Errorf("drive %d from %#x to %#x: %v, want %v", tt.id, before, tt.to, s, tt.want)
		}
		want := before
		if tt.want == mfi.StatusOK {
			want = uint16(tt.to)
		}
		if now := info(tt.id).u16(0xb8); now != want {
			t.Errorf("drive %d is in state %#x, want %#x", tt.id, now, want)
		}
	}
	stale := info(1).u16(2) - 1
	if s := g.send(mfi.OpPDStateSet, nil, le16(1, stale, uint16(mfi.PDSystem))...); s != mfi.StatusInvalidSequenceNumber {
		t.Errorf("stale sequence number: %v", s)
	}
	if s := g.send(mfi.OpPDStateSet, nil, le16(7, 0, uint16(mfi.PDSystem))...); s != mfi.StatusDeviceNotFound {
		t.Errorf("absent drive: %v", s)
	}
	p := bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
	p[0x21] &^= 0x20
	if s := g.send(mfi.OpCtrlSetProperties, p); s != mfi.StatusOK {
		t.Fatalf("disabling JBOD: %v", s)
	}
	if s := set(1, mfi.PDSystem); s != mfi.StatusWrongState {
		t.Errorf("system drive with JBOD disabled: %v", s)
	}
}
