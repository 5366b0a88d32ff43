package qcow2

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// tableChanges says what of a table kept in memory, L1 or refcount table, is
// newer than the disk.
type tableChanges struct {
	sectors map[int64]bool // sectors (512 bytes) with changed entries
	moved   bool           // the table is at a place that the header on disk does not name
	header  bool           // the header must be written
}

const entriesPerSector = sectorSize / 8

// touch records that entry i was changed.
func (t *tableChanges) touch(i int64) {
	if t.sectors == nil {
		t.sectors = make(map[int64]bool)
	}
	t.sectors[i/entriesPerSector] = true
}

// move records that the table is at a new place, which the header must name.
func (t *tableChanges) move() { t.moved, t.header = true, true }

func (t *tableChanges) empty() bool { return len(t.sectors) == 0 && !t.header && !t.moved }

// freeing is a run of clusters each of which lost one reference.
type freeing struct {
	cluster, count int64
	epoch          uint64 // requests that began until then may still use it
	punch          bool   // give the storage back to the host, too
}

// changes collects what the next commit has to write beside dirty cache pages.
// Guarded by Image.mu, except for pressing.
type changes struct {
	refTable tableChanges
	l1       tableChanges
	barrier  bool      // L2 entries refer to data that may not be durable
	released []freeing // waiting for the commit that makes their release durable
	retired  []freeing // waiting for requests to end, and for their holes

	// pressing is set when so much has collected that requests should commit.
	pressing atomic.Bool
}

// Limits of what collects between commits.
const (
	maxReleased   = 4096 // runs
	minDirtyPages = 64
	maxDirtyPages = 1024 // of L2 tables: as much again is needed while they are written
)

// weigh sets pressing. Preconditions: mu is held exclusively.
func (im *Image) weigh() {
	ch := &im.changes
	if len(ch.released) > maxReleased ||
		len(im.l2.dirty) > min(max(im.l2.limit/2, minDirtyPages), maxDirtyPages) ||
		len(im.refs.dirty) > max(im.refs.limit/2, minDirtyPages) {
		ch.pressing.Store(true)
	}
}

// release drops one reference to each of count clusters from the given one on.
// The refcounts follow when that is safe; see reclaim.
// Preconditions: mu is held exclusively; nothing in memory refers to them any
// more on behalf of the reference that is dropped.
func (im *Image) release(cluster, count int64, punch bool) {
	im.at(EventClusterFree)
	r := freeing{cluster: cluster, count: count, epoch: im.epochs.now.Load(), punch: punch}
	list := im.changes.released
	if n := len(list); n > 0 {
		last := &list[n-1]
		if last.cluster+last.count == cluster && last.epoch == r.epoch && last.punch == punch {
			last.count += count
			return
		}
	}
	im.changes.released = append(list, r)
}

// releaseEntry drops the reference that an L2 entry held.
// Preconditions: as for release.
func (im *Image) releaseEntry(e uint64, punch bool) {
	if im.g.dataFile {
		return // data there is not counted
	}
	if e&entryCompressed != 0 {
		off, n, err := im.g.compressed(e)
		if err != nil {
			return // it never named clusters
		}
		first, last := off>>im.g.clusterBits, (off+n-1)>>im.g.clusterBits
		im.release(first, last-first+1, punch)
		return
	}
	if host := int64(e & entryOffset); host != 0 {
		im.release(host>>im.g.clusterBits, 1, punch)
	}
}

// reclaim takes clusters that lost their last reference the rest of their way
// back: once no request can be using them any more, their holes are punched and
// they become free. It needs no sync: the reference is durably gone.
func (im *Image) reclaim() error {
	im.reclaimMu.Lock()
	defer im.reclaimMu.Unlock()
	if im.done {
		return nil
	}
	im.mu.Lock()
	if len(im.changes.retired) == 0 {
		im.mu.Unlock()
		return nil
	}
	im.epochs.advance()
	im.epochs.advance()
	var holes []freeing
	err := im.collectHoles(&holes)
	im.mu.Unlock()
	if len(holes) == 0 {
		return err
	}
	holes = joined(holes)
	punched := holes[:0]
	for _, r := range holes {
		// A hole that can't be punched costs space on the host, nothing else, unless
		// others still have its pages: then it is not used again.
		e := im.f.PunchHole(r.cluster<<im.g.clusterBits, r.count<<im.g.clusterBits)
		if e == nil || !im.spliced.Load() {
			punched = append(punched, r)
		}
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, r := range punched {
		im.giveBack(r.cluster, r.count)
	}
	return err
}

// joined sorts a list of clusters and makes one of what lies side by side: clusters are
// dropped in the order of the disk, and a hole costs the host as much as a small write.
func joined(list []freeing) []freeing {
	slices.SortFunc(list, func(a, b freeing) int { return cmp.Compare(a.cluster, b.cluster) })
	n := 0
	for _, r := range list {
		if n > 0 && list[n-1].cluster+list[n-1].count == r.cluster {
			list[n-1].count += r.count
			continue
		}
		list[n] = r
		n++
	}
	return list[:n]
}

// collectHoles lowers the refcounts of retired clusters that no request uses.
// The ones that would become free, and whose holes are to be punched, it adds
// to holes instead: nobody may get them before that is done.
// Preconditions: mu is held exclusively.
func (im *Image) collectHoles(holes *[]freeing) error {
	ch := &im.changes
	kept := ch.retired[:0]
	var failed error
	for _, r := range ch.retired {
		if !im.epochs.over(r.epoch) {
			kept = append(kept, r)
			continue
		}
		for c := r.cluster; c < r.cluster+r.count; c++ {
			if err := im.retire(c, r.punch, holes); err != nil && failed == nil {
				failed = err
			}
		}
	}
	clear(ch.retired[len(kept):])
	ch.retired = kept
	im.decoded.forget()
	return failed
}

// retire drops a reference to cluster c, or puts it on the list of holes.
func (im *Image) retire(c int64, punch bool, holes *[]freeing) error {
	if punch || im.spliced.Load() {
		count, err := im.refcount(c)
		if err != nil {
			return err
		}
		if count == 1 {
			im.stopPacking(c)
			if n := len(*holes); n > 0 && (*holes)[n-1].cluster+(*holes)[n-1].count == c {
				(*holes)[n-1].count++
			} else {
				*holes = append(*holes, freeing{cluster: c, count: 1})
			}
			return nil
		}
	}
	return im.dropRef(c)
}
