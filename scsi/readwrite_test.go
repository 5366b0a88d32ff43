package scsi

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

// transfers are the CDB forms of READ or WRITE. Byte 1 is for all but the first.
func transfers(read bool, flags byte, lba uint32, n uint16) map[string][]byte {
	op6, op10, op12, op16 := OpWrite6, OpWrite10, OpWrite12, OpWrite16
	if read {
		op6, op10, op12, op16 = OpRead6, OpRead10, OpRead12, OpRead16
	}
	return map[string][]byte{
		"6":  cdb6(op6, lba, uint8(n)),
		"10": cdb10(op10, flags, lba, n),
		"12": cdb12(op12, flags, lba, uint32(n)),
		"16": cdb16(op16, flags, uint64(lba), uint32(n)),
	}
}

func TestReadWriteRoundTrip(t *testing.T) {
	for _, size := range []uint32{512, 4096} {
		u, m := newUnit(t, func(c *UnitConfig, _ *memory) { c.BlockSize = size })
		n := int(3 * size)
		for form, cdb := range transfers(false, 0, 5, 3) {
			want := pattern(n, byte(len(form)))
			wantGood(t, run(u, cdb, want[:100], nil, want[100:700], want[700:]), n)
			if !bytes.Equal(m.data[5*size:8*size], want) {
				t.Errorf("WRITE(%s) with blocks of %d: data is not on the medium", form, size)
			}
			got := make([]byte, n)
			wantGood(t, run(u, transfers(true, 0, 5, 3)[form], got[:1], got[1:513], got[513:]), n)
			if !bytes.Equal(got, want) {
				t.Errorf("READ(%s) with blocks of %d returns other data", form, size)
			}
		}
	}
}

func TestReadAndWriteWithoutCDB(t *testing.T) {
	u, m := newUnit(t, nil)
	want := pattern(1024, 1)
	c := &Command{Data: [][]byte{bytes.Clone(want)}, LUN: 3}
	u.Write(c, testBlocks-2, 2, false)
	wantGood(t, c, 1024)
	if !bytes.Equal(m.data[len(m.data)-1024:], want) {
		t.Error("data is not on the medium")
	}
	got := make([]byte, 1024)
	c.Data = [][]byte{got}
	u.Read(c, testBlocks-2, 2, false)
	wantGood(t, c, 1024)
	if !bytes.Equal(got, want) {
		t.Error("Read returns other data")
	}
	for _, at := range []struct {
		lba    uint64
		blocks uint32
	}{
		{testBlocks - 1, 2}, {testBlocks, 0}, {testBlocks, 1}, {math.MaxUint64, 1},
		{math.MaxUint64, math.MaxUint32}, {0, math.MaxUint32}, {1 << 55, 1}, {1 << 63, 1},
	} {
		u.Read(c, at.lba, at.blocks, false)
		wantSense(t, c, illegal(ASCLBAOutOfRange))
		u.Write(c, at.lba, at.blocks, true)
		wantSense(t, c, illegal(ASCLBAOutOfRange))
	}
}

func TestLengthZero(t *testing.T) {
	u, m := newUnit(t, nil)
	data := make([]byte, 256*512)
	// In 6-byte CDBs it means 256 blocks.
	wantGood(t, run(u, cdb6(OpRead6, 7, 0), data), len(data))
	wantGood(t, run(u, cdb6(OpWrite6, 7, 0), data), len(data))
	m.called()
	for form, cdb := range transfers(true, 0, 7, 0) {
		if form != "6" {
			wantGood(t, run(u, cdb, data), 0)
		}
	}
	wantGood(t, run(u, cdb10(OpWrite10, 0x08, 7, 0)), 0)
	wantGood(t, run(u, cdb10(OpVerify10, 0x02, 7, 0)), 0)
	if calls := m.called(); len(calls) != 0 {
		t.Errorf("transfers of no blocks called %v", calls)
	}
	wantSense(t, run(u, cdb10(OpRead10, 0, testBlocks, 0)), illegal(ASCLBAOutOfRange))
}

func TestOutOfRange(t *testing.T) {
	u, m := newUnit(t, nil)
	data := make([]byte, 8*512)
	for _, cdb := range [][]byte{
		cdb6(OpRead6, testBlocks-1, 2), cdb6(OpWrite6, 0x1FFFFF, 1),
		cdb10(OpRead10, 0, testBlocks-1, 2), cdb10(OpWrite10, 0, math.MaxUint32, 1),
		cdb12(OpRead12, 0, 1, math.MaxUint32), cdb12(OpWrite12, 0, testBlocks, 1),
		cdb16(OpRead16, 0, math.MaxUint64, 1), cdb16(OpWrite16, 0, math.MaxUint64-7, 8),
		cdb16(OpRead16, 0, 1<<55, 1), cdb16(OpWrite16, 0, 1<<63, math.MaxUint32),
		cdb10(OpVerify10, 0, testBlocks, 1), cdb16(OpVerify16, 0x02, math.MaxUint64, math.MaxUint32),
		cdb10(OpWriteSame10, 0, testBlocks-1, 2), cdb16(OpWriteSame16, 0x01, math.MaxUint64, 1),
		cdb16(OpWriteSame16, 0x01, testBlocks, 0),
		cas(0, math.MaxUint64, 1), cdb16(OpOrWrite16, 0, testBlocks-1, 2),
		cdb10(OpWriteAndVerify10, 0, testBlocks, 1), cdb16(OpWriteAndVerify16, 0x02, 1<<63, 1),
		cdb10(OpSynchronizeCache10, 0, testBlocks, 0), cdb16(OpSynchronizeCache16, 0, 1, testBlocks),
	} {
		wantSense(t, run(u, cdb, data), illegal(ASCLBAOutOfRange))
	}
	if calls := m.called(); len(calls) != 0 {
		t.Errorf("the medium was called: %v", calls)
	}
}

func TestMaximumTransfer(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.Limits.MaxTransfer = 8 })
	data := make([]byte, 9*512)
	wantGood(t, run(u, cdb10(OpRead10, 0, 0, 8), data), 8*512)
	wantSense(t, run(u, cdb10(OpRead10, 0, 0, 9), data), inCDB(7, 7))
	wantSense(t, run(u, cdb6(OpWrite6, 0, 9), data), inCDB(4, 7))
	wantSense(t, run(u, cdb12(OpWrite12, 0, 0, 9), data), inCDB(6, 7))
	wantSense(t, run(u, cdb16(OpVerify16, 0, 0, 9)), inCDB(10, 7))
	wantSense(t, run(u, cdb16(OpOrWrite16, 0, 0, 9), data), inCDB(10, 7))
	wantSense(t, run(u, cdb10(OpWriteAndVerify10, 0, 0, 9), data), inCDB(7, 7))
	c := &Command{Data: [][]byte{data}}
	u.Write(c, 0, 9, false)
	wantSense(t, c, illegal(ASCInvalidFieldInCDB))
}

// A buffer that is too short is never overrun, and what was asked is not done by
// half.
func TestShortBuffer(t *testing.T) {
	u, m := newUnit(t, nil)
	short := Sense{Key: KeyAbortedCommand, Code: ASCDataPhaseError}
	guarded := bytes.Repeat([]byte{0xEE}, 3000)
	for _, cdb := range [][]byte{
		cdb6(OpRead6, 0, 2), cdb10(OpRead10, 0, 0, 2), cdb16(OpWrite16, 0, 0, 2),
		cdb10(OpVerify10, 0x02, 0, 2), cdb12(OpWrite12, 0x08, 0, testBlocks),
		cas(0, 0, 1), cdb16(OpOrWrite16, 0, 0, 2), cdb12(OpWriteAndVerify12, 0, 0, 2),
	} {
		for _, n := range []int{0, 1, 512, 1023} {
			c := run(u, cdb, guarded[:n/2], guarded[n/2:n])
			wantSense(t, c, short)
			if !errors.Is(c.Err, ErrShortBuffer) {
				t.Errorf("%s with %d bytes: Err = %v", CommandName(cdb), n, c.Err)
			}
		}
	}
	for _, n := range []int{0, 511} {
		wantSense(t, run(u, cdb10(OpWriteSame10, 0, 0, 2), guarded[:n]), short)
	}
	if calls := m.called(); len(calls) != 0 {
		t.Errorf("the medium was called: %v", calls)
	}
	if !bytes.Equal(guarded, bytes.Repeat([]byte{0xEE}, 3000)) {
		t.Error("the buffer was written")
	}
}

func TestLongBuffer(t *testing.T) {
	u, _ := newUnit(t, nil)
	wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 1), pattern(2000, 9)), 512)
	got := bytes.Repeat([]byte{0xEE}, 2000)
	wantGood(t, run(u, cdb10(OpRead10, 0, 0, 2), got[:300], got[300:1100], got[1100:]), 1024)
	if !bytes.Equal(got[:512], pattern(512, 9)) {
		t.Error("the data is not what was written")
	}
	if !bytes.Equal(got[512:1024], make([]byte, 512)) {
		t.Error("a WRITE of one block wrote more")
	}
	if !bytes.Equal(got[1024:], bytes.Repeat([]byte{0xEE}, 976)) {
		t.Error("READ wrote beyond its transfer length")
	}
}

func TestDurability(t *testing.T) {
	block := pattern(512, 1)
	unmapList := unmapParameters(unmapRange{3, 1})
	unmapCDB := []byte{byte(OpUnmap), 0, 0, 0, 0, 0, 0, 0, byte(len(unmapList)), 0}
	changes := map[string]struct {
		cdb  []byte
		data []byte
		fua  bool
	}{
		"WRITE(6)":         {cdb6(OpWrite6, 1, 1), block, false},
		"WRITE(10)":        {cdb10(OpWrite10, 0, 1, 1), block, false},
		"WRITE(10) DPO":    {cdb10(OpWrite10, 0x10, 1, 1), block, false},
		"WRITE(10) FUA":    {cdb10(OpWrite10, 0x08, 1, 1), block, true},
		"WRITE(12) FUA":    {cdb12(OpWrite12, 0x18, 1, 1), block, true},
		"WRITE(16) FUA":    {cdb16(OpWrite16, 0x08, 1, 1), block, true},
		"WRITE SAME":       {cdb10(OpWriteSame10, 0, 1, 1), block, false},
		"WRITE SAME UNMAP": {cdb16(OpWriteSame16, 0x09, 3, 1), nil, false},
		"UNMAP":            {unmapCDB, unmapList, false},
	}
	for name, change := range changes {
		for _, writeBack := range []bool{false, true} {
			u, m := newUnit(t, func(c *UnitConfig, m *memory) {
				c.WriteBack = writeBack
				m.data = bytes.Repeat([]byte{0xAA}, testBlocks*512)
			})
			wantGood(t, run(u, change.cdb, change.data), len(change.data))
			if want := change.fua || !writeBack; m.isDurable() != want {
				t.Errorf("%s with write-back %v: durable is %v", name, writeBack, !want)
			}
			wantGood(t, run(u, cdb10(OpSynchronizeCache10, 0x02, 0, 0)), 0)
			if !m.isDurable() {
				t.Errorf("%s is not durable after SYNCHRONIZE CACHE", name)
			}
		}
	}
}

// READ with FUA and VERIFY are about the medium: what is cached goes there first.
func TestCacheIsWrittenOutFirst(t *testing.T) {
	for _, cdb := range [][]byte{cdb10(OpRead10, 0x08, 0, 1), cdb10(OpVerify10, 0, 0, 1)} {
		u, m := newUnit(t, func(c *UnitConfig, _ *memory) { c.WriteBack = true })
		wantGood(t, run(u, cdb10(OpWrite10, 0, 9, 1), pattern(512, 1)), 512)
		if c := run(u, cdb, make([]byte, 512)); c.Status != StatusGood || !m.isDurable() {
			t.Errorf("%v: durable is %v", c, m.isDurable())
		}
	}
}

func TestSetWriteCache(t *testing.T) {
	u, m := newUnit(t, func(c *UnitConfig, _ *memory) { c.WriteBack = true })
	wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 1), pattern(512, 1)), 512)
	if m.isDurable() {
		t.Fatal("a cached write is durable")
	}
	if err := u.SetWriteCache(false); err != nil || !m.isDurable() || u.WriteCache() {
		t.Errorf("turned off: %v, durable %v, on %v", err, m.isDurable(), u.WriteCache())
	}
	if err := u.SetWriteCache(true); err != nil || !u.WriteCache() {
		t.Errorf("turned on: %v, on %v", err, u.WriteCache())
	}
	m.fail("Flush", errors.New("broken"))
	if err := u.SetWriteCache(false); err == nil {
		t.Error("a failed flush is not reported")
	}
}

func TestVerify(t *testing.T) {
	u, m := newUnit(t, nil)
	data := pattern(300*512, 3) // more than one scratch buffer
	wantGood(t, run(u, cdb10(OpWrite10, 0, 10, 300), bytes.Clone(data)), len(data))

	wantGood(t, run(u, cdb10(OpVerify10, 0, 10, 300)), 0)
	for _, cdb := range [][]byte{
		cdb10(OpVerify10, 0x02, 10, 300), cdb12(OpVerify12, 0x12, 10, 300), cdb16(OpVerify16, 0x02, 10, 300),
	} {
		same := bytes.Clone(data)
		wantGood(t, run(u, cdb, same[:1000], nil, same[1000:]), len(data))
		for _, at := range []int{0, 511, 512, scratchSize, len(data) - 1} {
			other := bytes.Clone(data)
			other[at] ^= 1
			wantSense(t, run(u, cdb, other[:1000], nil, other[1000:]), Sense{
				Key: KeyMiscompare, Code: ASCMiscompareDuringVerify, HasInfo: true, Info: uint64(10 + at/512)})
		}
	}
	// BYTCHK 2 and 3 are not there.
	wantSense(t, run(u, cdb10(OpVerify10, 0x04, 10, 1), data), inCDB(1, 3))
	wantSense(t, run(u, cdb10(OpVerify10, 0x06, 10, 1), data), inCDB(1, 3))

	m.fail("ReadV", errors.New("broken"))
	wantSense(t, run(u, cdb10(OpVerify10, 0, 10, 1)), Sense{Key: KeyMediumError, Code: ASCUnrecoveredReadError})
}

func TestWriteProtection(t *testing.T) {
	protect := map[string]func(*UnitConfig, *memory){
		"unit":   func(c *UnitConfig, _ *memory) { c.ReadOnly = true },
		"medium": func(_ *UnitConfig, m *memory) { m.readOnly = true },
	}
	list := unmapParameters(unmapRange{0, 1})
	for who, change := range protect {
		u, m := newUnit(t, change)
		for _, cdb := range [][]byte{
			cdb6(OpWrite6, 0, 1), cdb10(OpWrite10, 0, 0, 1), cdb12(OpWrite12, 0, 0, 1), cdb16(OpWrite16, 0, 0, 1),
			cdb10(OpWriteSame10, 0, 0, 1), cdb16(OpWriteSame16, 0x09, 0, 1),
			cas(0, 0, 1), cdb16(OpOrWrite16, 0, 0, 1), cdb10(OpWriteAndVerify10, 0, 0, 1),
			cdb12(OpWriteAndVerify12, 0, 0, 1), cdb16(OpWriteAndVerify16, 0, 0, 1),
			{byte(OpUnmap), 0, 0, 0, 0, 0, 0, 0, byte(len(list)), 0},
		} {
			wantSense(t, run(u, cdb, make([]byte, 512)), Sense{Key: KeyDataProtect, Code: ASCWriteProtected})
		}
		c := &Command{Data: [][]byte{make([]byte, 512)}}
		u.Write(c, 0, 1, false)
		wantSense(t, c, Sense{Key: KeyDataProtect, Code: ASCWriteProtected})
		if calls := m.called(); len(calls) != 0 {
			t.Errorf("%s is read-only, and the medium was called: %v", who, calls)
		}
		wantGood(t, run(u, cdb10(OpRead10, 0, 0, 1), make([]byte, 512)), 512)
		wantGood(t, run(u, cdb10(OpSynchronizeCache10, 0, 0, 0)), 0)

		sense := make([]byte, 4)
		run(u, []byte{byte(OpModeSense6), 0, 0x3F, 0, 4, 0}, sense)
		if sense[2] != 0x90 {
			t.Errorf("%s is read-only, and MODE SENSE says %#x", who, sense[2])
		}
	}
}
