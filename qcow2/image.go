package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Options says how to open an image. The zero value opens it for writing.
type Options struct {
	// ReadOnly refuses writes and changes nothing in the file.
	ReadOnly bool
	// ForRepair opens an image for Check with repair: also one that is marked
	// corrupt, and a dirty one as it is. Writes are refused until a Check found
	// no error left.
	ForRepair bool
	// Backing opens the backing file. Without it an image that names one is
	// refused, unless NoBacking is set.
	Backing BackingOpener
	// AskBacking asks Backing whatever the image names, also where that is nothing: its
	// answer, which may be nil, is what the image lies on.
	AskBacking bool
	// NoBacking leaves the backing file closed, for tools that look only at the
	// image itself. Reading what only the backing file has is an error.
	NoBacking bool
	// DataFile opens the external data file. Without it an image that has one is
	// refused, unless NoDataFile is set.
	DataFile DataFileOpener
	// NoDataFile leaves the external data file closed, for tools that look only at
	// the image itself. Reading or writing what is in it is an error.
	NoDataFile bool
	// Secret returns the passphrase of an encrypted image. Without it such an
	// image is refused, unless NoSecret is set.
	Secret func() ([]byte, error)
	// NoSecret leaves the data of an encrypted image locked, for tools that look
	// only at metadata. Reading or writing data is an error.
	NoSecret bool
	// Snapshot, if not zero, opens the disk as it was in an internal snapshot.
	// ReadOnly must be set.
	Snapshot SnapshotRef
	// PassDiscard says when storage is given back to the host. 0 chooses
	// PassRequest and PassSnapshot.
	PassDiscard PassDiscard
	// LazyRefcounts, if set, counts in place of what the image says about that, as long as it
	// is open; see CreateOptions.
	LazyRefcounts *bool
	// Unchecked are the classes of metadata that writes are not checked against.
	Unchecked Overlap
	// L2CacheSize and RefcountCacheSize bound the memory for clean metadata, in
	// bytes. 0 chooses: the L2 entries of the whole disk, at most 32 MiB, and
	// 1 MiB of refcounts.
	L2CacheSize       int64
	RefcountCacheSize int64
	// Event, if set, is told of the points that the image passes in its work.
	// It may be called from many goroutines, and while locks are held: whoever
	// waits in it makes other requests wait.
	Event func(Event)
	// Repairing, if set, is told line by line what Open repairs in a dirty image.
	Repairing func(line string)
	// StaleBitmaps, if set, is told by Open that a program which knows nothing of bitmaps has changed the image
	// since they were stored, or may have, as with version 2. They are gone then.
	StaleBitmaps func(version int)
	// Corruption, if set, is told once when the image is found corrupt: why, as ImageError
	// has it, and whether it was marked so, which it is unless it is opened read-only. It is
	// called within a request, and must not make another.
	Corruption func(problem string, marked bool)
}

const (
	maxDefaultL2Cache    = 32 << 20
	defaultRefcountCache = 1 << 20
	minCachePages        = 64
)

// Image is an open image. See the package documentation for its concurrency.
type Image struct {
	f          File
	event      func(Event) // see Options.Event; nil costs nothing
	corruption func(problem string, marked bool)
	data       File        // holds the guest's data: f or an external data file
	crypt      *encryption // nil without encryption, and where it stays locked
	g          geometry
	readOnly   bool
	atSnapshot bool    // the disk is that of a snapshot, not what the header says
	backing    Backing // nil without a backing file
	requests   sync.Pool
	epochs     epochs

	size    atomic.Int64
	holes   atomic.Int32                     // see preallocated
	resized atomic.Pointer[func(size int64)] // see OnResize
	corrupt atomic.Bool                      // writes are refused
	told    atomic.Bool                      // corruption was called
	writes  atomic.Uint64                    // counts changes that a Flush must make durable
	synced  atomic.Uint64                    // the value of writes up to which they are
	spliced atomic.Bool                      // pages of clusters may be in pipes and sockets; see Splicer

	flushes joiner
	commits func() error // bound once, so that Flush does not allocate
	buffers sync.Pool    // of *[]byte, one cluster each
	decoded decodedCache
	ahead   readAhead
	codec   codec
	packed  sync.Pool     // of *[]byte: clusters that are compressed
	helpers chan struct{} // holds a token for each goroutine that decompresses beside its request

	packedInputs sync.Pool // of *packedInput

	mu          sync.RWMutex
	hdr         *header            // guarded by mu, with all below
	l1          []uint64           // active L1 table
	l2          *cache             // pages of L2 tables
	l2Default   bool               // the size of l2 follows the size of the disk
	refs        *cache             // pages of refcount blocks
	refTable    []uint64           // refcount table
	snaps       []snapshot         // internal snapshots
	lazy        *bool              // see Options.LazyRefcounts
	snapTable   snapshotTable      // what is wrong with their table, if opened for repair
	meta        map[int64]metaKind // clusters that hold metadata, by number
	unchecked   Overlap            // never changes
	passDiscard PassDiscard
	alloc       allocator
	room        room
	inflight    []*allocation
	changes     changes
	stray       *header // to be written before anything else; see rootChange

	keysMu sync.Mutex // held to look at or change key slots; a leaf

	// The list changes only while the image is paused, with mu held exclusively;
	// who has paused it may read it without. See bitmap.go.
	bitmaps     []*bitmap
	badBitmaps  error                        // why those of an image that is only read are not in the list
	bitmapsHeld bool                         // their contents are in memory, and Close stores them
	tracked     atomic.Pointer[[]*dirtyBits] // those that record writes; changes while paused

	commitMu  sync.Mutex
	batch     batch // guarded by commitMu
	reclaimMu sync.Mutex
	stale     bool // the dirty bit is set for refcounts that only memory has; guarded by commitMu
	done      bool // the file is closed; guarded by commitMu and reclaimMu, either will do to read it
}

// Open opens the image in f. The image owns f from then on and closes it in
// Close; when Open fails, f is left open.
//
// Unless o.ReadOnly is set, Open repairs an image that was not closed cleanly
// (dirty bit) and clears the feature bits that a writer without that feature
// has to clear.
func Open(f File, o Options) (*Image, error) {
	h, err := readHeaderFor(f, o.ForRepair)
	if err != nil {
		return nil, err
	}
	if h.incompatible&incompatCorrupt != 0 && !o.ReadOnly && !o.ForRepair {
		return nil, corrupt("qcow2: Image is corrupt; cannot be opened read/write", "it was marked so earlier; it can be repaired")
	}
	if h.refClusters == 0 && !o.ForRepair {
		return nil, invalid("Image does not contain a reference count table", "a repair makes one")
	}
	if o.LazyRefcounts != nil && *o.LazyRefcounts && h.version < 3 {
		return nil, unknownKind("Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level", "")
	}
	im := &Image{event: o.Event, lazy: o.LazyRefcounts, corruption: o.Corruption, f: f, hdr: h, g: newGeometry(h), readOnly: o.ReadOnly, unchecked: o.Unchecked}
	if im.passDiscard = o.PassDiscard; im.passDiscard == 0 {
		im.passDiscard = defaultPassDiscard
	}
	im.epochs.init()
	im.commits = im.commit
	im.buffers.New = func() any { b := make([]byte, im.g.clusterSize); return &b }
	im.packedInputs.New = func() any { return new(packedInput) }
	im.requests.New = func() any { return new(request) }
	im.size.Store(int64(h.size) &^ (sectorSize - 1))
	im.decoded.init(im.g.clusterSize)
	im.codec = newCodec(h.compression, im.g.clusterSize)
	im.ahead.run = im.runAhead
	im.helpers = make(chan struct{}, runtime.GOMAXPROCS(0)-1)
	if o.ForRepair {
		im.snaps, im.snapTable = readDamaged(f, h)
	} else if im.snaps, err = readSnapshots(f, h); err != nil {
		return nil, err
	}
	if err := im.loadTables(); err != nil {
		return nil, err
	}
	if err := im.goBack(o.Snapshot); err != nil {
		return nil, err
	}
	im.makeCaches(&o)
	if err := im.openDataFile(&o); err != nil {
		return nil, err
	}
	if err := im.openEncryption(&o); err != nil {
		return nil, errors.Join(err, im.closeDataFile())
	}
	if im.backing, err = openBacking(h, &o); err != nil {
		return nil, errors.Join(err, im.closeDataFile())
	}
	if !im.atSnapshot {
		im.openBitmaps()
	}
	if o.StaleBitmaps != nil && h.extension(extBitmaps) != nil && h.autoclear&autoclearBitmaps == 0 {
		o.StaleBitmaps(int(h.version))
	}
	im.corrupt.Store(o.ForRepair)
	if !o.ReadOnly && !o.ForRepair {
		if err := im.prepareWriting(o.Repairing); err != nil {
			return nil, errors.Join(err, im.closeOthers())
		}
	}
	return im, nil
}

// closeOthers closes the files beside the image's own.
func (im *Image) closeOthers() error {
	err := im.closeDataFile()
	if im.backing != nil {
		err = errors.Join(err, im.backing.Close())
	}
	return err
}

// loadTables reads L1 and refcount table and what follows from them.
func (im *Image) loadTables() error {
	var err error
	if im.l1, err = readTable(im.f, int64(im.hdr.l1Offset), int64(im.hdr.l1Size)); err != nil {
		return fmt.Errorf("read L1 table: %w", err)
	}
	im.at(EventReftableLoad)
	entries := int64(im.hdr.refClusters) << (im.g.clusterBits - 3)
	if im.refTable, err = readTable(im.f, int64(im.hdr.refTable), entries); err != nil {
		return fmt.Errorf("read refcount table: %w", err)
	}
	end, err := im.f.Size()
	if err != nil {
		return err
	}
	im.alloc = allocator{end: im.g.roundUp(end), full: make(map[int64]bool)}
	im.findRoom(end)
	im.meta = im.collectMetadata()
	return nil
}

// readTable reads n big-endian words.
func readTable(f File, off, n int64) ([]uint64, error) {
	t := make([]uint64, n)
	raw := tableBytes(t)
	if err := readFull(f, raw, off); err != nil {
		return nil, err
	}
	for i := range t {
		t[i] = loadEntry(raw, int64(i))
	}
	return t, nil
}

func (im *Image) makeCaches(o *Options) {
	l2, refs := o.L2CacheSize, o.RefcountCacheSize
	if l2 == 0 {
		im.l2Default = true
		l2 = im.defaultL2Cache(im.Size())
	}
	if refs == 0 {
		refs = defaultRefcountCache
	}
	im.l2 = newCache(l2, im.g.pageSize, minCachePages)
	im.l2.g = &im.g
	im.refs = newCache(refs, im.g.pageSize, minCachePages)
}

// defaultL2Cache is the size in bytes of the L2 cache for a disk of size bytes.
func (im *Image) defaultL2Cache(size int64) int64 {
	return min(im.g.clusters(size)<<im.g.entryBits, maxDefaultL2Cache)
}

// resizeCache adapts the default size of the L2 cache to that of the disk.
func (im *Image) resizeCache(size int64) {
	if im.l2Default {
		im.l2.limit = max(int(im.defaultL2Cache(size)/im.g.pageSize), minCachePages)
	}
}

// prepareWriting brings an image into the state that the first write needs.
func (im *Image) prepareWriting(report func(string)) error {
	if im.hdr.incompatible&incompatDirty != 0 {
		if err := im.repairDirty(report); err != nil {
			return err
		}
	}
	return im.takeCharge()
}

// takeCharge of what a writer has to maintain, or has to say that it does not.
func (im *Image) takeCharge() error {
	if err := im.startBitmaps(); err != nil {
		return err
	}
	keep := uint64(0)
	if im.hdr.backingFile == "" { // what only the backing file has is not in the data file
		keep = autoclearRawData
	}
	if im.hdr.hasBitmaps() {
		keep |= autoclearBitmaps
	}
	if im.hdr.autoclear&^keep == 0 {
		return nil
	}
	im.hdr.autoclear &= keep
	if err := im.updateField(hdrAutoclear, im.hdr.autoclear); err != nil {
		return fmt.Errorf("clear autoclear features: %w", err)
	}
	return nil
}

// repairDirty rebuilds the refcounts of an image that was not closed cleanly.
func (im *Image) repairDirty(report func(string)) error {
	res, err := im.check(CheckOptions{Repair: RepairAll, Report: report})
	if err != nil {
		return fmt.Errorf("could not repair dirty image: %w", err)
	}
	if res.Corruptions != 0 || res.CheckErrors != 0 {
		return fmt.Errorf("%w: could not repair dirty image: %d errors are left", ErrCorrupt, res.Corruptions+res.CheckErrors)
	}
	return nil
}

// updateField writes a 64-bit header field and makes it durable.
func (im *Image) updateField(off int64, v uint64) error {
	if err := writeFull(im.f, binary.BigEndian.AppendUint64(nil, v), off); err != nil {
		return err
	}
	return im.f.Sync()
}

// Size is the capacity of the disk in bytes.
func (im *Image) Size() int64 { return im.size.Load() }

// ReadOnly reports whether writes are refused.
func (im *Image) ReadOnly() bool { return im.readOnly }

// CanDiscard reports whether Discard gives storage back. It can't in version 2
// images with a backing file, which would show through.
func (im *Image) CanDiscard() bool {
	return !im.readOnly && (im.g.version >= 3 || im.backing == nil)
}

// DiscardZeroes reports that what Discard gave back reads as zeroes.
func (im *Image) DiscardZeroes() bool { return im.CanDiscard() }

// Close writes out what is in memory, makes it durable and closes the file and
// the backing file. Requests that are running end first; later ones fail.
func (im *Image) Close() error {
	if err := im.epochs.pause(true); err != nil {
		return err
	}
	im.ahead.wg.Wait()
	var errs []error
	if !im.readOnly {
		errs = append(errs, im.drain(), im.closeBitmaps(), im.fillLastCluster(), im.giveBackRoom())
		if im.writes.Load() > 0 { // what Open changed is durable
			errs = append(errs, im.sync())
		}
		if errors.Join(errs...) == nil {
			errs = append(errs, im.clearDirtyBit())
		}
	}
	// A flush that began before the pause may still be running.
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	im.reclaimMu.Lock()
	defer im.reclaimMu.Unlock()
	im.done = true
	return errors.Join(append(errs, im.closeOthers(), im.f.Close())...)
}

// drain commits until memory holds nothing that the disk does not. Without
// requests in progress a cluster's way back takes three commits.
// Preconditions: the image is paused.
func (im *Image) drain() error {
	for !im.idle() {
		if err := im.commitAll(); err != nil {
			return err
		}
		if err := im.reclaim(); err != nil {
			return err
		}
	}
	return im.clearDirtyBit()
}

// idle reports whether there is nothing to commit and nothing to free. It waits
// for the commit or the reclaim of a Flush in progress, which a pause does not
// keep out.
func (im *Image) idle() bool {
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	im.reclaimMu.Lock()
	defer im.reclaimMu.Unlock()
	im.mu.Lock()
	defer im.mu.Unlock()
	ch := &im.changes
	return ch.l1.empty() && ch.refTable.empty() && len(ch.released) == 0 && len(ch.retired) == 0 &&
		len(im.l2.dirty) == 0 && len(im.refs.dirty) == 0
}
