package scsi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"
)

type unmapRange struct {
	lba    uint64
	blocks uint32
}

// unmapParameters is a parameter list of UNMAP that is right in itself.
func unmapParameters(ranges ...unmapRange) []byte {
	be := binary.BigEndian
	b := be.AppendUint16(nil, uint16(6+16*len(ranges)))
	b = be.AppendUint16(b, uint16(16*len(ranges)))
	b = append(b, 0, 0, 0, 0)
	for _, r := range ranges {
		b = be.AppendUint64(b, r.lba)
		b = be.AppendUint32(b, r.blocks)
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

func unmapOf(u *Unit, list []byte) *Command {
	n := len(list)
	return run(u, []byte{byte(OpUnmap), 0, 0, 0, 0, 0, 0, byte(n >> 8), byte(n), 0}, list)
}

func TestUnmap(t *testing.T) {
	u, m := newUnit(t, func(_ *UnitConfig, m *memory) { m.data = bytes.Repeat([]byte{0xAA}, testBlocks*512) })
	list := unmapParameters(unmapRange{10, 2}, unmapRange{math.MaxUint64, 0}, unmapRange{testBlocks - 1, 1})
	wantGood(t, unmapOf(u, list), len(list))
	want := bytes.Repeat([]byte{0xAA}, testBlocks*512)
	clear(want[10*512 : 12*512])
	clear(want[len(want)-512:])
	if !bytes.Equal(m.data, want) {
		t.Error("other blocks than those of the list were unmapped")
	}
	if calls := m.called(); !slices.Equal(calls, []string{"Discard", "Discard", "Flush"}) {
		t.Errorf("the medium was called %v", calls)
	}
}

func TestUnmapParameters(t *testing.T) {
	u, m := newUnit(t, func(c *UnitConfig, _ *memory) {
		c.Limits.MaxUnmap, c.Limits.MaxUnmapDescriptors = 100, 3
	})
	one := unmapRange{0, 1}
	parameter := func(at uint16) Sense {
		return Sense{Key: KeyIllegalRequest, Code: ASCInvalidFieldInParameterList,
			Field: FieldPointer{In: InParameterList, Byte: at}}
	}

	wantGood(t, unmapOf(u, nil), 0)
	wantGood(t, unmapOf(u, unmapParameters()), 8)
	// A descriptor that is cut off does not count.
	wantGood(t, unmapOf(u, unmapParameters(one)[:23]), 23)
	if calls := m.called(); slices.Contains(calls, "Discard") {
		t.Errorf("lists without a descriptor: %v", calls)
	}

	wantSense(t, unmapOf(u, unmapParameters(one)[:7]), illegal(ASCParameterListLengthError))
	short := []byte{byte(OpUnmap), 0, 0, 0, 0, 0, 0, 0, 24, 0}
	wantSense(t, run(u, short, unmapParameters(one)[:23]), illegal(ASCParameterListLengthError))
	wantSense(t, run(u, short), illegal(ASCParameterListLengthError))

	wantSense(t, unmapOf(u, unmapParameters(one, one, one, one)), parameter(2))
	wantSense(t, unmapOf(u, unmapParameters(one, unmapRange{1, 100})), parameter(8+16+8))
	wantSense(t, unmapOf(u, unmapParameters(one, unmapRange{testBlocks, 1})), illegal(ASCLBAOutOfRange))
	wantSense(t, unmapOf(u, unmapParameters(one, unmapRange{math.MaxUint64, math.MaxUint32})), illegal(ASCLBAOutOfRange))
	if calls := m.called(); slices.Contains(calls, "Discard") {
		t.Errorf("a list with an error was begun: %v", calls)
	}

	broken := errors.New("broken")
	m.fail("Discard", broken)
	c := unmapOf(u, unmapParameters(one))
	wantSense(t, c, Sense{Key: KeyMediumError, Code: ASCWriteError})
	if !errors.Is(c.Err, broken) {
		t.Errorf("Err = %v", c.Err)
	}
}

func TestNoProvisioning(t *testing.T) {
	u, _ := newUnit(t, func(_ *UnitConfig, m *memory) { m.discard, m.zeroes = false, false })
	wantSense(t, unmapOf(u, unmapParameters(unmapRange{0, 1})), illegal(ASCInvalidOpcode))
	wantSense(t, run(u, cdb10(OpWriteSame10, 0x08, 0, 1), make([]byte, 512)), inCDB(1, 3))
	wantSense(t, run(u, []byte{byte(OpInquiry), 1, 0xB2, 0, 255, 0}, make([]byte, 255)), inCDB(2, 7))

	pages := make([]byte, 255)
	c := run(u, []byte{byte(OpInquiry), 1, 0, 0, 255, 0}, pages)
	if slices.Contains(pages[4:c.Transferred], 0xB2) {
		t.Error("VPD page B2h is listed")
	}
	capacity := make([]byte, 32)
	run(u, readCapacity16CDB(32), capacity)
	if capacity[14] != 0 {
		t.Errorf("READ CAPACITY(16) byte 14 = %#x, want no LBPME", capacity[14])
	}
	limits := make([]byte, 64)
	run(u, []byte{byte(OpInquiry), 1, 0xB0, 0, 64, 0}, limits)
	if !bytes.Equal(limits[20:36], make([]byte, 16)) {
		t.Errorf("VPD page B0h has unmap limits: %x", limits[20:36])
	}
}

// A medium that does not promise zeroes for what it discards is not said to.
func TestUnmapWithoutZeroes(t *testing.T) {
	u, _ := newUnit(t, func(_ *UnitConfig, m *memory) { m.zeroes = false })
	capacity := make([]byte, 32)
	run(u, readCapacity16CDB(32), capacity)
	if capacity[14] != 0x80 {
		t.Errorf("READ CAPACITY(16) byte 14 = %#x, want LBPME only", capacity[14])
	}
	page := make([]byte, 8)
	run(u, []byte{byte(OpInquiry), 1, 0xB2, 0, 8, 0}, page)
	if page[5] != 0xE0 {
		t.Errorf("VPD page B2h byte 5 = %#x, want no LBPRZ", page[5])
	}
}

func TestWriteSame(t *testing.T) {
	zero, data := make([]byte, 512), pattern(512, 5)
	for _, c := range []struct {
		name  string
		cdb   []byte
		block []byte
		calls []string
		want  []byte
	}{
		{"10", cdb10(OpWriteSame10, 0, 4, 300), data, []string{"WriteV", "WriteV", "WriteV", "Flush"}, data},
		{"16", cdb16(OpWriteSame16, 0, 4, 300), data, []string{"WriteV", "WriteV", "WriteV", "Flush"}, data},
		{"zeroes", cdb16(OpWriteSame16, 0, 4, 300), zero, []string{"WriteZeroes", "Flush"}, zero},
		{"unmap zeroes", cdb10(OpWriteSame10, 0x08, 4, 300), zero, []string{"WriteZeroes+unmap", "Flush"}, zero},
		{"unmap data", cdb16(OpWriteSame16, 0x08, 4, 1), data, []string{"WriteV", "Flush"}, data},
		{"NDOB", cdb16(OpWriteSame16, 0x01, 4, 300), nil, []string{"WriteZeroes", "Flush"}, zero},
		{"NDOB unmap", cdb16(OpWriteSame16, 0x09, 4, 300), nil, []string{"WriteZeroes+unmap", "Flush"}, zero},
	} {
		u, m := newUnit(t, func(_ *UnitConfig, m *memory) { m.data = bytes.Repeat([]byte{0xAA}, testBlocks*512) })
		wantGood(t, run(u, c.cdb, c.block), len(c.block))
		if calls := m.called(); !slices.Equal(calls, c.calls) {
			t.Errorf("%s called %v, want %v", c.name, calls, c.calls)
		}
		e, _ := extentOf(c.cdb)
		end := (e.lba + uint64(e.blocks)) * 512
		if !bytes.Equal(m.data[4*512:end], bytes.Repeat(c.want, int(e.blocks))) {
			t.Errorf("%s did not write the block everywhere", c.name)
		}
		if m.data[4*512-1] != 0xAA || m.data[end] != 0xAA {
			t.Errorf("%s wrote beyond its range", c.name)
		}
	}
}

func TestWriteSameRefused(t *testing.T) {
	u, m := newUnit(t, func(c *UnitConfig, _ *memory) { c.Limits.MaxWriteSame = 100 })
	data := pattern(512, 5)
	wantSense(t, run(u, cdb10(OpWriteSame10, 0, 0, 0), data), inCDB(7, 7))
	wantSense(t, run(u, cdb16(OpWriteSame16, 0, 0, 101), data), inCDB(10, 7))
	wantSense(t, run(u, cdb10(OpWriteSame10, 0x10, 0, 1), data), inCDB(1, 7)) // ANCHOR
	wantSense(t, run(u, cdb10(OpWriteSame10, 0x01, 0, 1), data), inCDB(1, 2)) // there is no NDOB in (10)
	wantSense(t, run(u, cdb16(OpWriteSame16, 0x20, 0, 1), data), inCDB(1, 7)) // WRPROTECT
	if calls := m.called(); len(calls) != 0 {
		t.Errorf("the medium was called: %v", calls)
	}
	for method, block := range map[string][]byte{"WriteV": data, "WriteZeroes": make([]byte, 512)} {
		m.fail(method, errors.New("broken"))
		wantSense(t, run(u, cdb10(OpWriteSame10, 0, 0, 1), block), Sense{Key: KeyMediumError, Code: ASCWriteError})
	}
}
