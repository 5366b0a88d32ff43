package scsi

import (
	"bytes"
	"slices"
	"testing"
)

// modePageOf returns the current values of a mode page, with its header.
func modePageOf(t testing.TB, u *Unit, code byte) []byte {
	t.Helper()
	got := make([]byte, 255)
	c := run(u, []byte{byte(OpModeSense6), 0x08, code, 0, 255, 0}, got)
	if c.Status != StatusGood {
		t.Fatal(c)
	}
	return got[4:c.Transferred]
}

// selectPages sends MODE SELECT(6) with a header, no block descriptor and pages.
func selectPages(u *Unit, pages ...[]byte) *Command {
	list := append(make([]byte, 4), slices.Concat(pages...)...)
	return run(u, []byte{byte(OpModeSelect6), 0x10, 0, 0, byte(len(list)), 0}, list[:3], list[3:])
}

// caching and control are mode pages as an initiator sends them.
func caching(wce bool) []byte {
	p := make([]byte, 20)
	p[0], p[1] = 0x08, 18
	if wce {
		p[2] = 0x04
	}
	return p
}

func control(flags, protect byte) []byte { return []byte{0x0A, 10, flags, 0x10, protect, 11: 0} }

func TestModeSelectWriteCache(t *testing.T) {
	u, m := newUnit(t, nil)
	wantGood(t, selectPages(u, caching(true)), 24)
	if !u.WriteCache() || modePageOf(t, u, 0x08)[2] != 0x04 {
		t.Error("WCE was not set")
	}
	wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 1), pattern(512, 1)), 512)
	if m.isDurable() {
		t.Error("the write was not cached")
	}
	m.fail("Flush", errBroken)
	wantSense(t, selectPages(u, caching(false)), Sense{Key: KeyMediumError, Code: ASCWriteError})
	m.fail("Flush", nil)
	wantGood(t, selectPages(u, caching(true)), 24)
	wantGood(t, selectPages(u, caching(false)), 24)
	if u.WriteCache() || !m.isDurable() {
		t.Error("turning WCE off did not write the cache")
	}
}

// Whoever owns the unit can keep the write cache for itself.
func TestModeSelectFixedWriteCache(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.FixedWriteCache = true })
	got := make([]byte, 24)
	wantGood(t, run(u, []byte{byte(OpModeSense6), 0x08, modeChangeable<<6 | 0x08, 0, 24, 0}, got), 24)
	if got[6] != 0 {
		t.Errorf("changeable % x", got)
	}
	wantGood(t, selectPages(u, caching(false)), 24)
	wantSense(t, selectPages(u, caching(true)), inList(6, 2))
	if err := u.SetWriteCache(true); err != nil {
		t.Fatal(err)
	}
	wantSense(t, selectPages(u, caching(false)), inList(6, 2))
	if !u.WriteCache() {
		t.Error("the write cache was turned off")
	}
}

// D_SENSE chooses the format of all later sense data, with addresses of any
// size, until the unit is reset.
func TestModeSelectDescriptorSense(t *testing.T) {
	u, m := newUnit(t, nil)
	wantGood(t, selectPages(u, control(0x04, 0)), 16)
	c := run(u, cdb10(OpRead10, 0x20, 0, 1), make([]byte, 512))
	want := unhex(t, "72 05 24 00 00 00 00 08 02 06 00 00 cf 00 01 00")
	if c.Status != StatusCheckCondition || !bytes.Equal(c.Sense, want) {
		t.Errorf("%v % x", c, c.Sense)
	}
	both := Sense{Key: KeyIllegalRequest, Code: ASCInvalidFieldInCDB, HasInfo: true, Info: 1 << 40,
		Field: FieldPointer{In: InCDB, Byte: 2}}
	m.fail("ReadV", both)
	u.Read(c, 0, 1, false)
	wantSense(t, c, both)
	if len(c.Sense) != 8+12+8 {
		t.Errorf("%d bytes of sense data", len(c.Sense))
	}
	m.fail("ReadV", nil)
	// REQUEST SENSE goes by its own bit.
	got := make([]byte, SenseSize)
	wantGood(t, run(u, requestSenseCDB, got), SenseSize)
	if got[0] != responseFixed {
		t.Errorf("REQUEST SENSE % x", got)
	}
	u.Reset()
	c = run(u, cdb10(OpRead10, 0x20, 0, 1), make([]byte, 512))
	if len(c.Sense) != SenseSize || c.Sense[0] != responseFixed {
		t.Errorf("after a reset: % x", c.Sense)
	}
}

func TestModeSelectSoftwareWriteProtect(t *testing.T) {
	u, m := newUnit(t, nil)
	wantGood(t, selectPages(u, control(0, 0x08)), 16)
	refused := Sense{Key: KeyDataProtect, Code: ASCSoftwareWriteProtected}
	m.called()
	wantSense(t, run(u, cdb10(OpWrite10, 0, 0, 1), make([]byte, 512)), refused)
	if calls := m.called(); len(calls) != 0 || !u.ReadOnly() {
		t.Errorf("the medium was called: %v; read-only: %v", calls, u.ReadOnly())
	}
	got := make([]byte, 4)
	wantGood(t, run(u, []byte{byte(OpModeSense6), 0x08, 0x0A, 0, 4, 0}, got), 4)
	if got[2] != 0x90 {
		t.Errorf("header % x: WP is not set", got)
	}
	wantGood(t, selectPages(u, control(0, 0)), 16)
	wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 1), make([]byte, 512)), 512)
}

// What MODE SENSE returns can be sent back, in both forms, with the descriptor.
func TestModeSelectOfModeSense(t *testing.T) {
	for _, block := range []uint32{512, 4096} {
		u, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.BlockSize, c.WriteBack = block, true })
		for _, flags := range []byte{0x00, 0x08, 0x10, 0x18} {
			list := make([]byte, 255)
			n := run(u, []byte{byte(OpModeSense10), flags, 0x3F, 0, 0, 0, 0, 0, 255, 0}, list).Transferred
			wantGood(t, run(u, []byte{byte(OpModeSelect10), 0x10, 0, 0, 0, 0, 0, 0, byte(n), 0}, list[:n]), n)
		}
		list := make([]byte, 255)
		n := run(u, []byte{byte(OpModeSense6), 0, 0x3F, 0, 255, 0}, list).Transferred
		wantGood(t, run(u, []byte{byte(OpModeSelect6), 0x10, 0, 0, byte(n), 0}, list[:n]), n)
	}
}

func TestModeSelectRefuses(t *testing.T) {
	u, _ := newUnit(t, nil)
	wantSense(t, run(u, []byte{byte(OpModeSelect6), 0x00, 0, 0, 0, 0}), inCDB(1, 4))
	wantSense(t, run(u, []byte{byte(OpModeSelect6), 0x11, 0, 0, 0, 0}), inCDB(1, 0))
	wantSense(t, run(u, []byte{byte(OpModeSelect10), 0x11, 9: 0}), inCDB(1, 0))
	wantGood(t, run(u, []byte{byte(OpModeSelect6), 0x10, 0, 0, 0, 0}), 0)
	wantGood(t, selectPages(u), 4)

	length := illegal(ASCParameterListLengthError)
	six := func(list ...byte) *Command {
		return run(u, []byte{byte(OpModeSelect6), 0x10, 0, 0, byte(len(list)), 0}, list)
	}
	ten := func(list ...byte) *Command {
		return run(u, []byte{byte(OpModeSelect10), 0x10, 0, 0, 0, 0, 0, 0, byte(len(list)), 0}, list)
	}
	for _, c := range []struct {
		got  *Command
		want Sense
	}{
		{six(0, 0, 0), length},
		{ten(0, 0, 0, 0, 0, 0, 0), length},
		{run(u, []byte{byte(OpModeSelect6), 0x10, 0, 0, 200, 0}, make([]byte, 199)), length},
		{six(0, 1, 0, 0), inList(1, -1)},
		{ten(0, 0, 1, 0, 0, 0, 0, 0), inList(2, -1)},
		{six(0, 0, 0, 7), inList(3, -1)},
		{six(0, 0, 0, 8, 0, 0, 0), length},
		{six(0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 2, 0), inList(4, -1)},
		{six(0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 4, 0), inList(9, -1)},
		{ten(0, 0, 0, 0, 1, 0, 0, 8), inList(6, -1)},
		{ten(0, 0, 0, 0, 1, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0), inList(20, -1)},
		{selectPages(u, []byte{0x88, 18}), inList(4, 7)},
		{selectPages(u, []byte{0x08}), length},
		{selectPages(u, []byte{0x48, 1, 0}), length},
		{selectPages(u, caching(false)[:19]), length},
		{selectPages(u, []byte{0x08, 17}), inList(5, -1)},
		{selectPages(u, []byte{0x02, 0}), inList(4, 5)},
		{selectPages(u, []byte{0x48, 0, 0, 18}), inList(4, 5)},
		{selectPages(u, []byte{0x48, 1, 0, 18}), inList(4, 5)},
		{selectPages(u, control(0x06, 0)), inList(6, 1)},
		{selectPages(u, caching(true), control(0, 0xFF)), inList(28, 7)},
	} {
		wantSense(t, c.got, c.want)
	}
	if u.WriteCache() {
		t.Error("a list that was refused changed the write cache")
	}
	if s := u.modeSettings(); s != (ModeParameters{}) {
		t.Errorf("settings %+v", s)
	}
}

// inList is the sense data for a field of the parameter list that is not valid.
func inList(at uint16, bit int) Sense {
	s := Sense{Key: KeyIllegalRequest, Code: ASCInvalidFieldInParameterList,
		Field: FieldPointer{In: InParameterList, Byte: at}}
	if bit >= 0 {
		s.Field.Bit, s.Field.HasBit = uint8(bit), true
	}
	return s
}

// An error of the medium is the command's, also with sense data in descriptor
// format, and there is nothing to allocate for it.
func TestDescriptorSenseDoesNotAllocate(t *testing.T) {
	u := nullUnit(t, false)
	wantGood(t, selectPages(u, control(0x04, 0)), 16)
	var c Command
	if n := testing.AllocsPerRun(100, func() { u.Read(&c, 1<<40, 8, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if c.Err != nil || len(c.Sense) == SenseSize {
		t.Errorf("%v % x", &c, c.Sense)
	}
}
