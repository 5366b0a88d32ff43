package pci

import "sync/atomic"

// MirrorSize is the size of a Mirror in bytes: a page.
const MirrorSize = 4096

// Mirror is memory that guests read instead of the first page of a Region. Its
// quadwords are as the processor has them, little-endian.
type Mirror [MirrorSize / 8]atomic.Uint64

// Mirrored is a Region whose first page can be read from memory: reading it has no
// effect, and what is read there changes only when the region says so.
type Mirrored interface {
	Region
	// Mirror has the region keep in m, from now on, what Read would answer for its
	// first page: a change is there before the Write that causes it returns, and
	// before an interrupt tells of it. nil ends that: when Mirror has returned, the
	// region touches the former Mirror no more, unless a Read is under way. It
	// reports false, and does nothing, where that page cannot be mirrored.
	//
	// It must not be called with locks held that Platform's methods take.
	Mirror(m *Mirror) bool
}

// mirror has a region mirrored, if it can be.
func mirror(r Region, m *Mirror) bool {
	under, ok := r.(Mirrored)
	return ok && under.Mirror(m)
}

// Mirror implements Mirrored.
func (w *window) Mirror(m *Mirror) bool {
	return !w.port && w.size >= MirrorSize && mirror(w.region, m)
}

// Mirror implements Mirrored. The table and the pending bits are never mirrored.
func (w *msixWindow) Mirror(m *Mirror) bool {
	page := span{0, MirrorSize}
	return !w.table.overlaps(page) && !w.pba.overlaps(page) && mirror(w.under, m)
}
