package bus

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/govmm/govmm/pci"
)

var _ Handler = pci.Region(nil)

// recorder answers reads with the low byte of each offset and notes accesses.
type recorder struct {
	name string
	log  *[]string
}

func (r *recorder) Name() string { return r.name }

func (r *recorder) Read(off uint64, p []byte) {
	*r.log = append(*r.log, fmt.Sprintf("%s r %d+%d", r.name, off, len(p)))
	for i := range p {
		p[i] = byte(off) + byte(i)
	}
}

func (r *recorder) Write(off uint64, p []byte) {
	*r.log = append(*r.log, fmt.Sprintf("%s w %d=% x", r.name, off, p))
}

func mustMap(t testing.TB, s *Space, base, size uint64, h Handler) {
	t.Helper()
	if err := s.Map(base, size, h); err != nil {
		t.Fatal(err)
	}
}

func testSpace(t testing.TB) (*Space, *[]string) {
	log := new([]string)
	s := NewSpace("ports", 0xffff)
	mustMap(t, s, 0x60, 1, &recorder{"kbd", log})
	mustMap(t, s, 0x3f8, 8, &recorder{"com1", log})
	mustMap(t, s, 0x400, 4, &recorder{"next", log})
	mustMap(t, s, 0xfffe, 2, &recorder{"top", log})
	return s, log
}

func TestAccessesReachTheirHandlers(t *testing.T) {
	const ff = 0xff
	tests := []struct {
		name string
		addr uint64
		n    int
		want []byte
		log  []string
	}{
		{"inside", 0x3fa, 2, []byte{2, 3}, []string{"com1 r 2+2"}},
		{"misaligned inside", 0x3f9, 4, []byte{1, 2, 3, 4}, []string{"com1 r 1+4"}},
		{"eight bytes", 0x3f8, 8, []byte{0, 1, 2, 3, 4, 5, 6, 7}, []string{"com1 r 0+8"}},
		{"nobody", 0x80, 4, []byte{ff, ff, ff, ff}, nil},
		{"past the end of a range", 0x60, 2, []byte{0, ff}, []string{"kbd r 0+1"}},
		{"before the start of a range", 0x3f6, 4, []byte{ff, ff, 0, 1}, []string{"com1 r 0+2"}},
		{"from one range into the next", 0x3fe, 4, []byte{6, 7, 0, 1}, []string{"com1 r 6+2", "next r 0+2"}},
		{"odd pieces", 0x3fd, 8, []byte{5, 6, 7, 0, 1, 2, 3, ff}, []string{"com1 r 5+2", "com1 r 7+1", "next r 0+4"}},
		{"size that is no power of two", 0x400, 3, []byte{0, 1, 2}, []string{"next r 0+2", "next r 2+1"}},
		{"past the end of the space", 0xffff, 4, []byte{1, ff, ff, ff}, []string{"top r 1+1"}},
		{"outside the space", 0x10000, 1, []byte{ff}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, log := testSpace(t)
			got := make([]byte, tt.n)
			s.Read(tt.addr, got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("read % x, want % x", got, tt.want)
			}
			if !slices.Equal(*log, tt.log) {
				t.Errorf("handlers saw %q, want %q", *log, tt.log)
			}
		})
	}
}

func TestWritesAreSplitLikeReads(t *testing.T) {
	s, log := testSpace(t)
	s.Write(0x3fe, []byte{1, 2, 3, 4})
	s.Write(0x5000, []byte{9})
	want := []string{"com1 w 6=01 02", "next w 0=03 04"}
	if !slices.Equal(*log, want) {
		t.Errorf("handlers saw %q, want %q", *log, want)
	}
}

func TestTopOfTheAddressSpace(t *testing.T) {
	var log []string
	s := NewSpace("memory", math.MaxUint64)
	mustMap(t, s, math.MaxUint64-1, 2, &recorder{"top", &log})
	got := make([]byte, 1)
	s.Read(math.MaxUint64, got)
	if got[0] != 1 {
		t.Errorf("read %#x, want 1", got[0])
	}
}

func TestMapRefusesWhatDoesNotFit(t *testing.T) {
	s, log := testSpace(t)
	h := &recorder{"new", log}
	tests := []struct {
		name       string
		base, size uint64
		complaint  string
	}{
		{"same range", 0x3f8, 8, "overlaps com1 at 0x3f8 to 0x3ff"},
		{"last address", 0x3ff, 1, "overlaps com1"},
		{"around", 0x3f0, 0x40, "overlaps com1"},
		{"into the next", 0x3f0, 9, "overlaps com1"},
		{"empty", 0x100, 0, "do not fit"},
		{"beyond the space", 0xffff, 2, "do not fit"},
		{"wraps", 0x10, math.MaxUint64, "do not fit"},
	}
	for _, tt := range tests {
		err := s.Map(tt.base, tt.size, h)
		if err == nil || !strings.Contains(err.Error(), tt.complaint) {
			t.Errorf("%s: got %v, want a word of %q", tt.name, err, tt.complaint)
		}
	}
	if err := s.Map(0x3f0, 8, h); err != nil {
		t.Errorf("a range that only touches another: %v", err)
	}
}

func TestUnmapFreesExactlyThatRange(t *testing.T) {
	s, log := testSpace(t)
	p := make([]byte, 1)
	s.Read(0x3f8, p) // the next look-up begins with this range
	s.Unmap(0x3f8, 4)
	s.Unmap(0x3f9, 7)
	s.Read(0x3f8, p)
	if len(*log) != 2 {
		t.Fatal("unmapping a part of a range took it away")
	}
	s.Unmap(0x3f8, 8)
	s.Read(0x3f8, p)
	if p[0] != 0xff || len(*log) != 2 {
		t.Error("the range still answers after Unmap")
	}
	mustMap(t, s, 0x3f8, 8, &recorder{"com1", log})
	s.Read(0x3f8, p)
	if p[0] != 0 {
		t.Error("a range that was mapped again does not answer")
	}
}

func TestStatsNameTheTopTalkers(t *testing.T) {
	s, log := testSpace(t)
	p := make([]byte, 1)
	for range 3 {
		s.Write(0x3f8, p)
	}
	s.Read(0x3fd, p)
	s.Read(0x80, p)
	s.Read(0x81, p)
	s.Read(0x60, p)
	s.Unmap(0x60, 1)
	want := []RangeStats{
		{"com1", 0x3f8, 8, 1, 3},
		{"", 0, 0, 2, 0},
		{"kbd", 0, 0, 1, 0},
	}
	if got := s.Stats(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	mustMap(t, s, 0x1000, 1, &recorder{"kbd", log})
	s.Read(0x1000, p)
	if got := s.Stats()[2]; got != (RangeStats{"kbd", 0x1000, 1, 2, 0}) {
		t.Errorf("after it moved: %+v", got)
	}
}

// answer reads as a constant.
type answer byte

func (a answer) Read(_ uint64, p []byte) { fill(p, byte(a)) }
func (answer) Write(uint64, []byte)      {}

func TestLookupsDuringChanges(t *testing.T) {
	s := NewSpace("memory", math.MaxUint64)
	mustMap(t, s, 0x1000, 0x1000, answer(1))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			p := make([]byte, 4)
			for {
				select {
				case <-stop:
					return
				default:
				}
				s.Read(0x1ff8, p)
				if p[0] != 1 {
					t.Errorf("a range that is always there read %#x", p[0])
					return
				}
				s.Read(0x3000, p)
				if p[0] != 2 && p[0] != 0xff {
					t.Errorf("a range that comes and goes read %#x", p[0])
					return
				}
			}
		})
	}
	for range 2000 {
		mustMap(t, s, 0x3000, 4, answer(2))
		mustMap(t, s, 0x10, 4, answer(3))
		s.Unmap(0x10, 4)
		s.Unmap(0x3000, 4)
	}
	close(stop)
	readers.Wait()
}

func BenchmarkWrite(b *testing.B) {
	s := NewSpace("memory", math.MaxUint64)
	for i := range uint64(16) {
		mustMap(b, s, i<<20, 0x4000, answer(i))
	}
	p := make([]byte, 4)
	for b.Loop() {
		s.Write(5<<20+0x40, p)
	}
}
