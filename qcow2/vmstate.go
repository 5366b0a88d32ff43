package qcow2

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// SnapshotRef chooses an internal snapshot. The zero value chooses none.
type SnapshotRef struct {
	ID, Name string // as far as they are set, both must match
	Any      string // instead: what has this ID or, if none has it, this name
}

// find returns the index of the snapshot in a list.
func (s SnapshotRef) find(list []snapshot) (int, error) {
	if s.Any != "" {
		return findSnapshot(list, hasID(s.Any), hasName(s.Any))
	}
	return findSnapshot(list, func(have snapshot) bool {
		return (s.ID == "" || have.id == s.ID) && (s.Name == "" || have.name == s.Name)
	})
}

func (s SnapshotRef) String() string {
	switch {
	case s.Any != "":
		return fmt.Sprintf("%q", s.Any)
	case s.ID == "":
		return fmt.Sprintf("named %q", s.Name)
	case s.Name == "":
		return fmt.Sprintf("with ID %q", s.ID)
	}
	return fmt.Sprintf("named %q with ID %q", s.Name, s.ID)
}

// goBack makes an image that was just opened read-only show the disk as it was
// in a snapshot. Its file does not change.
func (im *Image) goBack(ref SnapshotRef) error {
	if ref == (SnapshotRef{}) {
		return nil
	}
	if !im.readOnly {
		return errors.New("a snapshot can only be opened read-only")
	}
	i, err := ref.find(im.snaps)
	if err != nil {
		return fmt.Errorf("snapshot %v: %w", ref, err)
	}
	s := &im.snaps[i]
	if s.diskSize > math.MaxInt64 || im.g.l1Entries(int64(s.diskSize)) > s.l1Size {
		return fmt.Errorf("snapshot %v: %w: L1 table of %d entries for a disk of %d bytes", ref, ErrInvalid, s.l1Size, s.diskSize)
	}
	if im.l1, err = im.snapshotL1(s); err != nil {
		return fmt.Errorf("snapshot %v: %w", ref, err)
	}
	im.atSnapshot = true
	im.size.Store(int64(s.diskSize) &^ (sectorSize - 1))
	return nil
}

// The state of a machine is in a snapshot as if it were data behind its disk,
// from the first L1 entry on that the disk does not need.

// VMState returns the state of a machine that is in a snapshot. It can be read
// as long as the snapshot exists, concurrently with everything else.
func (im *Image) VMState(ref SnapshotRef) (*io.SectionReader, error) {
	im.mu.RLock()
	defer im.mu.RUnlock()
	i, err := ref.find(im.snaps)
	if err != nil {
		return nil, fmt.Errorf("snapshot %v: %w", ref, err)
	}
	s := im.snaps[i]
	l1, err := im.snapshotL1(&s)
	if err != nil {
		return nil, fmt.Errorf("snapshot %v: %w", ref, err)
	}
	if s.diskSize > math.MaxInt64 || s.vmState > math.MaxInt64 {
		return nil, fmt.Errorf("snapshot %v: %w: a disk of %d bytes, machine state of %d", ref, ErrInvalid, s.diskSize, s.vmState)
	}
	first := im.g.l1Entries(int64(s.diskSize))
	if need := first + im.g.l1Entries(int64(s.vmState)); need < first || need > s.l1Size {
		return nil, fmt.Errorf("snapshot %v: %w: L1 table of %d entries for machine state of %d bytes", ref, ErrInvalid, s.l1Size, s.vmState)
	}
	v := &vmState{im: im, snapshot: s, l1: l1, base: first << im.g.l1Shift}
	return io.NewSectionReader(v, 0, int64(s.vmState)), nil
}

// vmState reads the state of a machine in a snapshot.
type vmState struct {
	im       *Image
	snapshot snapshot
	l1       []uint64 // of the snapshot
	base     int64    // where the state begins, as a guest offset
}

// ReadAt implements io.ReaderAt. The range lies inside the state.
func (v *vmState) ReadAt(p []byte, off int64) (int, error) {
	im := v.im
	rq, err := im.begin("read", [][]byte{p}, 0, 0, false)
	if err != nil {
		return 0, err
	}
	defer im.end(rq)
	im.at(EventVmstateLoad)
	done := int64(0)
	for off += v.base; done < int64(len(p)); {
		m, err := v.lookup(off+done, int64(len(p))-done)
		if err != nil {
			return int(done), im.note(err)
		}
		if m.kind == kindUnallocated {
			clearVec(rq.vec.next(m.length), 0)
		} else if err := im.readMapped(rq, &m, off+done); err != nil {
			return int(done), im.note(err)
		}
		done += m.length
	}
	return int(done), nil
}

// lookup maps n bytes at a guest offset by the L1 table of the snapshot.
// Preconditions: in a request, so that the snapshot stays while it is there.
func (v *vmState) lookup(off, n int64) (mapping, error) {
	im := v.im
	for {
		im.mu.RLock()
		gone := !slices.ContainsFunc(im.snaps, func(s snapshot) bool {
			return s.id == v.snapshot.id && s.l1Offset == v.snapshot.l1Offset
		})
		m, miss, err := im.lookupIn(v.l1, off, n)
		im.mu.RUnlock()
		switch {
		case gone:
			return m, fmt.Errorf("snapshot %q: %w", v.snapshot.name, ErrNoSnapshot)
		case err != nil || miss == 0:
			return m, err
		}
		if err := im.fetch(miss); err != nil {
			return m, fmt.Errorf("read L2 table: %w", err)
		}
	}
}

// saveVMState writes the state of a machine, up to the end of src, and gives s
// an L1 table of its own: that of the disk with the state behind it.
func (r *rootChange) saveVMState(s *snapshot, src io.Reader) error {
	im := r.im
	im.at(EventVmstateSave)
	first := im.g.l1Entries(int64(im.hdr.size))
	if err := r.lose(im.l1[first:]); err != nil { // state that somebody left behind
		return err
	}
	l1 := slices.Clone(im.l1[:first])
	for end := false; !end; {
		if int64(len(l1)) >= maxL1Bytes/8 {
			return fmt.Errorf("%w: machine state of more than %d bytes", ErrTooLarge, s.vmState)
		}
		table := make([]byte, im.g.clusterSize)
		n, err := r.saveTable(table, int64(len(l1))<<im.g.l1Shift, src)
		if err != nil {
			return err
		}
		s.vmState += uint64(n)
		if end = n < 1<<im.g.l1Shift; n == 0 {
			break
		}
		host, err := r.place(table)
		if err != nil {
			return err
		}
		l1 = append(l1, uint64(host))
	}
	if err := r.dropL1(); err != nil {
		return err
	}
	var err error
	s.l1Size = int64(len(l1))
	s.l1Offset, err = r.place(marshalTable(l1))
	return err
}

// saveTable writes what an L2 table maps, from guest offset off on, and fills
// the table. It returns how much there was.
func (r *rootChange) saveTable(table []byte, off int64, src io.Reader) (n int64, err error) {
	im := r.im
	buf := im.clusterBuffer()
	defer im.buffers.Put(buf)
	for i := int64(0); i < 1<<im.g.l2Bits; i++ {
		got, err := io.ReadFull(src, *buf)
		if err == io.EOF {
			break
		}
		end := errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return n, fmt.Errorf("read the machine's state: %w", err)
		}
		clear((*buf)[got:])
		n += int64(got)
		if im.g.version >= 3 && allZero(*buf) {
			im.g.setEntry(table, i, im.g.zeroEntry(0))
		} else {
			if err := r.spill(); err != nil {
				return n, err
			}
			host, err := im.allocate(1)
			if err != nil {
				return n, err
			}
			if err := im.writeData([][]byte{*buf}, host, off+i<<im.g.clusterBits); err != nil {
				return n, err
			}
			im.g.setEntry(table, i, im.g.dataEntry(uint64(host)))
		}
		if end {
			break
		}
	}
	return n, nil
}
