package scsi

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"
)

// geometries are the logical and physical block lengths of volumes.
var geometries = []struct {
	name              string
	logical, physical uint32
	readCapacity16    string // bytes 8 to 15
	blockDescriptor   string
}{
	{"512n", 512, 512, "00000200 00 00 c000", "00000400 00000200"},
	{"512e", 512, 4096, "00000200 00 03 c000", "00000400 00000200"},
	{"4Kn", 4096, 4096, "00001000 00 00 c000", "00000400 00001000"},
}

// blockCommand is a command about blocks, with the size of its buffer and what
// the blocks hold afterwards.
type blockCommand struct {
	cdb  []byte
	data int // bytes
	want []byte
}

// commandsAt are commands of every form for n blocks at lba, which hold what old
// says, with data as their buffer; want is what the blocks hold afterwards.
func commandsAt(lba uint32, n uint16, old, data []byte) []blockCommand {
	block := len(data) / int(n)
	merged := bytes.Clone(old)
	for i := range merged {
		merged[i] |= data[i]
	}
	var list []blockCommand
	add := func(size int, want []byte, cdbs ...[]byte) {
		for _, cdb := range cdbs {
			list = append(list, blockCommand{cdb, size, want})
		}
	}
	l, m := uint64(lba), uint32(n)
	add(len(data), data, cdb6(OpWrite6, lba, uint8(n)), cdb10(OpWrite10, 0, lba, n), cdb12(OpWrite12, 0, lba, m), cdb16(OpWrite16, 0, l, m),
		cdb10(OpWriteAndVerify10, 0x02, lba, n), cdb12(OpWriteAndVerify12, 0x02, lba, m), cdb16(OpWriteAndVerify16, 0x02, l, m))
	add(len(data), merged, cdb16(OpOrWrite16, 0, l, m))
	add(block, bytes.Repeat(data[:block], int(n)), cdb10(OpWriteSame10, 0, lba, n), cdb16(OpWriteSame16, 0, l, m))
	add(0, make([]byte, len(data)), cdb16(OpWriteSame16, 0x01, l, m), cdb16(OpWriteSame16, 0x09, l, m))
	add(len(data), old, cdb6(OpRead6, lba, uint8(n)), cdb10(OpRead10, 0, lba, n), cdb12(OpRead12, 0, lba, m), cdb16(OpRead16, 0, l, m))
	add(0, old, cdb10(OpVerify10, 0, lba, n), cdb12(OpVerify12, 0, lba, m), cdb16(OpVerify16, 0, l, m),
		cdb10(OpPreFetch10, 0, lba, n), cdb16(OpPreFetch16, 0, l, m),
		cdb10(OpSynchronizeCache10, 0, lba, n), cdb16(OpSynchronizeCache16, 0, l, m))
	return list
}

// Each command moves and changes whole logical blocks at its address, aligned to
// physical blocks or not, and no others, up to the last block and no further.
func TestCommandsInEveryGeometry(t *testing.T) {
	const blocks = 64
	for _, g := range geometries {
		for _, at := range []struct {
			lba uint32
			n   uint16
		}{{0, 1}, {3, 8}, {40, 24}, {blocks - 1, 1}} {
			size := int(at.n) * int(g.logical)
			start := int(at.lba) * int(g.logical)
			content := pattern(blocks*int(g.logical), 0x42)
			old, data := content[start:start+size], pattern(size, 0x99)
			for _, c := range commandsAt(at.lba, at.n, old, data) {
				name := fmt.Sprintf("%s: %s", g.name, CommandName(c.cdb))
				u, m := newUnit(t, func(cfg *UnitConfig, m *memory) {
					cfg.BlockSize, cfg.PhysicalBlockSize = g.logical, g.physical
					m.data = bytes.Clone(content)
				})
				buffer := bytes.Clone(data[:c.data])
				r := run(u, c.cdb, buffer[:c.data/3], buffer[c.data/3:])
				if r.Sense != nil || r.Transferred != c.data {
					t.Errorf("%s: %v, want %d bytes", name, r, c.data)
				}
				want := slices.Concat(content[:start], c.want, content[start+size:])
				if !bytes.Equal(m.data, want) {
					t.Errorf("%s at %d: the medium is not as it should be", name, at.lba)
				}
				if op := Opcode(c.cdb[0]); (op == OpRead6 || op == OpRead10 || op == OpRead12 || op == OpRead16) && !bytes.Equal(buffer, old) {
					t.Errorf("%s at %d: wrong data", name, at.lba)
				}
			}
		}
		u, m := newUnit(t, func(cfg *UnitConfig, _ *memory) { cfg.BlockSize, cfg.PhysicalBlockSize = g.logical, g.physical })
		m.called()
		for _, c := range commandsAt(testBlocks-3, 4, make([]byte, 4*g.logical), make([]byte, 4*g.logical)) {
			wantSense(t, run(u, c.cdb, make([]byte, 4*g.logical)), illegal(ASCLBAOutOfRange))
		}
		if calls := m.called(); len(calls) != 0 {
			t.Errorf("%s: the medium was called: %v", g.name, calls)
		}
	}
}

// Addresses in sense data are those of logical blocks, and limits count them.
func TestSenseAndLimitsInEveryGeometry(t *testing.T) {
	for _, g := range geometries {
		u, _ := newUnit(t, func(cfg *UnitConfig, _ *memory) { cfg.BlockSize, cfg.PhysicalBlockSize = g.logical, g.physical })
		data := make([]byte, 20*g.logical)
		data[13*g.logical] = 1
		differs := Sense{Key: KeyMiscompare, Code: ASCMiscompareDuringVerify, HasInfo: true, Info: 5 + 13}
		wantSense(t, run(u, cdb10(OpVerify10, 0x02, 5, 20), data), differs)

		got := make([]byte, 64)
		wantGood(t, run(u, []byte{byte(OpInquiry), 1, 0xB0, 0, 64, 0}, got), 64)
		for at, want := range map[int]uint64{20: 4 << 30 / uint64(g.logical), 40: 256 << 20 / uint64(g.logical)} {
			if v := uint64(got[at])<<24 | uint64(got[at+1])<<16 | uint64(got[at+2])<<8 | uint64(got[at+3]); v != want {
				t.Errorf("%s: block limits at %d: %d, want %d", g.name, at, v, want)
			}
		}
		if u.config.Limits.MaxTransfer != 32<<20/g.logical {
			t.Errorf("%s: maximum transfer of %d blocks", g.name, u.config.Limits.MaxTransfer)
		}
		list := unmapParameters(unmapRange{7, 2})
		wantGood(t, unmapOf(u, list), len(list))
		wantGood(t, run(u, readCapacity16CDB(32), got), 32)
		if want := unhex(t, g.readCapacity16); !bytes.Equal(got[8:16], want) {
			t.Errorf("%s: READ CAPACITY(16) % x, want % x", g.name, got[8:16], want)
		}
		wantGood(t, run(u, []byte{byte(OpModeSense6), 0, 0x08, 0, 12, 0}, got), 12)
		if want := unhex(t, g.blockDescriptor); !bytes.Equal(got[4:12], want) {
			t.Errorf("%s: block descriptor % x, want % x", g.name, got[4:12], want)
		}
		last := uint64(testBlocks - 1)
		if s := lbaStatus(t, u, last, math.MaxUint32); !equalRanges(s, lbaRange{last, 1, 0}) {
			t.Errorf("%s: status of the last block %v", g.name, s)
		}
	}
}
