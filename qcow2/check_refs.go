package qcow2

import (
	"fmt"
	"math"
	"slices"
)

// countReferences fills the tally with every reference but those of the
// refcount table to its blocks.
func (c *checker) countReferences() error {
	c.reference(0, 1, 1)
	c.countL1(c.l1, int64(c.h.l1Offset), true)
	for _, s := range c.snaps {
		switch {
		case !c.g.aligned(s.l1Offset) || uint64(s.l1Offset) > maxHostOffset:
			c.corruption("ERROR snapshot %s (%s) l1_offset=%#x: L1 table is not cluster aligned; snapshot table entry corrupted", s.id, s.name, s.l1Offset)
			continue
		case s.l1Size > maxL1Bytes/8:
			c.corruption("ERROR snapshot %s (%s) l1_size=%#x: L1 table is too large; snapshot table entry corrupted", s.id, s.name, s.l1Size)
			continue
		}
		l1, err := readTable(c.f, s.l1Offset, s.l1Size)
		if err != nil {
			return fmt.Errorf("read L1 table of snapshot %q: %w", s.id, err)
		}
		c.countL1(l1, s.l1Offset, false)
	}
	if err := c.countL2Tables(); err != nil {
		return err
	}
	if n := snapshotTableSize(c.snaps); n > 0 {
		c.reference(int64(c.h.snapshots), n, 1)
	}
	c.reference(int64(c.h.refTable), int64(len(c.refTable))*8, 1)
	if off, n := c.h.cryptoHeader(); n > 0 {
		c.reference(off, n, 1)
	}
	return c.countBitmaps()
}

// countBitmaps counts what belongs to bitmaps. Broken ones, and those that have
// a cluster in common with something else, a repair drops as a whole: they are
// the one kind of metadata that a disk can do without.
func (c *checker) countBitmaps() error {
	if !c.h.hasBitmaps() {
		return nil // or they may be stale: their clusters are leaks
	}
	type run struct{ off, n int64 }
	var runs []run
	seen := make(map[int64]bool)
	err := walkBitmaps(c.f, c.h, func(off, n int64) error {
		runs = append(runs, run{off, n})
		for i := off >> c.g.clusterBits; i <= (off+n-1)>>c.g.clusterBits; i++ {
			if i >= c.end {
				return fmt.Errorf("%w: %d bytes at %#x lie beyond the end of the file", ErrInvalid, n, off)
			}
			if seen[i] || c.refs.count(i) != 0 {
				return fmt.Errorf("%w: cluster %#x is used by something else, too", ErrInvalid, i<<c.g.clusterBits)
			}
			seen[i] = true
		}
		return nil
	})
	switch {
	case err == nil:
	case c.o.Repair != RepairAll:
		c.corruption("ERROR bitmaps: %v", err)
	default:
		c.report("Removing bitmaps: %v", err)
		c.res.CorruptionsFixed++
		c.h.autoclear &^= autoclearBitmaps
		c.h.setExtension(extBitmaps, nil)
		return c.putHeader(c.h)
	}
	for _, r := range runs {
		c.reference(r.off, r.n, 1)
	}
	return nil
}

// countL1 counts an L1 table and collects the L2 tables it refers to.
func (c *checker) countL1(l1 []uint64, off int64, active bool) {
	if len(l1) > 0 {
		c.reference(off, int64(len(l1))*8, 1)
	}
	for _, e := range l1 {
		table := int64(e & entryOffset)
		if table == 0 {
			continue
		}
		if e&l1Reserved != 0 {
			c.corruption("ERROR found L1 entry with reserved bits set: %x", e)
		}
		if !c.g.aligned(table) {
			c.corruption("ERROR l2_offset=%x: Table is not cluster aligned; L1 entry corrupted", table)
			continue
		}
		c.l2seen[table]++
		if active {
			c.active[table] = true
		}
	}
}

// countL2Tables counts each L2 table, and what it refers to, as often as L1
// tables refer to it. Each is read once, however often that is.
func (c *checker) countL2Tables() error {
	var active, others []int64
	for _, e := range c.l1 {
		active = append(active, int64(e&entryOffset))
	}
	for table := range c.l2seen {
		if !c.active[table] {
			others = append(others, table)
		}
	}
	slices.Sort(others)
	for _, list := range [][]int64{active, others} {
		var tables []int64
		var times []uint32
		for _, off := range list {
			n := uint32(min(c.l2seen[off], math.MaxUint32))
			if n == 0 {
				continue
			}
			delete(c.l2seen, off)
			c.reference(off, c.g.clusterSize, n)
			if off>>c.g.clusterBits < c.end {
				tables, times = append(tables, off), append(times, n)
			}
		}
		err := scan(c.f, c.g.clusterSize, tables, func(i int, buf []byte) error {
			return c.countL2(tables[i], times[i], len(active) > 0, buf)
		})
		if err != nil {
			return fmt.Errorf("L2 tables: %w", err)
		}
		active = nil
	}
	return nil
}

// countL2 counts what an L2 table with that many references refers to.
func (c *checker) countL2(off int64, times uint32, active bool, buf []byte) error {
	next := int64(0) // where an unfragmented disk would go on
	for i := int64(0); i < 1<<c.g.l2Bits; i++ {
		entry := c.g.entry(buf, i)
		if entry == (l2Entry{}) {
			continue
		}
		e := entry.word
		if n := c.plainRun(buf, i); n > 0 && times == 1 {
			host := int64(e & entryOffset)
			c.refs.addRun(host>>c.g.clusterBits, n)
			if active {
				c.res.AllocatedClusters += n
				c.res.FragmentedClusters += b2i(next != 0 && host != next)
				c.uncopied = c.uncopied || e&entryCopied == 0
				next = host + n<<c.g.clusterBits
			}
			i += n - 1
			continue
		}
		fixed, host := c.countEntry(entry, times)
		if fixed != entry {
			c.res.CorruptionsFixed++
			c.res.Corruptions--
			c.g.setEntry(buf, i, fixed)
			at, n := i<<c.g.entryBits, int64(1)<<c.g.entryBits
			if err := writeFull(c.f, buf[at:at+n], off+at); err != nil {
				return err
			}
		}
		if !active || host == 0 && !(c.g.dataFile && c.g.refersTo(e)) {
			continue
		}
		c.res.AllocatedClusters++
		if e&entryCompressed != 0 {
			c.res.CompressedClusters++
			c.res.FragmentedClusters++
			continue
		}
		c.uncopied = c.uncopied || e&entryCopied == 0
		if next != 0 && host != next {
			c.res.FragmentedClusters++
		}
		next = host + c.g.clusterSize
	}
	return nil
}

// countEntry counts what an L2 entry refers to. It returns the entry as it
// should be, and the host offset of its cluster, 0 for none.
func (c *checker) countEntry(entry l2Entry, times uint32) (fixed l2Entry, host int64) {
	e := entry.word
	if e&entryCompressed != 0 && c.g.dataFile {
		c.corruption("ERROR compressed cluster with data file, entry=%#x", e)
		return entry, 0
	}
	if e&entryCompressed != 0 {
		off, n, err := c.g.compressed(e)
		if e&entryCopied != 0 {
			c.corruption("ERROR: coffset=%#x: copied flag must never be set for compressed clusters", off)
		}
		if err != nil {
			c.corruption("ERROR %v", err)
			return entry, 0
		}
		if entry.bitmap != 0 {
			c.corruption("ERROR compressed cluster with non-zero subcluster allocation bitmap, entry=%#x", e)
			return entry, 0
		}
		c.referenceCompressed(off, n, times)
		return entry, off
	}
	c.checkBitmap(entry)
	if e&l2Reserved != 0 || e&entryZero != 0 && c.g.extended() {
		c.corruption("ERROR found l2 entry with reserved bits set: %x", e)
	}
	if e&entryZero != 0 && c.g.version < 3 {
		c.corruption("ERROR zero cluster entry %x in a version 2 image", e)
	}
	host = int64(e & entryOffset)
	switch {
	case host == 0:
		return entry, 0 // of an external data file, too
	case c.g.aligned(host) && c.g.dataFile:
		return entry, host // data there is not counted
	case c.g.aligned(host):
		c.reference(host, c.g.clusterSize, times)
		return entry, host
	case entry.alloc() != 0 || e&entryZero == 0 && !c.g.extended():
		c.corruption("ERROR offset=%x: Data cluster is not properly aligned; L2 entry corrupted.", host)
	default:
		c.corruption("%s offset=%x: Preallocated cluster is not properly aligned; L2 entry corrupted.", c.verb(), host)
		if c.o.Repair != RepairAll {
			break
		}
		if c.g.extended() { // subclusters that are not zeroes are the backing file's
			return l2Entry{bitmap: entry.bitmap}, 0
		}
		return c.g.zeroEntry(0), 0
	}
	// Whatever data there is lies in these clusters: they are not free.
	if !c.g.dataFile {
		c.reference(host, c.g.clusterSize, times)
	}
	return entry, host
}

// checkBitmap reports a bitmap of subclusters that can't be.
func (c *checker) checkBitmap(e l2Entry) {
	if !c.g.extended() {
		return
	}
	kind := kindUnallocated
	if c.g.refersTo(e.word) {
		kind = kindNormal
	}
	switch {
	case e.checkBitmap(kind) == nil:
	case kind == kindNormal:
		c.corruption("ERROR offset=%x: Allocated cluster has corrupted subcluster allocation bitmap", e.word&entryOffset)
	default:
		c.corruption("ERROR: Unallocated cluster has non-zero subcluster allocation map")
	}
}

// referenceCompressed counts the clusters that compressed data lies in. The
// last sector of it may lie beyond the end of the file.
func (c *checker) referenceCompressed(off, n int64, times uint32) {
	first, last := off>>c.g.clusterBits, (off+n-1)>>c.g.clusterBits
	for i := first; i <= last; i++ {
		if i >= c.end && i == first {
			c.corruption("ERROR: compressed cluster at %#x lies beyond the end of the file", off)
			return
		}
		c.refs.add(i, times)
	}
}

// countRefBlocks counts the refcount blocks and finds the ones that are no good, or that are
// something else as well.
func (c *checker) countRefBlocks() {
	for bi, e := range c.refTable {
		if e == 0 {
			continue
		}
		block := int64(e & refTableOffset)
		switch {
		case e&^refTableOffset != 0:
			c.badBlock(bi, "ERROR refcount table entry %d has reserved bits set", bi)
		case !c.g.aligned(block):
			c.badBlock(bi, "ERROR refcount block %d is not cluster aligned; refcount table entry corrupted", bi)
		case e > maxHostOffset || block>>c.g.clusterBits >= c.end:
			c.badBlock(bi, "%s refcount block %d is outside image", c.verb(), bi)
		default:
			c.refs.add(block>>c.g.clusterBits, 1)
			if n := c.refs.count(block >> c.g.clusterBits); n != 1 { // what it says counts all the same
				c.badStructure("ERROR refcount block %d refcount=%d", bi, n)
			}
		}
	}
}

// badBlock reports a refcount block that can't be read.
func (c *checker) badBlock(bi int, format string, args ...any) {
	c.badStructure(format, args...)
	c.badBlocks[int64(bi)] = true
}

// badStructure reports an error that only a rebuild of refcount structures mends.
func (c *checker) badStructure(format string, args ...any) {
	c.corruption(format, args...)
	c.badStructures++
	c.rebuild++
}

// checkCopied verifies the COPIED flags of the active disk: set exactly where
// the refcount is one.
func (c *checker) checkCopied() error {
	fix := c.o.Repair == RepairAll || c.o.Repair == RepairLeaks && c.res.Corruptions == 0
	// Without a cluster of several references, or of none that should have some,
	// all flags must be set, and are.
	done := len(c.wrong) == 0 && !c.manyWrong && !c.refs.shared && !c.uncopied && !c.g.dataFile
	dirty := false
	var tables, firsts []int64
	for i, e := range c.l1 {
		table := int64(e & entryOffset)
		if table == 0 || !c.g.aligned(table) || table>>c.g.clusterBits >= c.end {
			continue
		}
		if want, bad := copiedAs(e, c.refcount(table>>c.g.clusterBits) == 1); bad {
			c.miscopied(fix, "OFLAG_COPIED L2 cluster: l1_index=%d l1_entry=%x refcount=%d", i, e, c.refcount(table>>c.g.clusterBits))
			if fix {
				c.l1[i] = want
				dirty = true
			}
		}
		if c.active[table] && !done {
			delete(c.active, table) // once each, however often it is referred to
			tables, firsts = append(tables, table), append(firsts, int64(i)<<c.g.l2Bits)
		}
	}
	err := scan(c.f, c.g.clusterSize, tables, func(i int, buf []byte) error {
		return c.checkCopiedL2(tables[i], firsts[i], fix, buf)
	})
	if err != nil {
		return fmt.Errorf("L2 tables: %w", err)
	}
	if !dirty {
		return nil
	}
	return writeFull(c.f, marshalTable(c.l1), int64(c.h.l1Offset))
}

// checkCopiedL2 does so in an L2 table. The first of its entries is of the guest
// cluster with the number first.
func (c *checker) checkCopiedL2(table, first int64, fix bool, buf []byte) error {
	dirty := false
	for i := int64(0); i < 1<<c.g.l2Bits; i++ {
		e := c.g.word(buf, i)
		host := int64(e & entryOffset)
		if e&entryCompressed != 0 || !c.g.refersTo(e) || !c.g.aligned(host) {
			continue
		}
		if c.g.dataFile {
			if err := c.g.misplaced(e, first+i); err != nil {
				c.corruption("ERROR data cluster: l2_entry=%x: %v", e, err)
			}
		} else if host>>c.g.clusterBits >= c.end {
			continue
		}
		if want, bad := copiedAs(e, c.g.dataFile || c.refcount(host>>c.g.clusterBits) == 1); bad {
			c.miscopied(fix, "OFLAG_COPIED data cluster: l2_entry=%x refcount=%d", e, c.refcount(host>>c.g.clusterBits))
			c.g.setWord(buf, i, want)
			dirty = true
		}
	}
	if !dirty || !fix {
		return nil
	}
	return writeFull(c.f, buf, table)
}

// copiedAs returns an entry with the COPIED flag as it should be, and whether it
// was wrong.
func copiedAs(e uint64, copied bool) (want uint64, bad bool) {
	want = e &^ entryCopied
	if copied {
		want |= entryCopied
	}
	return want, want != e
}

func (c *checker) miscopied(fix bool, format string, args ...any) {
	if fix {
		c.res.CorruptionsFixed++
		c.report("Repairing "+format, args...)
	} else {
		c.corruption("ERROR "+format, args...)
	}
}

// verb begins what is said of an error that a repair mends.
func (c *checker) verb() string {
	if c.o.Repair == RepairAll {
		return "Repairing"
	}
	return "ERROR"
}
