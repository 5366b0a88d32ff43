package qcow2

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// AmendOptions says what to change in an image. Zero values leave things alone.
type AmendOptions struct {
	Version       int // 2 or 3
	RefcountBits  int // a power of two up to 64; in version 2 only 16
	LazyRefcounts *bool
	Size          *int64 // of the disk, bytes; see Resize
	// DataFile is a new name of the external data file, for an image that has one; what is
	// in use stays open. Empty, the image names none, and who opens it must.
	DataFile *string
	// NotRaw says that the external data file need not read as the disk does any more.
	NotRaw bool
	// Progress is told of the steps that look at all of an image: another version, and another
	// width of refcounts. Where there are both, the total is an estimate at first, and so it
	// may go back.
	Progress Progress
}

// Amend changes properties of an image, while it is in use. Each of them
// changes in one atomic step, in this order: a newer version, the width of
// refcounts, the data file, lazy refcounts, the size, an older version. After an error the
// steps before it are done.
//
// Version 2 has no zero clusters: on the way there, zero clusters become
// unallocated ones or, over a backing file, clusters of zeroes, in the disk and
// in all snapshots.
func (im *Image) Amend(o AmendOptions) error {
	if err := im.amend(&o); err != nil {
		return im.note(fmt.Errorf("amend: %w", err))
	}
	return nil
}

func (im *Image) amend(o *AmendOptions) error {
	if im.readOnly {
		return ErrReadOnly
	}
	was := int(im.Info().Version)
	version := o.Version
	if version == 0 {
		version = was
	}
	width := o.RefcountBits
	switch {
	case version != 2 && version != 3:
		return fmt.Errorf("qcow2 version %d (2 or 3 is allowed)", version)
	case width != 0 && (width < 1 || width > 64 || bits.OnesCount(uint(width)) != 1):
		return fmt.Errorf("refcount width of %d bits (a power of two up to 64 is allowed)", width)
	case width != 0 && width != DefaultRefcountBits && version == 2:
		return fmt.Errorf("refcount width of %d bits (version 2 has %d)", width, DefaultRefcountBits)
	case o.LazyRefcounts != nil && *o.LazyRefcounts && version == 2:
		return errors.New("lazy refcounts need version 3")
	case (o.DataFile != nil || o.NotRaw) && !im.g.dataFile:
		return errors.New("the image has no external data file")
	}
	widen := width != 0 && width != im.Info().RefcountBits
	progress := amendProgress{to: o.Progress}
	for _, big := range []bool{version != was, widen} {
		if big {
			progress.left++
		}
	}
	if version > was {
		report := progress.step()
		report(0, upgradeSteps)
		report(1, upgradeSteps) // the snapshots are part of what is next
		if err := im.upgrade(); err != nil {
			return err
		}
		report(upgradeSteps, upgradeSteps)
	}
	if widen {
		if err := im.setRefcountWidth(uint(bits.TrailingZeros(uint(width))), progress.step()); err != nil {
			return err
		}
	}
	if o.DataFile != nil || o.NotRaw {
		if err := im.amendDataFile(o); err != nil {
			return err
		}
	}
	if o.LazyRefcounts != nil && *o.LazyRefcounts != im.Info().LazyRefcounts {
		if err := im.setLazyRefcounts(*o.LazyRefcounts); err != nil {
			return err
		}
	}
	if o.Size != nil {
		if err := im.Resize(*o.Size); err != nil {
			return err
		}
	}
	if version < was {
		return im.downgrade(progress.step())
	}
	return nil
}

// upgradeSteps is how many units of progress a newer version has, as those of qemu-img amend.
const upgradeSteps = 2

// amendProgress makes one progress of those of several steps, whose work is not known before.
type amendProgress struct {
	to         Progress
	left       int64 // steps that have not begun
	steps      int64 // those that have
	before, is int64 // work of the steps before, and of the one that is under way
}

// step begins a step, and returns its progress. What is left is taken to be as much work, step by
// step, as those that have begun.
func (p *amendProgress) step() Progress {
	p.left, p.steps = p.left-1, p.steps+1
	p.before, p.is = p.before+p.is, 0
	return func(done, total int64) {
		p.is = total
		known := p.before + total
		p.to.report(p.before+done, known+known*p.left/p.steps)
	}
}

// whilePaused calls change when no request is running and nothing is left to
// commit.
func (im *Image) whilePaused(change func() error) error {
	if err := im.epochs.pause(false); err != nil {
		return err
	}
	defer im.epochs.resume()
	if err := im.mayWrite(); err != nil {
		return err
	}
	if err := im.drain(); err != nil {
		return err
	}
	return change()
}

// upgrade makes a version 2 image one of version 3. There each snapshot must
// say how large its disk is; here they always do when they are written.
func (im *Image) upgrade() error {
	return im.whilePaused(func() error {
		if len(im.snaps) > 0 {
			err := im.changeRootPaused(func(r *rootChange) error { return r.setSnapshots(slices.Clone(im.snaps)) })
			if err == nil {
				err = im.drain()
			}
			if err != nil {
				return err
			}
		}
		h := *im.hdr
		h.version, h.refcountOrder = 3, 4
		h.tail = make([]byte, headerSizeV3-headerMinSizeV3-1)
		if im.g.clusterSize > 4096 && h.extension(extFeatureNames) == nil {
			h.extensions = append(slices.Clip(h.extensions), extension{extFeatureNames, marshalFeatures(knownFeatures())})
		}
		if err := im.replaceHeader(&h); err != nil {
			return err
		}
		im.g.version = 3
		return nil
	})
}

// downgrade makes a version 3 image one of version 2, if all that is in it can
// be said there.
func (im *Image) downgrade(progress Progress) error {
	return im.whilePaused(func() error {
		if err := im.mayDowngrade(); err != nil {
			return err
		}
		if err := im.changeRootPaused(func(r *rootChange) error { return r.expandZeroes(progress) }); err != nil {
			return fmt.Errorf("%w: %w", ErrExpandZeroes, err)
		}
		if err := im.drain(); err != nil {
			return err
		}
		h := *im.hdr
		h.version, h.tail, h.compression = 2, nil, CompressionZlib
		h.incompatible, h.compatible, h.autoclear = 0, 0, 0
		h.extensions = slices.DeleteFunc(slices.Clone(h.extensions), func(e extension) bool {
			return e.kind == extFeatureNames || e.kind == extBitmaps
		})
		if err := im.replaceHeader(&h); err != nil {
			return err
		}
		im.g.version = 2
		im.codec = newCodec(CompressionZlib, im.g.clusterSize)
		return nil
	})
}

func (im *Image) mayDowngrade() error {
	h := im.hdr
	if h.refcountOrder != 4 {
		return unknownKind("compat=0.10 requires refcount_bits=16", "these are %d", 1<<h.refcountOrder)
	}
	for _, s := range im.snaps {
		if s.vmState > math.MaxUint32 || s.diskSize != h.size {
			return unknownKind("Internal snapshots prevent downgrade of image", "snapshot %q has a disk of %d bytes, machine state of %d bytes", s.name, s.diskSize, s.vmState)
		}
	}
	if im.g.dataFile {
		return unknownKind("Cannot downgrade an image with a data file", "")
	}
	if mask := h.incompatible &^ (incompatCompression | incompatDirty); mask != 0 {
		return unknownKind(fmt.Sprintf("Cannot downgrade an image with incompatible features %#x set", mask), "")
	}
	if h.autoclear&autoclearBitmaps != 0 || slices.ContainsFunc(im.bitmaps, func(b *bitmap) bool { return !b.transient }) {
		return errors.New("version 2 has no persistent bitmaps")
	}
	if h.compression == CompressionZlib {
		return nil
	}
	if compressed, err := im.anyCompressed(); err != nil || !compressed {
		return err
	}
	return unknownKind(fmt.Sprintf("Cannot downgrade an image with %v compression type and existing compressed clusters", h.compression), "")
}

// anyCompressed reports whether the disk or a snapshot has compressed clusters.
func (im *Image) anyCompressed() (found bool, err error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	seen := make(map[int64]bool)
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	err = im.eachL1(func(_ int, l1 []uint64) error {
		for _, e := range l1 {
			table := int64(e & entryOffset)
			if table == 0 || seen[table] || found {
				continue
			}
			seen[table] = true
			if err := readFull(im.f, *buf, table); err != nil {
				return fmt.Errorf("read L2 table: %w", err)
			}
			for i := int64(0); i < 1<<im.g.l2Bits && !found; i++ {
				found = im.g.word(*buf, i)&entryCompressed != 0
			}
		}
		return nil
	})
	return found, err
}

// eachL1 calls visit for the L1 table of each snapshot, by index, and with -1
// for that of the disk.
func (im *Image) eachL1(visit func(snapshot int, l1 []uint64) error) error {
	for i := range im.snaps {
		s := &im.snaps[i]
		l1, err := im.snapshotL1(s)
		if err != nil {
			return err
		}
		if err := visit(i, l1); err != nil {
			return fmt.Errorf("snapshot %q: %w", s.name, err)
		}
	}
	return visit(-1, slices.Clone(im.l1))
}

// amendDataFile changes what the header says of the external data file.
func (im *Image) amendDataFile(o *AmendOptions) error {
	return im.whilePaused(func() error {
		h := *im.hdr
		if o.NotRaw {
			h.autoclear &^= autoclearRawData
		}
		if o.DataFile != nil {
			h.setExtension(extDataFile, nil)
			if *o.DataFile != "" {
				h.setExtension(extDataFile, []byte(*o.DataFile))
			}
		}
		return im.replaceHeader(&h)
	})
}

// setLazyRefcounts changes what writers may do; see CreateOptions.
func (im *Image) setLazyRefcounts(on bool) error {
	return im.whilePaused(func() error {
		im.mu.Lock()
		defer im.mu.Unlock()
		features := im.hdr.compatible &^ compatLazyRefcounts
		if on {
			features |= compatLazyRefcounts
		}
		if err := im.updateField(hdrCompat, features); err != nil {
			return err
		}
		im.hdr.compatible, im.lazy = features, nil
		return nil
	})
}
