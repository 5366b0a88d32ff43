package qcow2

// With lazy refcounts, commits leave refcounts in memory. The dirty bit in the
// header says so: it is set before anything is written that these refcounts
// belong to, and cleared when all of them are on disk. Whoever opens a dirty
// image rebuilds its refcounts from the references.
//
// Changes of the refcount table are never left out. So whatever is written, the
// table and its blocks are where the header on disk says they are, and nothing
// else is there.

// mayPostpone reports whether the next commit may leave refcounts in memory.
// Preconditions: mu is held.
func (im *Image) mayPostpone() bool {
	lazy := im.hdr.compatible&compatLazyRefcounts != 0
	if im.lazy != nil {
		lazy = *im.lazy
	}
	return lazy && im.changes.refTable.empty() &&
		len(im.refs.dirty) <= max(im.refs.limit/2, minDirtyPages)
}

// setDirtyBit sets the dirty bit, durably. Preconditions: commitMu is held, mu is not.
func (im *Image) setDirtyBit() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.stale {
		return nil
	}
	if err := im.updateField(hdrIncompat, im.hdr.incompatible|incompatDirty); err != nil {
		return err
	}
	im.hdr.incompatible |= incompatDirty
	im.stale = true
	return nil
}

// clearDirtyBit clears the dirty bit that setDirtyBit has set.
// Preconditions: everything else is on disk; neither commitMu nor mu is held.
func (im *Image) clearDirtyBit() error {
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	im.mu.Lock()
	defer im.mu.Unlock()
	if !im.stale {
		return nil
	}
	if err := im.updateField(hdrIncompat, im.hdr.incompatible&^incompatDirty); err != nil {
		return err
	}
	im.hdr.incompatible &^= incompatDirty
	im.stale = false
	return nil
}
