package bus

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"
)

type counters struct {
	reads, writes atomic.Uint64
}

// RangeStats is how often a range was accessed, by exits.
type RangeStats struct {
	Name   string `json:"name"` // empty: addresses that nobody has mapped
	Base   uint64 `json:"base"` // lowest address of that name now, 0 if unmapped
	Size   uint64 `json:"size"` // its size, 0 if unmapped
	Reads  uint64 `json:"reads"`
	Writes uint64 `json:"writes"`
}

// Total is the number of accesses.
func (r RangeStats) Total() uint64 { return r.Reads + r.Writes }

// Stats lists the ranges that were accessed, busiest first.
func (s *Space) Stats() []RangeStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	mapped := make(map[string]*entry)
	t := s.table.Load()
	for i := range t.entries {
		e := &t.entries[i]
		if mapped[e.name] == nil {
			mapped[e.name] = e
		}
	}
	list := []RangeStats{{Reads: s.unclaimed.reads.Load(), Writes: s.unclaimed.writes.Load()}}
	for name, c := range s.counters {
		r := RangeStats{Name: name, Reads: c.reads.Load(), Writes: c.writes.Load()}
		if e := mapped[name]; e != nil {
			r.Base, r.Size = e.base, e.last-e.base+1
		}
		list = append(list, r)
	}
	list = slices.DeleteFunc(list, func(r RangeStats) bool { return r.Total() == 0 })
	slices.SortFunc(list, func(a, b RangeStats) int {
		return cmp.Or(cmp.Compare(b.Total(), a.Total()), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// nameOf calls a handler by its own name, if it has one, or by its type.
func nameOf(h Handler) string {
	switch h := h.(type) {
	case interface{ Name() string }:
		return h.Name()
	case fmt.Stringer:
		return h.String()
	}
	return fmt.Sprintf("%T", h)
}
