package scsi

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// fence stands around the initiator's buffers.
const fence = 64

// execute runs a CDB with a buffer of n bytes in the given number of elements and
// checks what must hold for every command.
func execute(t testing.TB, u *Unit, cdb []byte, lun uint8, n, elements int) {
	t.Helper()
	executeOn(t, u, cdb, lun, bytes.Repeat([]byte{0x5A}, n), elements)
}

// executeOn is execute for a buffer with the given content.
func executeOn(t testing.TB, u *Unit, cdb []byte, lun uint8, content []byte, elements int) {
	t.Helper()
	n := len(content)
	memory := bytes.Repeat([]byte{0x5A}, n+2*fence)
	copy(memory[fence:], content)
	buffer := memory[fence : fence+n : fence+n]
	c := &Command{CDB: slices.Clone(cdb), LUN: lun}
	for rest := buffer; elements > 0; elements-- {
		k := len(rest) / elements
		c.Data = append(c.Data, rest[:k:k])
		rest = rest[k:]
	}
	u.Execute(c)

	if !bytes.Equal(c.CDB, cdb) {
		t.Errorf("CDB % x was changed", cdb)
	}
	outside := slices.Concat(memory[:fence], memory[fence+n:])
	if !bytes.Equal(outside, bytes.Repeat([]byte{0x5A}, 2*fence)) {
		t.Errorf("% x wrote outside its buffer of %d bytes", cdb, n)
	}
	if c.Transferred < 0 || c.Transferred > n {
		t.Errorf("% x: %d bytes of %d transferred", cdb, c.Transferred, n)
	}
	switch c.Status {
	case StatusGood, StatusConditionMet:
		if c.Sense != nil || c.Err != nil {
			t.Errorf("% x: %v with sense % x", cdb, c, c.Sense)
		}
	case StatusCheckCondition:
		s, ok := ParseSense(c.Sense)
		if !ok || s.OK() || len(c.Sense) > MaxSenseSize || c.Transferred != 0 {
			t.Errorf("% x: %v with sense % x", cdb, c, c.Sense)
		}
		if s.Field.In == InCDB && int(s.Field.Byte) >= len(cdb) {
			t.Errorf("% x: the field pointer points beyond the CDB: %v", cdb, s)
		}
	case StatusReservationConflict:
		if c.Sense != nil || c.Err != nil || c.Transferred != 0 {
			t.Errorf("% x: %v", cdb, c)
		}
	default:
		t.Errorf("% x: %v", cdb, c)
	}
	_ = c.String()
}

// hostileUnit is small, so that what random commands do is soon done.
func hostileUnit(t testing.TB, block uint32) *Unit {
	u, _ := newUnit(t, func(c *UnitConfig, m *memory) {
		c.BlockSize = block
		m.data = make([]byte, 64*block)
	})
	return u
}

// Every operation code with CDBs of every length: zeroes, ones and noise.
func TestEveryOpcodeAndLength(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, block := range []uint32{512, 4096} {
		u := hostileUnit(t, block)
		for op := range 256 {
			for length := range 33 {
				for fill := range 4 {
					cdb := make([]byte, length)
					for i := range cdb {
						switch fill {
						case 1:
							cdb[i] = 0xFF
						case 2, 3:
							cdb[i] = byte(random.Uint32())
						}
					}
					if length > 0 {
						cdb[0] = byte(op)
					}
					execute(t, u, cdb, 0, random.IntN(3*int(block)), 1+random.IntN(4))
				}
			}
		}
	}
}

// Commands that are right but for their numbers, from many goroutines at once.
func TestManyAtOnce(t *testing.T) {
	u := hostileUnit(t, 512)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, 3))
			for range 2000 {
				row := &blockCommands().rows[random.IntN(len(blockCommands().rows))]
				cdb := slices.Clone(row.usage)
				for i := 1; i < len(cdb); i++ {
					if row.action == noAction || i > 1 {
						// Few bits, so that addresses and lengths are often in range.
						cdb[i] &= byte(random.Uint32() & random.Uint32() & random.Uint32() & random.Uint32())
					}
				}
				execute(t, u, cdb, 0, random.IntN(4096), 1+random.IntN(4))
				if random.IntN(50) == 0 {
					u.RaiseAttention(ASC(random.Uint32()))
				}
				if random.IntN(50) == 0 {
					_ = u.SetWriteCache(random.IntN(2) == 0)
				}
			}
		})
	}
	wg.Wait()
}

// listCommands are those that take a parameter list, by the place of its length,
// of 8, 16 or 32 bits, in the CDB.
var listCommands = []struct {
	cdb             []byte
	lengthAt, bytes int
}{
	{[]byte{byte(OpModeSelect6), 0x10, 5: 0}, 4, 1},
	{[]byte{byte(OpModeSelect10), 0x10, 9: 0}, 7, 2},
	{[]byte{byte(OpSendDiagnostic), 0x10, 5: 0}, 3, 2},
	{[]byte{byte(OpUnmap), 9: 0}, 7, 2},
	{[]byte{byte(OpSanitize), saSanitizeOverwrite, 9: 0}, 7, 2},
	{[]byte{byte(OpPersistReserveOut), saRegister, 9: 0}, 5, 4},
	{[]byte{byte(OpPersistReserveOut), saReserve, 5, 9: 0}, 5, 4},
	{[]byte{byte(OpPersistReserveOut), saPreempt, 7, 9: 0}, 5, 4},
	{[]byte{byte(OpPersistReserveOut), saRegisterAndIgnore, 9: 0}, 5, 4},
	{[]byte{byte(OpPersistReserveOut), saRegisterAndMove, 9: 0}, 5, 4},
}

// executeList runs a command of listCommands with a list, and a length that may
// say otherwise.
func executeList(t testing.TB, u *Unit, which int, list []byte, length uint16) {
	t.Helper()
	c := listCommands[which%len(listCommands)]
	cdb := slices.Clone(c.cdb)
	cdb[c.lengthAt+c.bytes-1] = byte(length)
	if c.bytes > 1 {
		cdb[c.lengthAt+c.bytes-2] = byte(length >> 8)
	}
	executeOn(t, u, cdb, 0, list, 3)
}

// Parameter lists of noise that is mostly small numbers, cut anywhere.
func TestParameterListsOfNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	u := hostileUnit(t, 512)
	for range 5000 {
		list := make([]byte, random.IntN(40))
		for i := range list {
			list[i] = byte(random.Uint32() & random.Uint32() & random.Uint32())
		}
		length := len(list)
		if random.IntN(4) == 0 {
			length = random.IntN(64)
		}
		executeList(t, u, random.IntN(len(listCommands)), list, uint16(length))
	}
}

func FuzzParameterList(f *testing.F) {
	f.Add(uint8(0), append(make([]byte, 4), caching(true)...), uint16(24))
	f.Add(uint8(1), append(make([]byte, 8), control(4, 8)...), uint16(20))
	f.Add(uint8(3), unmapParameters(unmapRange{0, 1}), uint16(24))
	f.Add(uint8(4), overwriteList(0x81, 1, 2, 3), uint16(7))
	for which := range listCommands {
		f.Add(uint8(which), make([]byte, 24), uint16(24))
	}
	f.Fuzz(func(t *testing.T, which uint8, list []byte, length uint16) {
		u := hostileUnit(t, 512)
		executeList(t, u, int(which), list, length)
		executeList(t, u, int(which)+1, list, length)
	})
}

// The initiator may change its memory while a command looks at it: what was
// checked is what is done.
func TestBufferChangesMeanwhile(t *testing.T) {
	u, m := newUnit(t, func(_ *UnitConfig, m *memory) { m.data = bytes.Repeat([]byte{0xAA}, testBlocks*512) })
	want := bytes.Clone(m.data)

	list := unmapParameters(unmapRange{0, 1}, unmapRange{5, 1})
	m.during = func() { copy(list[8:], bytes.Repeat([]byte{0xFF}, 32)) }
	wantGood(t, unmapOf(u, list), 40)
	clear(want[:512])
	clear(want[5*512 : 6*512])

	block := pattern(512, 1)
	copy(want[10*512:], bytes.Repeat(block, 500))
	m.during = func() { clear(block) }
	wantGood(t, run(u, cdb10(OpWriteSame10, 0, 10, 500), block), 512)
	if !bytes.Equal(m.data, want) {
		t.Error("what the initiator wrote after it had sent the command came through")
	}
}

func FuzzExecute(f *testing.F) {
	for _, r := range blockCommands().rows {
		cdb := make([]byte, len(r.usage))
		cdb[0] = byte(r.op)
		if r.action != noAction {
			cdb[1] = byte(r.action)
		}
		f.Add(cdb, uint8(0), uint16(0), uint8(0))
		f.Add(r.usage, uint8(0), uint16(512), uint8(1))
	}
	for _, g := range golden {
		f.Add(unhex(f, g.cdb), uint8(0), uint16(255), uint8(2))
	}
	f.Add(cdb10(OpRead10, 0x08, 63, 1), uint8(0), uint16(512), uint8(3))
	f.Add(cdb10(OpVerify10, 0x02, 0, 2), uint8(0), uint16(1024), uint8(2))
	f.Add(cdb16(OpWriteSame16, 0x09, 0, 64), uint8(0), uint16(0), uint8(0))
	f.Add(cdb16(OpRead16, 0, 1<<64-1, 1<<32-1), uint8(7), uint16(4096), uint8(1))
	f.Fuzz(func(t *testing.T, cdb []byte, lun uint8, n uint16, elements uint8) {
		execute(t, hostileUnit(t, 512), cdb, lun, int(n), int(elements%16))
	})
}
