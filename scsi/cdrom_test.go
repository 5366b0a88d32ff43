package scsi

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const cdBlocks = 400

func newCD(t testing.TB) (*Unit, *memory) {
	return newUnit(t, func(c *UnitConfig, m *memory) {
		c.CDROM, c.BlockSize = true, cdBlockSize
		m.data = pattern(cdBlocks*cdBlockSize, 9)
	})
}

func TestCDROMReads(t *testing.T) {
	u, m := newCD(t)
	buf := make([]byte, 3*cdBlockSize)
	for _, cdb := range [][]byte{cdb10(OpRead10, 0, 397, 3), cdb12(OpRead12, 0, 397, 3)} {
		clear(buf)
		wantGood(t, run(u, cdb, buf), len(buf))
		if !bytes.Equal(buf, m.data[397*cdBlockSize:]) {
			t.Errorf("% x reads something else", cdb)
		}
	}
	wantSense(t, run(u, cdb10(OpRead10, 0, 398, 3), buf), illegal(ASCLBAOutOfRange))
	capacity := make([]byte, 8)
	wantGood(t, run(u, cdb10(OpReadCapacity10, 0, 0, 0), capacity), 8)
	if want := []byte{0, 0, 0x01, 0x8F, 0, 0, 0x08, 0}; !bytes.Equal(capacity, want) {
		t.Errorf("capacity % x, want % x", capacity, want)
	}
	var c Command
	c.Data = [][]byte{buf}
	if u.Read(&c, 0, 3, false); c.Status != StatusGood || !bytes.Equal(buf, m.data[:len(buf)]) {
		t.Errorf("%v", &c)
	}
	if u.Write(&c, 0, 3, false); c.Status != StatusCheckCondition {
		t.Errorf("written: %v", &c)
	}
	wantSense(t, run(u, cdb10(OpWrite10, 0, 0, 1), buf), illegal(ASCInvalidOpcode))
}

// What the drive tells of itself and of its disc, as a tool that was not written
// here reads it.
func TestCDROMAgainstReferee(t *testing.T) {
	u, _ := newCD(t)
	buf := make([]byte, 256)
	c := run(u, []byte{0x12, 0, 0, 0, 255, 0}, buf)
	wantWords(t, decode(t, buf[:c.Transferred], "sg_inq", "--raw", "--inhex=FILE", "-d"), "RMB=1", "Peripheral device type: cd/dvd")
}

func TestCDROMTableOfContents(t *testing.T) {
	u, _ := newCD(t)
	for _, test := range []struct {
		name string
		cdb  []byte
		want []byte
	}{
		{"tracks", []byte{0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0},
			[]byte{0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 0, 0x01, 0x90}},
		{"tracks, in minutes", []byte{0x43, 2, 0, 0, 0, 0, 1, 0, 255, 0},
			[]byte{0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x14, 0xAA, 0, 0, 0, 7, 25}},
		{"lead-out", []byte{0x43, 0, 0, 0, 0, 0, 0xAA, 0, 255, 0},
			[]byte{0, 10, 1, 1, 0, 0x14, 0xAA, 0, 0, 0, 0x01, 0x90}},
		{"sessions", []byte{0x43, 0, 1, 0, 0, 0, 0, 0, 255, 0},
			[]byte{0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0}},
		{"sessions, as drives of old had it", []byte{0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0x40},
			[]byte{0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0}},
		{"cut", []byte{0x43, 0, 0, 0, 0, 0, 0, 0, 4, 0}, []byte{0, 18, 1, 1}},
	} {
		buf := make([]byte, 64)
		c := run(u, test.cdb, buf)
		if c.Status != StatusGood || !slices.Equal(buf[:c.Transferred], test.want) {
			t.Errorf("%s: %v, % x, want % x", test.name, c, buf[:c.Transferred], test.want)
		}
	}
	wantSense(t, run(u, []byte{0x43, 0, 0, 0, 0, 0, 2, 0, 255, 0}, make([]byte, 64)), inCDB(6, 7))
	wantSense(t, run(u, []byte{0x43, 0, 5, 0, 0, 0, 0, 0, 255, 0}, make([]byte, 64)), inCDB(2, 3))
}

// The tray opens unless the host has locked it, a drive with an open tray has no
// disc, and after it is closed a host that looks learns that the disc may be
// another one.
func TestCDROMTray(t *testing.T) {
	u, _ := newCD(t)
	ready, eject, load := []byte{0, 0, 0, 0, 0, 0}, []byte{0x1B, 0, 0, 0, 2, 0}, []byte{0x1B, 0, 0, 0, 3, 0}
	event := func() []byte {
		b := make([]byte, 8)
		wantGood(t, run(u, []byte{0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0}, b), 8)
		return b[4:6]
	}
	if got := event(); !slices.Equal(got, []byte{0, 2}) {
		t.Errorf("at first: event % x", got)
	}
	wantGood(t, run(u, []byte{0x1E, 0, 0, 0, 1, 0}), 0)
	wantSense(t, run(u, eject), illegal(codeRemovalDenied))
	wantGood(t, run(u, []byte{0x1E, 0, 0, 0, 0, 0}), 0)
	wantGood(t, run(u, eject), 0)
	noDisc := Sense{Key: KeyNotReady, Code: codeTrayOpen}
	wantSense(t, run(u, ready), noDisc)
	wantSense(t, run(u, cdb10(OpRead10, 0, 0, 1), make([]byte, cdBlockSize)), noDisc)
	var c Command
	c.Data = [][]byte{make([]byte, cdBlockSize)}
	if u.Read(&c, 0, 1, false); c.Status != StatusCheckCondition {
		t.Errorf("read with the tray open: %v", &c)
	}
	for _, want := range [][]byte{{3, 1}, {0, 1}} {
		if got := event(); !slices.Equal(got, want) {
			t.Errorf("tray open: event % x, want % x", got, want)
		}
	}
	wantGood(t, run(u, load), 0)
	if got := event(); !slices.Equal(got, []byte{2, 2}) {
		t.Errorf("tray closed again: event % x", got)
	}
	wantSense(t, run(u, ready), Sense{Key: KeyUnitAttention, Code: codeMediumChanged})
	wantGood(t, run(u, ready), 0)
	wantGood(t, run(u, eject), 0)
	u.Reset()
	wantGood(t, run(u, ready), 0)
}

// The rows are sorted, have names and CDBs of their group's length, and whatever
// bits a host sets, a command ends.
func TestCDROMCommands(t *testing.T) {
	for i, r := range cdCommands().rows {
		if i > 0 && cdCommands().rows[i-1].op >= r.op {
			t.Errorf("%s is not in order", r.name)
		}
		if want := [8]int{6, 10, 10, 0, 16, 12, 0, 0}[r.op>>5]; len(r.usage) != want || r.usage[0] != byte(r.op) {
			t.Errorf("%s has a CDB of %d bytes, %#x", r.name, len(r.usage), r.usage[0])
		}
		if strings.ToUpper(r.name) != r.name || CommandName(r.usage) != r.name {
			t.Errorf("%q is called %q", r.name, CommandName(r.usage))
		}
	}
	u, _ := newCD(t)
	random := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		row := &cdCommands().rows[random.IntN(len(cdCommands().rows))]
		cdb := slices.Clone(row.usage)
		for i := 1; i < len(cdb); i++ {
			cdb[i] &= byte(random.Uint32() & random.Uint32())
			if random.IntN(30) == 0 {
				cdb[i] = byte(random.Uint32())
			}
		}
		execute(t, u, cdb, uint8(random.IntN(20)/19), random.IntN(4096), 1+random.IntN(4))
	}
}

func FuzzCDROM(f *testing.F) {
	for _, r := range cdCommands().rows {
		cdb := make([]byte, len(r.usage))
		cdb[0] = byte(r.op)
		f.Add(cdb, uint8(0), uint16(64), uint8(0))
		f.Add(r.usage, uint8(0), uint16(2048), uint8(1))
	}
	f.Fuzz(func(t *testing.T, cdb []byte, lun uint8, n uint16, elements uint8) {
		u, _ := newCD(t)
		execute(t, u, cdb, lun, int(n), int(elements%16))
		execute(t, u, []byte{0x1B, 0, 0, 0, 2, 0}, 0, 0, 0) // eject
		execute(t, u, cdb, lun, int(n), int(elements%16))
	})
}
