package qcow2

import "fmt"

// The state of a machine that runs is written as snapshots have it, behind the disk: by
// who saves it before the snapshot is made, or looks at it after having gone back to one.

// WriteVMState stores bufs, in order, at offset off of the machine's state that is behind the
// disk. It grows as needed, up to what an L1 table can map (else ErrTooLarge).
// CreateSnapshot keeps it in the snapshot and takes it from the disk, ApplySnapshot brings it back.
func (im *Image) WriteVMState(bufs [][]byte, off int64) error {
	n := vecLen(bufs)
	if im.g.dataFile {
		return fmt.Errorf("write machine state: %w: the image has an external data file", ErrUnsupported)
	}
	for {
		rq, at, err := im.beginState("write", bufs, off, n, true)
		if err != nil {
			return err
		}
		if need := im.g.l1Entries(at + n); need > im.l1Len() {
			im.end(rq)
			if err := im.growForState(need); err != nil {
				return im.note(fmt.Errorf("write machine state: %w", err))
			}
			continue // the disk may have another size by now
		}
		im.at(EventVmstateSave)
		return im.finishWrite(rq, im.write(rq, at, n))
	}
}

// ReadVMState fills bufs, in order, from offset off of the machine's state that is behind the
// disk; what was not written there reads as zeroes.
func (im *Image) ReadVMState(bufs [][]byte, off int64) error {
	n := vecLen(bufs)
	rq, at, err := im.beginState("read", bufs, off, n, false)
	if err != nil {
		return err
	}
	im.at(EventVmstateLoad)
	covered := max(0, min(n, im.l1Len()<<im.g.l1Shift-at))
	err = im.readState(rq, at, covered)
	if err == nil && n > covered {
		clearVec(rq.vec.next(n-covered), 0)
	}
	im.end(rq)
	return im.note(err)
}

// beginState is begin for the machine's state. It also returns the guest offset of the state
// at off.
func (im *Image) beginState(op string, bufs [][]byte, off, n int64, write bool) (*request, int64, error) {
	t, err := im.epochs.enter()
	if err != nil {
		return nil, 0, err
	}
	if err = im.admit(op, 0, 0, write); err == nil && (off < 0 || off > maxHostOffset-n) {
		err = fmt.Errorf("%w: %s of %d bytes of machine state at %d", ErrRange, op, n, off)
	}
	base := im.g.l1Entries(im.Size()) << im.g.l1Shift
	if err == nil && base > maxHostOffset-off-n {
		err = fmt.Errorf("%w: %s of %d bytes of machine state at %d", ErrTooLarge, op, n, off)
	}
	if err != nil {
		im.epochs.exit(t)
		return nil, 0, err
	}
	return im.newRequest(t, bufs, 0, 0), base + off, nil // nothing of the disk changes
}

// l1Len is the number of L1 entries. Inside a request it does not change.
func (im *Image) l1Len() int64 {
	im.mu.RLock()
	defer im.mu.RUnlock()
	return int64(len(im.l1))
}

// growForState gives the image an L1 table of at least n entries.
func (im *Image) growForState(n int64) error {
	if n > maxL1Bytes/8 {
		return fmt.Errorf("%w: an L1 table of %d entries (at most %d)", ErrTooLarge, n, maxL1Bytes/8)
	}
	if err := im.epochs.pause(false); err != nil {
		return err
	}
	defer im.epochs.resume()
	if err := im.mayWrite(); err != nil {
		return err
	}
	return im.growL1(n)
}

// readState fills the next n bytes of rq from guest offset off, behind the disk, where
// nothing is the backing file's.
func (im *Image) readState(rq *request, off, n int64) error {
	for n > 0 {
		im.mu.RLock()
		m, miss, err := im.lookup(off, n)
		im.mu.RUnlock()
		switch {
		case err != nil:
			return err
		case miss != 0:
			if err := im.fetch(miss); err != nil {
				return fmt.Errorf("read L2 table: %w", err)
			}
			continue
		case m.kind == kindUnallocated:
			clearVec(rq.vec.next(m.length), 0)
		default:
			if err := im.readMapped(rq, &m, off); err != nil {
				return err
			}
		}
		off, n = off+m.length, n-m.length
	}
	return nil
}
