package scsi

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// cas is COMPARE AND WRITE.
func cas(flags byte, lba uint64, n uint8) []byte {
	return cdb16(OpCompareAndWrite, flags, lba, uint32(n))
}

func TestCompareAndWrite(t *testing.T) {
	for _, block := range []uint32{512, 4096} {
		u, m := newUnit(t, func(c *UnitConfig, _ *memory) { c.BlockSize = block })
		n := 20 * int(block)
		old, fresh := pattern(n, 1), pattern(n, 2)
		copy(m.data[10*block:], old)
		both := slices.Concat(old, fresh)
		wantGood(t, run(u, cas(0, 10, 20), both[:1000], nil, both[1000:n+77], both[n+77:]), 2*n)
		if !bytes.Equal(m.data[10*int(block):][:n], fresh) || !m.isDurable() {
			t.Error("the blocks were not written, or are not durable")
		}
		// Now they are different, and where is told in bytes.
		want := bytes.Clone(m.data)
		for _, at := range []int{0, 511, n - 1} {
			both := slices.Concat(fresh, old)
			both[at] ^= 0x80
			wantSense(t, run(u, cas(0, 10, 20), both[:n], both[n:]),
				Sense{Key: KeyMiscompare, Code: ASCMiscompareDuringVerify, HasInfo: true, Info: uint64(at)})
		}
		if !bytes.Equal(m.data, want) {
			t.Error("blocks that differ were written")
		}
		wantGood(t, run(u, cas(0, 10, 0)), 0)
		m.fail("ReadV", errBroken)
		wantSense(t, run(u, cas(0, 0, 1), both), Sense{Key: KeyMediumError, Code: ASCUnrecoveredReadError})
	}
}

func TestCompareAndWriteLimit(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.Limits.MaxCompareAndWrite = 4 })
	data := make([]byte, 10*512)
	wantGood(t, run(u, cas(0, 0, 4), data), 8*512)
	wantSense(t, run(u, cas(0, 0, 5), data), inCDB(13, 7))
	wantSense(t, run(u, cas(0, testBlocks-1, 2), data), illegal(ASCLBAOutOfRange))
	u, _ = newUnit(t, func(c *UnitConfig, _ *memory) { c.Limits.MaxTransfer = 9 })
	wantGood(t, run(u, cas(0, 0, 4), data), 8*512)
	wantSense(t, run(u, cas(0, 0, 5), data), inCDB(13, 7))
}

// COMPARE AND WRITE and ORWRITE are atomic: no increment and no bit gets lost,
// whatever else is written at the same time.
func TestReadModifyWriteIsAtomic(t *testing.T) {
	const goroutines, rounds = 4, 100
	u, m := newUnit(t, func(c *UnitConfig, _ *memory) { c.WriteBack = true })
	m.afterRead = func() { yield(10) }
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() { // a counter in block 0
			old := make([]byte, 512)
			for range rounds {
				for {
					fresh := bytes.Clone(old)
					binary.BigEndian.PutUint64(fresh, binary.BigEndian.Uint64(old)+1)
					if run(u, cas(0, 0, 1), old, fresh).Status == StatusGood {
						break
					}
					run(u, cdb10(OpRead10, 0, 0, 1), old)
				}
			}
		})
		wg.Go(func() { // a bit each in blocks 1 and 2, of which 2 is zeroed on the way
			for i := range rounds {
				bit := make([]byte, 1024)
				bit[i] = 1 << g
				wantGood(t, run(u, cdb16(OpOrWrite16, 0, 1, 2), bit), 1024)
				wantGood(t, run(u, cdb16(OpWriteSame16, 0x01, 3, 1)), 0)
			}
		})
	}
	wg.Wait()
	if n := binary.BigEndian.Uint64(m.data); n != goroutines*rounds {
		t.Errorf("the counter is %d, want %d", n, goroutines*rounds)
	}
	if want := bytes.Repeat([]byte{1<<goroutines - 1}, rounds); !bytes.Equal(m.data[512:][:rounds], want) {
		t.Errorf("bits got lost: % x", m.data[512:][:rounds])
	}
}

// A write that comes while COMPARE AND WRITE compares waits until it has written.
func TestWriteWaitsForCompareAndWrite(t *testing.T) {
	u, m := newUnit(t, nil)
	var other sync.WaitGroup
	m.afterRead = sync.OnceFunc(func() {
		other.Go(func() { wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 1), pattern(512, 7)), 512) })
		yield(1000) // it has every chance to come too early
	})
	wantGood(t, run(u, cas(0, 0, 1), make([]byte, 512), pattern(512, 3)), 1024)
	other.Wait()
	if !bytes.Equal(m.data[:512], pattern(512, 7)) {
		t.Error("the later write was overwritten")
	}
}

// yield lets other goroutines run.
func yield(times int) {
	for range times {
		runtime.Gosched()
	}
}

func TestOrWrite(t *testing.T) {
	u, m := newUnit(t, nil)
	n := 300 * 512 // more than one scratch buffer
	was, mask := pattern(n, 0x11), pattern(n, 0x3C)
	copy(m.data[5*512:], was)
	wantGood(t, run(u, cdb16(OpOrWrite16, 0x08, 5, 300), mask[:700], nil, mask[700:]), n)
	for i := range n {
		if m.data[5*512+i] != was[i]|mask[i] {
			t.Fatalf("byte %d is %#x, want %#x", i, m.data[5*512+i], was[i]|mask[i])
		}
	}
	if !m.isDurable() {
		t.Error("not durable")
	}
	wantGood(t, run(u, cdb16(OpOrWrite16, 0, 5, 0)), 0)
	m.fail("WriteV", errBroken)
	wantSense(t, run(u, cdb16(OpOrWrite16, 0, 5, 1), mask), Sense{Key: KeyMediumError, Code: ASCWriteError})
}

func TestWriteAndVerify(t *testing.T) {
	for _, cdb := range [][]byte{
		cdb10(OpWriteAndVerify10, 0, 9, 200), cdb12(OpWriteAndVerify12, 0x10, 9, 200), cdb16(OpWriteAndVerify16, 0, 9, 200),
		cdb10(OpWriteAndVerify10, 0x02, 9, 200), cdb12(OpWriteAndVerify12, 0x12, 9, 200), cdb16(OpWriteAndVerify16, 0x02, 9, 200),
	} {
		u, m := newUnit(t, func(c *UnitConfig, _ *memory) { c.WriteBack = true })
		data := pattern(200*512, 8)
		wantGood(t, run(u, cdb, data[:99], data[99:]), len(data))
		if !bytes.Equal(m.data[9*512:][:len(data)], data) || !m.isDurable() {
			t.Errorf("%s: not written, or not durable", CommandName(cdb))
		}
		if calls := m.called(); !slices.Equal(calls, []string{"WriteV", "Flush", "ReadV", "ReadV"}) {
			t.Errorf("%s called %v", CommandName(cdb), calls)
		}
		// The buffer changes after it was written: with BYTCHK that is found.
		flushed := false
		m.during = func() {
			if m.flushes > 1 && !flushed {
				flushed = true
				data[70000]++
			}
		}
		c := run(u, cdb, data)
		if cdb[1]&0x02 == 0 {
			wantGood(t, c, len(data))
		} else {
			wantSense(t, c, Sense{Key: KeyMiscompare, Code: ASCMiscompareDuringVerify, HasInfo: true, Info: 9 + 70000/512})
		}
		m.during = nil
		m.fail("ReadV", errBroken)
		wantSense(t, run(u, cdb, data), Sense{Key: KeyMediumError, Code: ASCUnrecoveredReadError})
	}
}

func TestPreFetch(t *testing.T) {
	u, m := newUnit(t, func(c *UnitConfig, _ *memory) { c.Limits.MaxTransfer = 300 })
	met := func(cdb []byte, want Status, reads int) {
		t.Helper()
		m.called()
		c := run(u, cdb)
		if c.Status != want || c.Sense != nil || c.Transferred != 0 || len(m.called()) != reads {
			t.Errorf("%v, want %v after %d reads", c, want, reads)
		}
	}
	met(cdb10(OpPreFetch10, 0, 5, 300), StatusConditionMet, 3)
	met(cdb10(OpPreFetch10, 0x02, 5, 1), StatusConditionMet, 1)
	met(cdb16(OpPreFetch16, 0, testBlocks-3, 0), StatusConditionMet, 1)
	met(cdb16(OpPreFetch16, 0, 0, 301), StatusGood, 3) // more than is read at once
	met(cdb16(OpPreFetch16, 0, 0, 0), StatusGood, 3)
	wantSense(t, run(u, cdb10(OpPreFetch10, 0, testBlocks, 0)), illegal(ASCLBAOutOfRange))
	wantSense(t, run(u, cdb16(OpPreFetch16, 0, 1, testBlocks)), illegal(ASCLBAOutOfRange))
	m.fail("ReadV", errBroken)
	wantSense(t, run(u, cdb10(OpPreFetch10, 0, 0, 1)), Sense{Key: KeyMediumError, Code: ASCUnrecoveredReadError})
}
