package pci

import "sync"

// window is a range that a BAR decodes. Its position in the machine is the
// decoder's. It is the Region that the platform gets, and says by its name whose
// it is.
type window struct {
	name   string
	port   bool // ports, not memory
	size   uint64
	region Region

	// Guarded by decoder.mu.
	base   uint64 // where the registers say
	wanted bool   // the registers say that it is decoded
	mapped bool   // the platform has it at base
}

// Name tells the function and its BAR.
func (w *window) Name() string { return w.name }

// Read implements Region.
func (w *window) Read(off uint64, p []byte) { w.region.Read(off, p) }

// Write implements Region.
func (w *window) Write(off uint64, p []byte) { w.region.Write(off, p) }

// wish is what a function's registers say about a window.
type wish struct {
	w      *window
	base   uint64
	wanted bool
}

// decoder keeps the platform's address spaces as the BARs of all functions say.
// Where two ranges collide the one that came first stays; the other one is
// tried again whenever something moved.
type decoder struct {
	platform Platform

	mu      sync.Mutex
	windows []*window // guarded by mu: those that are wanted, oldest first
}

// update moves windows to where they are wanted.
func (d *decoder) update(wishes []wish) {
	d.mu.Lock()
	defer d.mu.Unlock()
	moved := false
	for _, v := range wishes {
		if v.wanted == v.w.wanted && (!v.wanted || v.base == v.w.base) {
			continue
		}
		d.remove(v.w)
		moved = true
		if v.wanted {
			v.w.base, v.w.wanted = v.base, true
			d.windows = append(d.windows, v.w)
		}
	}
	if moved {
		d.mapAll()
	}
}

// retry maps what was refused, as far as it fits now.
func (d *decoder) retry() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mapAll()
}

// remove unmaps and forgets a window, if it is wanted at all.
//
// Preconditions: d.mu is held.
func (d *decoder) remove(w *window) {
	for i, other := range d.windows {
		if other == w {
			d.windows = append(d.windows[:i], d.windows[i+1:]...)
			break
		}
	}
	w.wanted = false
	if !w.mapped {
		return
	}
	w.mapped = false
	if w.port {
		d.platform.UnmapPort(w.base, w.size)
		return
	}
	d.platform.UnmapMMIO(w.base, w.size)
}

// Preconditions: d.mu is held.
func (d *decoder) mapAll() {
	for _, w := range d.windows {
		if w.mapped {
			continue
		}
		// An error is a collision: the window stays wanted.
		if w.port {
			w.mapped = d.platform.MapPort(w.base, w.size, w) == nil
		} else {
			w.mapped = d.platform.MapMMIO(w.base, w.size, w) == nil
		}
	}
}
