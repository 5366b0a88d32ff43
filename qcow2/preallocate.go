package qcow2

import (
	"errors"
	"fmt"
	"math"
)

// Preallocation says what of an image is there before it is written to.
type Preallocation uint8

const (
	// PreallocateOff allocates clusters when they are written.
	PreallocateOff Preallocation = iota
	// PreallocateMetadata maps every cluster; the file has a hole for each.
	PreallocateMetadata
	// PreallocateFalloc also reserves their storage on the host.
	PreallocateFalloc
	// PreallocateFull also writes zeroes to them.
	PreallocateFull
)

// String is the name that qemu-img uses.
func (p Preallocation) String() string {
	switch p {
	case PreallocateOff:
		return "off"
	case PreallocateMetadata:
		return "metadata"
	case PreallocateFalloc:
		return "falloc"
	case PreallocateFull:
		return "full"
	}
	return fmt.Sprintf("unknown preallocation %d", uint8(p))
}

// ParsePreallocation is the mode that has a name.
func ParsePreallocation(name string) (p Preallocation, ok bool) {
	for p = PreallocateOff; p <= PreallocateFull; p++ {
		if p.String() == name {
			return p, true
		}
	}
	return PreallocateOff, false
}

// reserver is a File that can set storage aside without writing to it.
type reserver interface {
	// Reserve makes sure that writes to n bytes at off find space, and the file at
	// least as long. What it adds to the file reads as zeroes.
	Reserve(off, n int64) error
}

// needsPreallocation returns mode or, if the image needs more, that.
func (im *Image) needsPreallocation(mode Preallocation) Preallocation {
	if im.rawData() {
		return max(mode, PreallocateMetadata)
	}
	return mode
}

// preallocation is one run of preallocate.
type preallocation struct {
	im     *Image
	mode   Preallocation
	sealed bool  // the disk is encrypted, or will be
	fresh  bool  // the image is made just now, byte for byte as QEMU does it
	area   int64 // where the next data goes; 0: wherever clusters are free
	left   int64 // clusters of the area that are not mapped yet
	end    int64 // end of the data in the file
}

// preallocate maps all clusters between guest offsets off and end that have no
// host cluster, and provides for their storage as mode says. They read as
// zeroes, or as the backing file where entries have subclusters; those of an encrypted disk are
// clusters of zeroes with storage. Where they have
// none, a cluster in which off lies stays as it is if there is a backing file. An external data
// file becomes as long as end, whatever the mode; clusters that are mapped into one show what it
// has from off on.
//
// Each step leaves a consistent image; after an error some clusters are mapped.
//
// Preconditions: the L1 table covers the range; no request touches it, as when
// it lies behind the end of the disk; mu and commitMu are not held.
func (im *Image) preallocate(off, end int64, mode Preallocation) error {
	return im.preallocateWith(preallocation{mode: mode, sealed: im.encrypted()}, off, end)
}

// errNoiseAhead is why storage of an encrypted disk can't be there in advance in version 2:
// without clusters of zeroes it would read as noise.
var errNoiseAhead = errors.New("preallocation of an encrypted disk of version 2")

// preallocateWith is preallocate with the mode that is in p.
func (im *Image) preallocateWith(with preallocation, off, end int64) error {
	p, mode := &with, with.mode
	p.im = im
	if off >= end {
		return nil
	}
	if mode == PreallocateOff {
		return p.cutDataFile(off, end)
	}
	if !im.g.dataFile && mode != PreallocateMetadata {
		if err := im.reserveTail(off, min(end, im.g.roundUp(off))); err != nil {
			return err
		}
	}
	was := off
	if im.backing != nil && !im.g.extended() {
		off = im.g.roundUp(off) // a cluster that begins with what the backing file has
	} else {
		off &^= im.g.clusterSize - 1
	}
	if im.g.dataFile {
		if err := p.growDataFile(was, off, end); err != nil {
			return err
		}
	}
	if p.sealed && im.g.version < 3 {
		return fmt.Errorf("%w: %w", ErrUnsupported, errNoiseAhead)
	}
	if !im.g.dataFile && mode != PreallocateMetadata {
		defer p.giveBackArea()
		if err := p.placeArea(off, end); err != nil {
			return err
		}
	}
	for off < end {
		next := min(end, (off>>im.g.l1Shift+1)<<im.g.l1Shift)
		if err := p.table(off, next); err != nil {
			return err
		}
		if im.changes.pressing.Load() {
			im.writes.Add(1)
			if err := im.commit(); err != nil {
				return err
			}
		}
		off = next
	}
	im.writes.Add(1)
	return p.extendFile()
}

// reserveTail makes sure that writes to [off, end) find space, which is the rest of one cluster:
// of a host cluster that it has already, storage may be missing.
func (im *Image) reserveTail(off, end int64) error {
	r, ok := im.data.(reserver)
	if !ok {
		return nil
	}
	for off < end {
		e, err := im.ownStatus(off, end-off)
		if err == nil && e.Host >= 0 {
			err = r.Reserve(e.Host, e.Length)
		}
		if err != nil {
			return err
		}
		off += e.Length
	}
	return nil
}

// cutDataFile makes an external data file, in which the disk ends at off, end with
// it at end. What it has behind the disk is stale: no cluster is there.
func (p *preallocation) cutDataFile(off, end int64) error {
	if !p.im.g.dataFile {
		return nil
	}
	if err := p.im.data.Truncate(off); err != nil {
		return err
	}
	return p.im.data.Truncate(end)
}

// growDataFile makes the external data file long enough for a disk that ended at was and is to
// end at end, and provides the storage of what it gains, which reads as zeroes. What it has
// there already stays, and shows as soon as clusters from off on are mapped. The parts of those that the
// disk does not gain become zero, as if they were written to.
func (p *preallocation) growDataFile(was, off, end int64) error {
	im, f := p.im, p.im.data
	size, err := f.Size()
	if err != nil {
		return err
	}
	last := max(off, end&^(im.g.clusterSize-1))
	whole, edges := end, off < end && !im.g.extended() && !p.sealed // else entries tell of zeroes
	for _, e := range [...]struct{ cluster, lo, hi int64 }{{off, off, was}, {last, end, im.g.roundUp(end)}} {
		if !edges || e.lo >= e.hi {
			continue
		}
		if mapped, err := im.anyMapped(e.cluster, e.cluster+1); err != nil {
			return err
		} else if mapped {
			continue
		}
		whole = max(whole, e.hi)
		if n := min(e.hi, size) - e.lo; n > 0 {
			if err := f.ZeroRange(e.lo, n); err != nil {
				return err
			}
		}
	}
	if size >= whole {
		return nil
	}
	if err := f.Truncate(whole); err != nil {
		if size < end || !errors.Is(err, ErrDeviceSize) {
			return err
		}
	}
	if p.mode > PreallocateMetadata {
		return storage(f, max(size, was), whole, p.mode)
	}
	return nil
}

// placeArea takes the clusters of one area at the end of the file for all data,
// with the refcount blocks for them in front of it, and provides its storage.
func (p *preallocation) placeArea(off, end int64) error {
	im := p.im
	need := im.g.clusters(end) - off>>im.g.clusterBits
	// Tables must not need refcount blocks of their own later, in mid-area.
	tables := (need+1<<im.g.l2Bits-1)>>im.g.l2Bits + 1
	im.mu.Lock()
	start, err := im.refcountArea(need+tables, !p.fresh)
	if err == nil {
		err = im.take(start, need)
	}
	used := im.alloc.end
	if err == nil {
		im.alloc.end = max(im.alloc.end, (start+need)<<im.g.clusterBits)
	}
	im.mu.Unlock()
	if err != nil {
		return err
	}
	p.area, p.left = start<<im.g.clusterBits, need
	p.end = p.area + need<<im.g.clusterBits
	// What the refcount table used before is free after that.
	im.writes.Add(1)
	if err := im.commit(); err != nil {
		return err
	}
	if err := im.reclaim(); err != nil {
		return err
	}
	if p.mode == PreallocateFalloc && p.area < used && !p.sealed {
		if err := im.zeroData(p.area, off, min(used, p.end)-p.area); err != nil {
			return err
		}
	}
	return storage(im.data, p.area, p.end, p.mode)
}

// giveBackArea frees what is left of the area.
func (p *preallocation) giveBackArea() {
	if p.left == 0 {
		return
	}
	p.im.mu.Lock()
	defer p.im.mu.Unlock()
	p.im.giveBack(p.area>>p.im.g.clusterBits, p.left)
}

// storage provides the storage of [off, end) in f, which reads as zeroes after.
func storage(f File, off, end int64, mode Preallocation) error {
	if off >= end {
		return nil
	}
	if r, ok := f.(reserver); ok && mode == PreallocateFalloc {
		return r.Reserve(off, end-off)
	}
	const step = 64 // pieces of zeroes in a write
	for off < end {
		n := min(end-off, step*int64(len(zeroes)))
		if err := f.WriteV(zeroVec(n), off); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// table maps [off, end), which one L2 table maps.
func (p *preallocation) table(off, end int64) error {
	im := p.im
	im.mu.RLock()
	table, err := im.l2Table(off)
	im.mu.RUnlock()
	switch {
	case err != nil:
		return err
	case table != 0:
		return p.oldTable(off, end)
	}
	return p.newTable(off, end)
}

// newTable makes an L2 table with its entries. Nothing refers to it before all
// of it is in the file; as a page of the cache it would only cost memory.
func (p *preallocation) newTable(off, end int64) error {
	im := p.im
	im.mu.Lock()
	defer im.mu.Unlock()
	table, err := im.allocate(1)
	if err != nil {
		return err
	}
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	clear(*buf)
	index, done := off>>im.g.clusterBits&(1<<im.g.l2Bits-1), int64(0)
	count := im.g.clusters(end) - off>>im.g.clusterBits
	var runs []freeing
	for done < count && err == nil {
		var host, n int64
		if host, n, err = p.place(off+done<<im.g.clusterBits, count-done); err != nil {
			break
		}
		for i := range n {
			im.g.setEntry(*buf, index+done+i, p.mapped(host+i<<im.g.clusterBits))
		}
		runs = append(runs, freeing{cluster: host >> im.g.clusterBits, count: n})
		done += n
	}
	if err == nil {
		err = writeFull(im.f, *buf, table)
	}
	if err != nil {
		im.giveBack(table>>im.g.clusterBits, 1)
		for _, r := range runs {
			p.unplace(r.cluster, r.count)
		}
		return err
	}
	im.linkL2(off>>im.g.l1Shift, table)
	return nil
}

// oldTable maps clusters by a table that is there already: those of them that
// have no host cluster yet.
func (p *preallocation) oldTable(off, end int64) error {
	im, g := p.im, &p.im.g
	for off < end {
		pg, index, err := im.writablePage(off)
		if err != nil {
			return err
		}
		count := min(g.clusters(end)-off>>g.clusterBits, g.entriesPerPage()-index)
		for i := int64(0); i < count && err == nil; {
			n := int64(0)
			for i+n < count && p.unmapped(g.entry(pg.buf, index+i+n)) {
				n++
			}
			if n == 0 {
				i++
				continue
			}
			var host int64
			if host, n, err = p.place(off+i<<g.clusterBits, n); err != nil {
				break
			}
			for j := range n {
				buf := im.l2.change(pg)
				g.setEntry(buf, index+i+j, p.mappedOver(g.entry(buf, index+i+j), host+j<<g.clusterBits))
			}
			im.changes.barrier = true
			i += n
		}
		im.weigh()
		im.mu.Unlock()
		if err != nil {
			return err
		}
		off += count << g.clusterBits
	}
	return nil
}

// unmapped reports whether an entry has no cluster of the host: none at all, or zeroes
// that hide the backing file.
func (p *preallocation) unmapped(e l2Entry) bool {
	if e == (l2Entry{}) {
		return true
	}
	if p.im.g.extended() {
		return e.word == 0 && e.alloc() == 0
	}
	return e.word == entryZero && !p.im.g.dataFile
}

// mappedOver is the entry of a cluster at host in place of one that is unmapped. What was
// zero still is: by the flags, unless the storage is known to hold zeroes.
func (p *preallocation) mappedOver(e l2Entry, host int64) l2Entry {
	now := p.mapped(host)
	now.bitmap = e.bitmap
	if !p.im.g.extended() && p.mode == PreallocateMetadata {
		now.word |= e.word & entryZero
	}
	return now
}

// mapped is the entry of a preallocated cluster at host: subclusters of it have
// storage, but no data yet. Storage that was never written does not decrypt to zeroes: it is that
// of a cluster of zeroes.
func (p *preallocation) mapped(host int64) l2Entry {
	e := l2Entry{word: uint64(host) | entryCopied}
	if p.sealed && !p.im.g.extended() {
		e.word |= entryZero
	}
	return e
}

// place returns where up to count clusters from guest offset off go, and how
// many of them are there. What was in these host clusters before is gone.
// Preconditions: mu is held exclusively.
func (p *preallocation) place(off, count int64) (host, n int64, err error) {
	im := p.im
	switch {
	case im.g.dataFile:
		return off, count, nil
	case p.area != 0 && p.left > 0:
		host, n = p.area, min(count, p.left)
		p.area, p.left = p.area+n<<im.g.clusterBits, p.left-n
		return host, n, nil
	}
	// No more at once than QEMU takes, so that refcount blocks lie where its do.
	n = min(count, math.MaxInt32>>im.g.clusterBits)
	clean := im.alloc.end
	if host, err = im.allocate(n); err != nil {
		return 0, 0, err
	}
	if host < clean && !p.sealed {
		old := min(clean-host, n<<im.g.clusterBits)
		if err := im.zeroData(host, off, old); err != nil {
			im.giveBack(host>>im.g.clusterBits, n)
			return 0, 0, err
		}
	}
	p.end = max(p.end, host+n<<im.g.clusterBits)
	return host, n, nil
}

// unplace gives back what place took. Preconditions: mu is held exclusively.
func (p *preallocation) unplace(cluster, n int64) {
	if !p.im.g.dataFile {
		p.im.giveBack(cluster, n)
	}
}

// extendFile makes the file as long as all data in it.
func (p *preallocation) extendFile() error {
	im := p.im
	im.mu.Lock()
	im.alloc.dataEnd = max(im.alloc.dataEnd, p.end)
	im.mu.Unlock()
	return im.fillLastCluster()
}
