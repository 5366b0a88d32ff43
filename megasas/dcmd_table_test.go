package megasas

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// Where the mailbox of a command names a drive or a volume, and how.
var (
	ofDrive           = []mfi.Opcode{mfi.OpPDGetInfo, mfi.OpPDGetProgress, mfi.OpPDLocateStart, mfi.OpPDLocateStop}
	ofDriveSequence   = []mfi.Opcode{mfi.OpPDStateSet, mfi.OpPDRebuildStart, mfi.OpPDRebuildAbort, mfi.OpPDClearStart, mfi.OpPDClearAbort}
	ofVolume          = []mfi.Opcode{mfi.OpLDGetInfo, mfi.OpLDGetProp}
	ofVolumeSequence  = []mfi.Opcode{mfi.OpLDSetProp, mfi.OpLDInitStart, mfi.OpLDDelete}
	ofPayloadSequence = []mfi.Opcode{mfi.OpCtrlSetProperties}
)

// TestCommandTable checks the table of commands itself: every opcode that has a
// name is in it once, and each row says what is done, or why nothing is.
func TestCommandTable(t *testing.T) {
	seen := map[mfi.Opcode]bool{}
	for _, c := range commands {
		if seen[c.op] {
			t.Errorf("%v is there twice", c.op)
		}
		seen[c.op] = true
		if refused := c.why != ""; !refused && c.run == nil && c.op != mfi.OpCtrlEventWait || refused != (c.refused != mfi.StatusOK) {
			t.Errorf("%v is neither carried out nor refused, or refused for no reason", c.op)
		}
	}
	for _, op := range mfi.Opcodes() {
		if !seen[op] {
			t.Errorf("%v has a name, but is not in the table", op)
		}
		delete(seen, op)
	}
	for op := range seen {
		t.Errorf("%#x is in the table and has no name", uint32(op))
	}
}

// TestEveryCommand sends every command with buffers that are too short, about
// drives and volumes that are not there, and with sequence numbers of before.
func TestEveryCommand(t *testing.T) {
	g := newGuest(t, threeDrives())
	check := func(what string, op mfi.Opcode, data []byte, box []byte, want mfi.Status) {
		t.Helper()
		g.rewind(0x1000)
		if s := g.send(op, data, box...); s != want {
			t.Errorf("%v %s: %v, want %v", op, what, s, want)
		}
	}
	for _, c := range commands {
		room := make([]byte, c.room)
		if c.why != "" && c.run == nil {
			check("without data", c.op, nil, nil, c.refused)
			check("with data", c.op, make([]byte, 4096), bytes.Repeat([]byte{0xff}, 12), c.refused)
			continue
		}
		if c.room > 0 {
			check("with a byte too few", c.op, room[1:], nil, mfi.StatusInvalidParameter)
			check("without data", c.op, nil, nil, mfi.StatusInvalidParameter)
		}
		if slices.Contains(slices.Concat(ofDrive, ofDriveSequence), c.op) {
			for _, box := range [][]byte{{3, 0}, {0, 1}, {0xff, 0xff}, {240, 0}} { // ids have 16 bits
				check("of no drive", c.op, room, box, mfi.StatusDeviceNotFound)
			}
		}
		if slices.Contains(slices.Concat(ofVolume, ofVolumeSequence), c.op) {
			for _, box := range [][]byte{{2}, {63}, {64}, {0xff}} {
				check("of no volume", c.op, room, box, mfi.StatusDeviceNotFound)
			}
		}
		if slices.Contains(ofDriveSequence, c.op) {
			box := g.driveRef(0)
			box[2]--
			check("with a stale number", c.op, room, box, mfi.StatusInvalidSequenceNumber)
			box[2]++
			box[3]++
			check("with a number of the wrong high byte", c.op, room, box, mfi.StatusInvalidSequenceNumber)
		}
		if slices.Contains(ofVolumeSequence, c.op) {
			box := g.volumeRef(1)
			box[2]--
			data := room
			if c.op == mfi.OpLDSetProp {
				data = g.mustDCMD(mfi.OpLDGetProp, 32, 1)
			}
			check("with a stale number", c.op, bytes.Clone(data), box, mfi.StatusInvalidSequenceNumber)
		}
		if slices.Contains(ofPayloadSequence, c.op) {
			data := bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
			data[0]--
			check("with a stale number", c.op, data, nil, mfi.StatusInvalidSequenceNumber)
		}
	}
	for op, want := range map[mfi.Opcode]mfi.Status{
		mfi.OpPDRebuildStart: mfi.StatusWrongState, mfi.OpPDRebuildAbort: mfi.StatusWrongState, mfi.OpPDClearAbort: mfi.StatusWrongState,
		mfi.OpPDClearStart: mfi.StatusWrongState, // a member of an array
	} {
		check("of a drive that it is not for", op, nil, g.driveRef(0), want)
	}
	check("of one configuration", mfi.OpCfgForeignImport, nil, []byte{0}, mfi.StatusInvalidParameter)
	check("of all", mfi.OpCfgForeignImport, nil, []byte{0xff}, mfi.StatusNotFound)
	v := g.c.Drives().View()
	if len(v.Volumes) != 2 || len(v.Drives) != 3 || v.Volumes[0].Name != "one" || v.Drives[1].State != raid.System {
		t.Errorf("something changed: %+v", v)
	}
}

// TestTimeSet sets the card's clock, by the mailbox and by data. It goes on from
// there, for events too, and over a restart.
func TestTimeSet(t *testing.T) {
	now := time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)
	store := NVRAMFile(filepath.Join(t.TempDir(), "nvram"))
	start := func() *guest {
		return newGuest(t, Config{Clock: func() time.Time { return now }, NVRAM: store})
	}
	g := start()
	set := []byte{0xe4, 0x07, 2, 29, 23, 59, 58, 0} // 2020
	if _, s := g.dcmd(mfi.OpCtrlTimeSet, 0, set...); s != mfi.StatusOK {
		t.Fatal(s)
	}
	now = now.Add(3 * time.Second)
	want := []byte{0xe4, 0x07, 3, 1, 0, 0, 1, 0}
	if p := g.mustDCMD(mfi.OpCtrlTimeGet, 8); !bytes.Equal(p, want) {
		t.Errorf("three seconds later it is % x", p)
	}
	seconds := memory(g.mustDCMD(mfi.OpCtrlTimeSecsGet, 4)).u32(0)
	e, ok := g.c.events.next(newest(g), mfi.Filter(mfi.ClassDebug, mfi.LocaleAll))
	raw := memory(e.Marshal())
	if !ok || e.Code != mfi.EventTimeEstablished || e.Time != seconds-3 || raw[0x10] != 19 || raw.u32(0x20) != seconds-3 {
		t.Errorf("event %+v, %d seconds", e, seconds)
	}
	if info := memory(g.mustDCMD(mfi.OpCtrlGetInfo, 2048)); info.u32(0x5b4) != seconds {
		t.Errorf("the controller's information says %d, TIME_SECS_GET %d", info.u32(0x5b4), seconds)
	}
	for _, bad := range [][]byte{{0xe4, 0x07, 2, 30}, {0xe4, 0x07, 0, 1}, {0xe4, 0x07, 1, 1, 24}, {0xe4, 0x07, 1, 1, 0, 60}, {0, 0}, {0x34, 0x08, 1, 1}} {
		if _, s := g.dcmd(mfi.OpCtrlTimeSet, 0, bad...); s != mfi.StatusInvalidParameter {
			t.Errorf("time % x: %v", bad, s)
		}
	}
	closeNow(t, g)
	g = start()
	if p := g.mustDCMD(mfi.OpCtrlTimeGet, 8); !bytes.Equal(p, want) {
		t.Errorf("after a restart it is % x", p)
	}
	if s := g.send(mfi.OpCtrlTimeSet, []byte{0xea, 0x07, 3, 4, 5, 6, 7, 0}); s != mfi.StatusOK {
		t.Errorf("a time as data: %v", s)
	}
	if p := g.mustDCMD(mfi.OpCtrlTimeGet, 8); !bytes.Equal(p, []byte{0xea, 0x07, 3, 4, 5, 6, 7, 0}) {
		t.Errorf("then it is % x", p)
	}
}

// TestManufacturingDefaults compares the maker's defaults with what a card has
// that nobody has set.
func TestManufacturingDefaults(t *testing.T) {
	g := newGuest(t, manyDrives(1, nil))
	p, props := memory(g.mustDCMD(mfi.OpCtrlMFCDefaultsGet, 64)), memory(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
	ld := g.mustDCMD(mfi.OpLDGetInfo, 384, 0)
	if p.u64(0) != DefaultSASAddress || p[9] != props[10] || p[11] != props[13] || p[18] != props[17] || (p[17] == 0) != (props[18] != 0) {
		t.Errorf("defaults % x, properties % x", p, props)
	}
	if p[10] != ld[0x23] || (p[12] != 0) != (ld[20]&mfi.CacheWriteBack != 0) || (p[13] != 0) != (ld[20]&mfi.CacheReadAhead != 0) ||
		(p[15] != 0) != (ld[20]&mfi.CacheAllowRead != 0) {
		t.Errorf("defaults % x, volume % x", p, ld[:64])
	}
}
