package qcow2

import (
	"errors"
	"fmt"
	"slices"
)

// Repair says what Check may change.
type Repair uint8

const (
	// RepairNone only reports.
	RepairNone Repair = iota
	// RepairLeaks frees clusters that nothing refers to.
	RepairLeaks
	// RepairAll also corrects refcounts that are too low, rebuilds refcount
	// structures that are missing or broken, and corrects COPIED flags.
	RepairAll
)

// CheckOptions says what Check does.
type CheckOptions struct {
	Repair Repair
	// Report, if set, is called for each finding, with a line for people.
	Report func(text string)
}

// CheckResult is the outcome of Check. Counts are of what is left after repair.
type CheckResult struct {
	Corruptions      int64
	Leaks            int64 // clusters
	CorruptionsFixed int64
	LeaksFixed       int64
	CheckErrors      int64 // what could not be checked

	TotalClusters      int64 // of the disk
	AllocatedClusters  int64
	FragmentedClusters int64
	CompressedClusters int64
	ImageEndOffset     int64 // end of the last cluster in use or counted as such, bytes
}

// Clean reports whether nothing is wrong, leaks included.
func (r *CheckResult) Clean() bool { return r.Corruptions == 0 && r.Leaks == 0 && r.CheckErrors == 0 }

// SnapshotTableError means that a check can't read the snapshot table, which a repair of all
// could make good by losing a part of it.
type SnapshotTableError struct{ Err error }

func (e *SnapshotTableError) Error() string { return "read the snapshot table: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *SnapshotTableError) Unwrap() error { return e.Err }

// Check counts every reference in the image and compares the counts with the
// refcounts on disk. Other requests wait meanwhile. Repair needs an image
// opened for writing; when no error is left, it also clears the dirty and the
// corrupt bit, and writes are allowed from then on.
func (im *Image) Check(o CheckOptions) (CheckResult, error) {
	if o.Repair != RepairNone && im.readOnly {
		return CheckResult{}, fmt.Errorf("repair: %w", ErrReadOnly)
	}
	if im.atSnapshot {
		return CheckResult{}, fmt.Errorf("%w: check of an image opened at a snapshot", ErrUnsupported)
	}
	if err := im.epochs.pause(false); err != nil {
		return CheckResult{}, err
	}
	defer im.epochs.resume()
	if !im.readOnly {
		if err := im.drain(); err != nil {
			return CheckResult{}, err
		}
	}
	if o.Repair != RepairAll && im.snapTable.broken != nil {
		return CheckResult{CheckErrors: 1}, &SnapshotTableError{im.snapTable.broken}
	}
	im.reportSnapshotTable(&o)
	var dropped CheckResult
	if o.Repair == RepairAll {
		if err := im.dropOverhang(&dropped); err != nil {
			return CheckResult{}, err
		}
	}
	res, err := im.check(o)
	res.CorruptionsFixed += dropped.CorruptionsFixed
	if err == nil {
		err = im.checkSnapshotTable(&o, &res)
	}
	return res, err
}

// check is Check for an image that nobody else uses and that has nothing to
// commit.
func (im *Image) check(o CheckOptions) (CheckResult, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if err := im.restoreHeader(); err != nil {
		return CheckResult{}, err
	}
	size, err := im.f.Size()
	if err != nil {
		return CheckResult{}, err
	}
	h := *im.hdr
	c := &checker{
		f: im.f, h: &h, g: &im.g, snaps: im.snaps,
		l1:        slices.Clone(im.l1),
		refTable:  slices.Clone(im.refTable),
		end:       im.g.clusters(size),
		putHeader: im.putHeader,
		o:         o,
	}
	err = c.run()
	if o.Repair == RepairNone {
		return c.res, err
	}
	if e := im.reload(); e != nil {
		im.corrupt.Store(true) // what memory holds is no longer what the file holds
		return c.res, errors.Join(err, e)
	}
	if err != nil {
		return c.res, err
	}
	return c.res, im.clearBadBits(&c.res)
}

// reload reads the metadata again after a repair.
func (im *Image) reload() error {
	h, err := readHeaderFor(im.f, true)
	if err != nil {
		return err
	}
	im.hdr = h
	im.loseBitmaps()
	im.l2.reset()
	im.refs.reset()
	return im.loadTables()
}

// clearBadBits clears the dirty and corrupt bits of an image found to be good.
func (im *Image) clearBadBits(res *CheckResult) error {
	if res.Corruptions != 0 || res.CheckErrors != 0 {
		return nil
	}
	if im.hdr.incompatible&incompatBad != 0 {
		if err := im.f.Sync(); err != nil {
			return err
		}
		im.hdr.incompatible &^= incompatBad
		if err := im.updateField(hdrIncompat, im.hdr.incompatible); err != nil {
			return err
		}
	}
	if err := im.takeCharge(); err != nil {
		return err
	}
	im.corrupt.Store(false)
	return nil
}

// checker is one run of the check. It reads the file directly.
type checker struct {
	f        File
	h        *header
	g        *geometry
	l1       []uint64
	refTable []uint64
	snaps    []snapshot
	end      int64 // clusters in the file

	// putHeader replaces the header on disk.
	putHeader func(*header) error
	o         CheckOptions

	refs      tally
	claimed   int64            // end of what is referred to beyond the file, in clusters
	wrong     map[int64]uint64 // refcounts on disk that differ from the references
	manyWrong bool             // there are too many of them to keep
	block     []byte           // the refcount block at blockAt, see onDisk; nil: none
	blockAt   int64
	look      bool        // refcounts are compared, and nothing is done about them
	uncopied  bool        // some entry of the active disk has a cluster, but no COPIED flag
	rebuild   int64       // errors that only a rebuild of refcount structures can fix
	seen      CheckResult // the errors and leaks among refcounts that a look finds
	leakEnd   int64       // end of the clusters that are counted too often
	unread    bool        // a table is damaged, so that references may be missing

	badStructures int64           // errors in the refcount table
	badBlocks     map[int64]bool  // indices of refcount table entries that are no good
	l2seen        map[int64]int64 // references to each L2 table
	active        map[int64]bool  // L2 tables of the active disk
	res           CheckResult
}

// corruption reports an error in the image.
func (c *checker) corruption(format string, args ...any) {
	c.res.Corruptions++
	c.report(format, args...)
}

func (c *checker) report(format string, args ...any) {
	if c.o.Report != nil {
		c.o.Report(fmt.Sprintf(format, args...))
	}
}

// run does the check and what repair was asked for.
func (c *checker) run() error {
	c.refs = newTally(c.end)
	c.wrong = make(map[int64]uint64)
	c.badBlocks = make(map[int64]bool)
	c.l2seen = make(map[int64]int64)
	c.active = make(map[int64]bool)
	if err := c.countReferences(); err != nil {
		return err
	}
	c.unread = c.res.Corruptions > 0
	c.countRefBlocks()
	c.res.TotalClusters = c.g.clusters(int64(c.h.size))
	if err := c.compare(); err != nil {
		return err
	}
	if n := len(c.snaps); n > 0 && c.g.dataFile {
		c.corruption("ERROR %d snapshots in image with data file", n)
	}
	if err := c.checkCopied(); err != nil {
		return err
	}
	c.res.ImageEndOffset = max(c.refs.last()+1, c.leakEnd) << c.g.clusterBits
	if c.o.Repair == RepairNone {
		return nil
	}
	return c.f.Sync()
}

// reference counts n bytes at off as referred to, times times.
func (c *checker) reference(off, n int64, times uint32) {
	first, last := off>>c.g.clusterBits, (off+n-1)>>c.g.clusterBits
	for i := first; i <= last; i++ {
		if i >= c.end && off+n-c.end<<c.g.clusterBits >= c.g.clusterSize {
			c.claimed = max(c.claimed, last+1)
			c.corruption("ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset %#x size %#x", off, n)
			return
		}
		c.refs.add(i, times)
	}
}
