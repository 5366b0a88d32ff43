package qcow2

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SnapshotInfo describes an internal snapshot.
type SnapshotInfo struct {
	ID   string // unique in the image, as a rule a decimal number
	Name string // need not be unique
	Date time.Time
	// DiskSize is the capacity of the disk in the snapshot, in bytes.
	DiskSize int64
	// VMStateSize is the length of the machine's state, in bytes; 0 if the
	// snapshot is of the disk alone.
	VMStateSize int64
	// VMClock is how long the machine had run.
	VMClock time.Duration
	// ICount is how many instructions the machine had executed; -1: unknown.
	ICount int64
}

// SnapshotOptions describes a new internal snapshot.
type SnapshotOptions struct {
	Name    string        // 1 to 255 bytes
	Date    time.Time     // zero: now
	VMClock time.Duration // how long the machine has run
	ICount  *int64        // how many instructions it has executed; nil: unknown
	// VMState, if set, is the state of the machine. It is read to its end while
	// all requests wait.
	VMState io.Reader
}

// maxSnapshotName is the longest name, in bytes, that QEMU can handle.
const maxSnapshotName = 255

func (s *snapshot) info() SnapshotInfo {
	return SnapshotInfo{
		ID:          untilNUL(s.id),
		Name:        untilNUL(s.name),
		Date:        time.Unix(int64(s.dateSec), int64(s.dateNsec)),
		DiskSize:    int64(s.diskSize),
		VMStateSize: int64(s.vmState),
		VMClock:     time.Duration(s.vmClock),
		ICount:      int64(s.icount),
	}
}

// untilNUL is what of a string in an image counts for programs that keep strings as C
// does: what comes before a NUL. In the image it stays whole.
func untilNUL(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

// Snapshots lists the internal snapshots in the order of the table.
func (im *Image) Snapshots() []SnapshotInfo { return im.Info().Snapshots }

// CreateSnapshot preserves the present state of the disk in the image: all
// writes that have returned. Other requests wait meanwhile. When it returns the
// snapshot is durable, and so is everything in it.
//
// It fails with ErrTooLarge if the refcounts of the image are too narrow to
// count one more reference to each cluster.
func (im *Image) CreateSnapshot(o SnapshotOptions) (SnapshotInfo, error) {
	if o.Name == "" || len(o.Name) > maxSnapshotName || strings.ContainsRune(o.Name, 0) {
		return SnapshotInfo{}, fmt.Errorf("create snapshot %q: the name must have 1 to %d bytes, none of them zero", o.Name, maxSnapshotName)
	}
	date := o.Date
	if date.IsZero() {
		date = time.Now()
	}
	if sec := date.Unix(); sec < 0 || sec > math.MaxUint32 {
		return SnapshotInfo{}, fmt.Errorf("create snapshot %q: the date %v is not between 1970 and 2106", o.Name, date)
	}
	s := snapshot{
		name:     o.Name,
		dateSec:  uint32(date.Unix()),
		dateNsec: uint32(date.Nanosecond()),
		vmClock:  uint64(o.VMClock),
		icount:   noIcount,
	}
	if o.ICount != nil {
		s.icount = uint64(*o.ICount)
	}
	err := im.changeSnapshots(func(r *rootChange) error {
		// The old L1 table becomes the snapshot's, as it is.
		s.id = nextSnapshotID(im.snaps)
		s.l1Offset, s.l1Size = int64(im.hdr.l1Offset), int64(im.hdr.l1Size)
		s.diskSize = im.hdr.size
		l1 := im.activeRoot(im.l1, im.hdr.size)
		if o.VMState != nil {
			if err := r.saveVMState(&s, o.VMState); err != nil {
				return err
			}
		}
		if err := r.gain(l1); err != nil {
			return err
		}
		if err := r.setSnapshots(append(slices.Clone(im.snaps), s)); err != nil {
			return err
		}
		return r.setL1(l1)
	})
	if err != nil {
		return SnapshotInfo{}, fmt.Errorf("create snapshot %q: %w", o.Name, err)
	}
	return s.info(), nil
}

// ApplySnapshot makes the disk what it was in a snapshot, its size included;
// what was written since is gone. The snapshot is chosen by its ID or, if none
// has that, by its name. Other requests wait meanwhile. A disk with dirty
// bitmaps is refused.
func (im *Image) ApplySnapshot(idOrName string) error {
	was := im.Size()
	err := im.changeSnapshots(func(r *rootChange) error {
		if len(im.bitmaps) != 0 {
			return fmt.Errorf("%w: the disk has dirty bitmaps, which would not tell what that changes", ErrUnsupported)
		}
		i, err := findSnapshot(im.snaps, hasID(idOrName), hasName(idOrName))
		if err != nil {
			return err
		}
		s := &im.snaps[i]
		if err := im.checkSnapshotSize(s); err != nil {
			return err
		}
		saved, err := im.snapshotL1(s)
		if err != nil {
			return err
		}
		// All of it, the machine's state behind the disk as well.
		l1 := make([]uint64, max(len(saved), len(im.l1)))
		copy(l1, saved)
		mine, theirs := differing(im.l1, l1)
		if err := r.lose(mine); err != nil {
			return err
		}
		if err := r.gain(theirs); err != nil {
			return err
		}
		if err := r.dropL1(); err != nil {
			return err
		}
		im.hdr.size = s.diskSize
		return r.setL1(l1)
	})
	im.announceSize(was)
	if err != nil {
		return fmt.Errorf("apply snapshot %q: %w", idOrName, err)
	}
	return nil
}

// DeleteSnapshot removes a snapshot and gives back what it alone used. The
// snapshot is chosen by its name or, if none has that, by its ID. Other
// requests wait meanwhile.
func (im *Image) DeleteSnapshot(nameOrID string) error {
	err := im.changeSnapshots(func(r *rootChange) error {
		i, err := findSnapshot(im.snaps, hasName(nameOrID), hasID(nameOrID))
		if err != nil {
			return err
		}
		s := im.snaps[i]
		saved, err := im.snapshotL1(&s)
		if err != nil {
			return err
		}
		if err := r.lose(saved); err != nil {
			return err
		}
		if err := r.loseRun(s.l1Offset, s.l1Size*8, false); err != nil {
			return err
		}
		if err := r.setSnapshots(slices.Delete(slices.Clone(im.snaps), i, i+1)); err != nil {
			return err
		}
		l1 := slices.Clone(im.l1)
		if err := r.dropL1(); err != nil {
			return err
		}
		return r.setL1(l1)
	})
	if err != nil {
		return fmt.Errorf("delete snapshot %q: %w", nameOrID, err)
	}
	return nil
}

// changeSnapshots is changeRoot for images that can have snapshots: data in an
// external file can't be shared.
func (im *Image) changeSnapshots(plan func(*rootChange) error) error {
	if im.g.dataFile {
		return fmt.Errorf("%w: snapshots of an image with an external data file", ErrUnsupported)
	}
	return im.changeRoot(plan)
}

// activeRoot returns the L1 table of a disk of size bytes which begins with the
// entries of l1. What follows the disk there, state of a machine, is left out.
// The table is not shorter than the present one.
func (im *Image) activeRoot(l1 []uint64, size uint64) []uint64 {
	n := im.g.l1Entries(int64(size))
	root := make([]uint64, max(n, int64(len(im.l1))))
	copy(root, l1[:n])
	return root
}

// checkSnapshotSize refuses a snapshot of a disk that this image can't become.
func (im *Image) checkSnapshotSize(s *snapshot) error {
	switch {
	case s.diskSize == im.hdr.size:
	case im.g.version < 3:
		return fmt.Errorf("%w: its disk has %d bytes, and the size of a version 2 image with snapshots can't change (%d bytes)",
			ErrUnsupported, s.diskSize, im.hdr.size)
	case s.diskSize > math.MaxInt64 || s.diskSize%sectorSize != 0:
		return fmt.Errorf("%w: disk size of %d bytes", ErrInvalid, s.diskSize)
	}
	if need := im.g.l1Entries(int64(s.diskSize)); need > s.l1Size {
		return fmt.Errorf("%w: L1 table of snapshot is too small: %d entries for a disk of %d bytes (needs %d)",
			ErrInvalid, s.l1Size, s.diskSize, need)
	}
	return nil
}

func hasID(id string) func(snapshot) bool {
	return func(s snapshot) bool { return untilNUL(s.id) == id }
}

func hasName(name string) func(snapshot) bool {
	return func(s snapshot) bool { return untilNUL(s.name) == name }
}

// findSnapshot returns the index of the first snapshot that matches best: what
// one matches goes before what only the next one does.
func findSnapshot(list []snapshot, matches ...func(snapshot) bool) (int, error) {
	for _, m := range matches {
		if i := slices.IndexFunc(list, m); i >= 0 {
			return i, nil
		}
	}
	return 0, ErrNoSnapshot
}

// nextSnapshotID is one more than the highest ID that is a number.
func nextSnapshotID(list []snapshot) string {
	last := uint64(0)
	used := make(map[string]bool)
	for _, s := range list {
		id := untilNUL(s.id)
		used[id] = true
		if n, err := strconv.ParseUint(id, 10, 64); err == nil {
			last = max(last, n)
		}
	}
	for {
		last++ // may wrap around
		if id := strconv.FormatUint(last, 10); last != 0 && !used[id] {
			return id
		}
	}
}
