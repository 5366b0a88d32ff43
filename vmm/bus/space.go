// Package bus is an address space of a machine, ports or memory-mapped
// registers: it finds the handler of an access that the guest made.
//
// # Concurrency
//
// Read and Write take no lock and wait for nobody: they look up the address in a
// table that is never changed, only replaced. Map and Unmap may be called at any
// time, also by a handler. An access that began before Unmap returned may still
// be in its handler afterwards.
package bus

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// Handler answers accesses to a range. off is relative to the start of the
// range; p is 1, 2, 4 or 8 bytes, little-endian, and lies wholly inside. It is
// called by any vCPU at any time, several at once, must not wait, and must not
// keep p. pci.Region is a Handler.
type Handler interface {
	Read(off uint64, p []byte)
	Write(off uint64, p []byte)
}

// Space is an address space. What nobody has mapped reads as all ones and
// ignores writes, as on a PC.
type Space struct {
	name  string
	limit uint64 // last address

	table     atomic.Pointer[table]
	unclaimed counters

	mu       sync.Mutex
	counters map[string]*counters // by range name, kept when a range is unmapped; guarded by mu
}

// NewSpace returns an empty space of the addresses 0 to last.
func NewSpace(name string, last uint64) *Space {
	s := &Space{name: name, limit: last, counters: make(map[string]*counters)}
	s.table.Store(&table{})
	return s
}

// table is a state of the space. Only hint is ever changed.
type table struct {
	entries []entry // by base
	hint    atomic.Uint32
}

type entry struct {
	base, last uint64 // inclusive
	name       string
	handler    Handler
	counters   *counters
}

func (e *entry) contains(addr uint64) bool { return addr-e.base <= e.last-e.base }

// find returns the entry that contains addr, or nil.
func (t *table) find(addr uint64) *entry {
	if hint := int(t.hint.Load()); hint < len(t.entries) && t.entries[hint].contains(addr) {
		return &t.entries[hint]
	}
	i := t.after(addr) - 1
	if i < 0 || !t.entries[i].contains(addr) {
		return nil
	}
	t.hint.Store(uint32(i))
	return &t.entries[i]
}

// after is the index of the first entry that begins after addr.
func (t *table) after(addr uint64) int {
	return sort.Search(len(t.entries), func(i int) bool { return t.entries[i].base > addr })
}

// Map gives the size addresses from base to h. A range that does not exist in
// this space or overlaps another is refused.
func (s *Space) Map(base, size uint64, h Handler) error {
	return s.MapNamed(nameOf(h), base, size, h)
}

// MapNamed is Map with a name for the statistics; accesses to all ranges of one
// name are counted together.
func (s *Space) MapNamed(name string, base, size uint64, h Handler) error {
	last := base + size - 1
	if size == 0 || last < base || last > s.limit {
		return fmt.Errorf("%s %s: %#x addresses from %#x do not fit into 0 to %#x", s.name, name, size, base, s.limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.table.Load()
	i := old.after(base)
	for _, j := range []int{i - 1, i} {
		if j < 0 || j >= len(old.entries) {
			continue
		}
		if e := &old.entries[j]; e.base <= last && base <= e.last {
			return fmt.Errorf("%s %s at %#x to %#x: overlaps %s at %#x to %#x", s.name, name, base, last, e.name, e.base, e.last)
		}
	}
	c := s.counters[name]
	if c == nil {
		c = new(counters)
		s.counters[name] = c
	}
	e := entry{base, last, name, h, c}
	s.table.Store(&table{entries: slices.Insert(slices.Clone(old.entries), i, e)})
	return nil
}

// Unmap takes out the range that was mapped with the same base and size. It does
// nothing if there is none.
func (s *Space) Unmap(base, size uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.table.Load()
	i := old.after(base) - 1
	if i < 0 || old.entries[i].base != base || old.entries[i].last != base+size-1 {
		return
	}
	s.table.Store(&table{entries: slices.Delete(slices.Clone(old.entries), i, i+1)})
}

// Read answers a guest's read of len(p) bytes at addr, 1 to 8.
func (s *Space) Read(addr uint64, p []byte) {
	t := s.table.Load()
	for len(p) > 0 {
		e, n := s.piece(t, addr, len(p))
		if e == nil {
			fill(p[:n], 0xff)
			s.unclaimed.reads.Add(1)
		} else {
			e.handler.Read(addr-e.base, p[:n])
			e.counters.reads.Add(1)
		}
		p = p[n:]
		addr += uint64(n)
	}
}

// Write passes on a guest's write of len(p) bytes at addr, 1 to 8.
func (s *Space) Write(addr uint64, p []byte) {
	t := s.table.Load()
	for len(p) > 0 {
		e, n := s.piece(t, addr, len(p))
		if e == nil {
			s.unclaimed.writes.Add(1)
		} else {
			e.handler.Write(addr-e.base, p[:n])
			e.counters.writes.Add(1)
		}
		p = p[n:]
		addr += uint64(n)
	}
}

// piece is how much of an access of n bytes at addr goes to one handler at once,
// and whose it is (nil: nobody's). An access that lies in one range and has a
// size that an instruction can have stays whole, whatever its alignment; one
// that crosses the end of a range is split as a bus would.
func (s *Space) piece(t *table, addr uint64, n int) (*entry, int) {
	if addr > s.limit {
		return nil, n
	}
	e := t.find(addr)
	if e == nil {
		if i := t.after(addr); i < len(t.entries) {
			n = int(min(uint64(n), t.entries[i].base-addr))
		}
		return nil, n
	}
	if inside := e.last - addr; inside < uint64(n-1) {
		n = int(inside) + 1
	}
	switch {
	case n >= 8:
		n = 8
	case n >= 4:
		n = 4
	case n == 3:
		n = 2
	}
	return e, n
}

func fill(p []byte, b byte) {
	for i := range p {
		p[i] = b
	}
}
