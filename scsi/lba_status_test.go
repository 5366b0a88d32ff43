package scsi

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"slices"
	"testing"
)

// mapped is a memory that knows what of it is allocated, in clusters.
type mapped struct {
	*memory
	cluster   int64
	allocated []bool
	shortest  bool // says no more than it has to
	err       error
}

func (m *mapped) Allocated(off, n int64) (bool, int64, error) {
	if off < 0 || n <= 0 || off+n > int64(len(m.allocated))*m.cluster {
		m.t.Errorf("Allocated(%d, %d)", off, n)
	}
	first := off / m.cluster
	last := first
	for !m.shortest && (last+1)*m.cluster < off+n && m.allocated[last+1] == m.allocated[first] {
		last++
	}
	return m.allocated[first], min(n, (last+1)*m.cluster-off), m.err
}

// newMappedUnit returns a unit whose clusters are allocated as the letters of
// layout say: A or -.
func newMappedUnit(t testing.TB, block uint32, cluster int64, layout string) (*Unit, *mapped) {
	var m *mapped
	u, _ := newUnit(t, func(c *UnitConfig, base *memory) {
		c.BlockSize = block
		base.data = make([]byte, cluster*int64(len(layout)))
		m = &mapped{memory: base, cluster: cluster}
		for _, l := range layout {
			m.allocated = append(m.allocated, l == 'A')
		}
		c.Medium = m
	})
	return u, m
}

func lbaStatusCDB(lba uint64, allocation uint32) []byte {
	return cdb16(OpServiceActionIn16, saGetLBAStatus, lba, allocation)
}

type lbaRange struct {
	lba    uint64
	blocks uint32
	status byte
}

func lbaStatus(t testing.TB, u *Unit, lba uint64, allocation uint32) []lbaRange {
	t.Helper()
	got := make([]byte, 8192)
	c := run(u, lbaStatusCDB(lba, allocation), got)
	if n := int(binary.BigEndian.Uint32(got)) + 4; c.Status != StatusGood || n != c.Transferred {
		t.Fatalf("%v, length %d", c, n)
	}
	var list []lbaRange
	for d := got[8:c.Transferred]; len(d) > 0; d = d[16:] {
		list = append(list, lbaRange{binary.BigEndian.Uint64(d), binary.BigEndian.Uint32(d[8:]), d[12]})
	}
	return list
}

func equalRanges(a []lbaRange, b ...lbaRange) bool { return slices.Equal(a, b) }

func TestGetLBAStatus(t *testing.T) {
	for _, block := range []uint32{512, 4096} {
		u, m := newMappedUnit(t, block, 4*int64(block), "AA---A-")
		all := []lbaRange{{0, 8, 0}, {8, 12, 1}, {20, 4, 0}, {24, 4, 1}}
		for _, shortest := range []bool{false, true} {
			m.shortest = shortest
			for n := range 4 {
				allocation := uint32(8 + 16*(n+1))
				if got := lbaStatus(t, u, 0, allocation); !equalRanges(got, all[:n+1]...) {
					t.Errorf("allocation length %d: %v", allocation, got)
				}
			}
			if got := lbaStatus(t, u, 0, math.MaxUint32); !equalRanges(got, all...) {
				t.Errorf("all: %v", got)
			}
			if got := lbaStatus(t, u, 9, 24); !equalRanges(got, lbaRange{9, 11, 1}) {
				t.Errorf("from 9: %v", got)
			}
			if got := lbaStatus(t, u, 27, 100); !equalRanges(got, lbaRange{27, 1, 1}) {
				t.Errorf("the last block: %v", got)
			}
		}
		wantSense(t, run(u, lbaStatusCDB(28, 24)), illegal(ASCLBAOutOfRange))
		wantGood(t, run(u, lbaStatusCDB(0, 0), make([]byte, 24)), 0)
		m.err = os.ErrClosed
		wantSense(t, run(u, lbaStatusCDB(0, 24), make([]byte, 24)), Sense{Key: KeyNotReady, Code: ASCNotReadyCauseNotReportable})
	}
}

func TestGetLBAStatusGolden(t *testing.T) {
	u, _ := newMappedUnit(t, 512, 65536, "A--")
	got := make([]byte, 64)
	wantGood(t, run(u, lbaStatusCDB(1, 64), got), 40)
	want := unhex(t, `00000024 00000000
		0000000000000001 0000007f 00 000000
		0000000000000080 00000100 01 000000`)
	if !bytes.Equal(got[:40], want) {
		t.Errorf("% x", got[:40])
	}
	wantWords(t, decode(t, hexText(got[:40]), "sg_get_lba_status", "--inhex=FILE", "--maxlen=64"),
		"[1] LBA: 0x0000000000000001 blocks: 127 mapped", "[2] LBA: 0x0000000000000080 blocks: 256 deallocated")
}

// Blocks larger than what the medium allocates are deallocated as a whole only.
func TestGetLBAStatusOfSmallClusters(t *testing.T) {
	u, _ := newMappedUnit(t, 4096, 1024, "----"+"A---"+"---A"+"----"+"AAAA")
	if got := lbaStatus(t, u, 0, 200); !equalRanges(got, lbaRange{0, 1, 1}, lbaRange{1, 2, 0}, lbaRange{3, 1, 1}, lbaRange{4, 1, 0}) {
		t.Error(got)
	}
}

// However much there is to tell, a response ends soon.
func TestGetLBAStatusIsBounded(t *testing.T) {
	layout := bytes.Repeat([]byte("A-"), 3000)
	u, m := newMappedUnit(t, 512, 512, string(layout))
	if got := lbaStatus(t, u, 0, math.MaxUint32); len(got) != maxLBAStatus {
		t.Errorf("%d descriptors", len(got))
	}
	for i := range m.allocated {
		m.allocated[i] = true
	}
	m.shortest = true
	if got := lbaStatus(t, u, 0, 24); !equalRanges(got, lbaRange{0, maxMapperVisits, 0}) {
		t.Error(got)
	}
}

// endless is a large medium of which nothing is allocated.
type endless struct{ sized }

func (endless) Allocated(_, n int64) (bool, int64, error) { return false, n, nil }

func TestGetLBAStatusOfLargeUnit(t *testing.T) {
	u, err := NewUnit(UnitConfig{Medium: endless{1 << 42}})
	if err != nil {
		t.Fatal(err)
	}
	const most = math.MaxUint32
	if got := lbaStatus(t, u, 0, 200); !equalRanges(got, lbaRange{0, most, 1}, lbaRange{most, most, 1}, lbaRange{2 * most, 2, 1}) {
		t.Error(got)
	}
}

// Without a Mapper, or without thin provisioning, there is no such command.
func TestGetLBAStatusIsOptional(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, m *memory) { c.Medium = struct{ Medium }{m} })
	wantSense(t, run(u, lbaStatusCDB(0, 24), make([]byte, 24)), inCDB(1, 4))
	thick, m := newMappedUnit(t, 512, 512, "AA")
	m.discard = false
	wantSense(t, run(thick, lbaStatusCDB(0, 24), make([]byte, 24)), inCDB(1, 4))
}
