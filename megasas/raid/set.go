package raid

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Limits of a Set.
const (
	MaxDrives  = 240 // device ids are 0 to 239
	MaxVolumes = 64  // target ids are 0 to 63
)

// Set is the drives, arrays and volumes of one controller.
type Set struct {
	observe func(Change)

	// Written with mu held, read without.
	drives  [MaxDrives]atomic.Pointer[PhysicalDrive]
	volumes [MaxVolumes]atomic.Pointer[Volume]

	mu     sync.Mutex
	arrays []*array // guarded by mu, by reference
}

// NewSet returns an empty Set. observe, if not nil, is told of every change
// while the Set is locked: it may not change the Set.
func NewSet(observe func(Change)) *Set {
	if observe == nil {
		observe = func(Change) {}
	}
	return &Set{observe: observe}
}

// Change is something that happened to a Set: one of the types below.
type Change interface{ change() }

// DriveInserted is a new drive, unconfigured good.
type DriveInserted struct{ Drive DriveStatus }

// DriveStateChanged is a drive's change of state; Drive has the new one.
type DriveStateChanged struct {
	Drive DriveStatus
	Prev  DriveState
}

// VolumeCreated is a new volume.
type VolumeCreated struct{ Volume VolumeStatus }

// VolumeStateChanged is a volume's change of state; Volume has the new one.
type VolumeStateChanged struct {
	Volume VolumeStatus
	Prev   VolumeState
}

func (DriveInserted) change()      {}
func (DriveStateChanged) change()  {}
func (VolumeCreated) change()      {}
func (VolumeStateChanged) change() {}

// Drive returns the drive of a device id, or nil.
func (s *Set) Drive(id uint16) *PhysicalDrive {
	if int(id) >= len(s.drives) {
		return nil
	}
	return s.drives[id].Load()
}

// Volume returns the volume of a target id, or nil.
func (s *Set) Volume(target uint8) *Volume {
	if int(target) >= len(s.volumes) {
		return nil
	}
	return s.volumes[target].Load()
}

// AddDrive takes a drive in, as unconfigured good. Its device id is the lowest
// that is free.
func (s *Set) AddDrive(d Drive) (*PhysicalDrive, error) {
	id := d.Identity()
	if err := id.check(); err != nil {
		return nil, err
	}
	if d.Size() < BlockSize {
		return nil, fmt.Errorf("drive %q: %d bytes: at least %d are needed", id.Serial, d.Size(), BlockSize)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	free := -1
	for i := range s.drives {
		other := s.drives[i].Load()
		if other == nil {
			if free < 0 {
				free = i
			}
			continue
		}
		if o := other.Identity(); o.Enclosure == id.Enclosure && o.Slot == id.Slot {
			return nil, fmt.Errorf("drive %q: slot %d is taken by drive %q", id.Serial, id.Slot, o.Serial)
		}
	}
	if free < 0 {
		return nil, fmt.Errorf("drive %q: at most %d drives", id.Serial, MaxDrives)
	}
	p := &PhysicalDrive{Drive: d, id: uint16(free)}
	s.drives[free].Store(p)
	s.observe(DriveInserted{p.status()})
	return p, nil
}

// ErrState is the error of a change of state that there is not.
var ErrState = errors.New("raid: the drive's state does not allow it")

// SetDriveState moves a drive to another state, and with it what depends on it.
func (s *Set) SetDriveState(id uint16, to DriveState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.Drive(id)
	if d == nil {
		return fmt.Errorf("raid: no drive has device id %d", id)
	}
	if !legal(d.State(), to, d.array != nil) {
		return fmt.Errorf("%w: drive %d from %v to %v", ErrState, id, d.State(), to)
	}
	s.moveDrive(d, to)
	return nil
}

// legal reports whether a drive may go from one state to another; member says
// that it belongs to an array.
func legal(from, to DriveState, member bool) bool {
	if member {
		switch from {
		case Online:
			return to == Offline || to == Failed
		case Offline, Failed:
			return to == Online
		}
		return false
	}
	switch from {
	case UnconfiguredGood:
		return to == System || to == UnconfiguredBad
	case System, UnconfiguredBad:
		return to == UnconfiguredGood
	}
	return false
}

// moveDrive changes a drive's state and tells what that means for the volumes
// of its array.
//
// Preconditions: s.mu is held.
func (s *Set) moveDrive(d *PhysicalDrive, to DriveState) {
	prev := d.State()
	if prev == to {
		return
	}
	var touched []*Volume
	var before []VolumeState
	for i := range s.volumes {
		if v := s.volumes[i].Load(); v != nil && v.array == d.array {
			touched = append(touched, v)
			before = append(before, v.State())
		}
	}
	d.state.Store(uint32(to))
	d.sequence.Add(1)
	s.observe(DriveStateChanged{d.status(), prev})
	for i, v := range touched {
		if v.State() != before[i] {
			v.sequence.Add(1)
			s.observe(VolumeStateChanged{v.status(), before[i]})
		}
	}
}

// CreateVolume makes a volume, and an array of its drives under it. Its target
// id is the lowest that is free.
func (s *Set) CreateVolume(c VolumeConfig) (*Volume, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	target := s.freeTarget()
	if target < 0 {
		return nil, fmt.Errorf("volume %q: at most %d volumes", c.Name, MaxVolumes)
	}
	a := &array{ref: s.freeRef()}
	for _, id := range c.Drives {
		d := s.Drive(id)
		if d == nil {
			return nil, fmt.Errorf("volume %q: no drive has device id %d", c.Name, id)
		}
		if d.State() != UnconfiguredGood {
			return nil, fmt.Errorf("%w: drive %d is %v, a new volume needs %v", ErrState, id, d.State(), UnconfiguredGood)
		}
		a.drives = append(a.drives, d)
	}
	s.arrays = append(s.arrays, a)
	slices.SortFunc(s.arrays, func(a, b *array) int { return int(a.ref) - int(b.ref) })
	for _, d := range a.drives {
		d.array = a
		s.moveDrive(d, Online)
	}
	v := &Volume{
		target: uint8(target),
		name:   c.Name,
		level:  c.Level,
		cache:  c.Cache,
		stripe: defaultStripe,
		array:  a,
	}
	s.volumes[target].Store(v)
	s.observe(VolumeCreated{v.status()})
	return v, nil
}

// freeTarget is the lowest target id that is free, or -1.
//
// Preconditions: s.mu is held.
func (s *Set) freeTarget() int {
	for i := range s.volumes {
		if s.volumes[i].Load() == nil {
			return i
		}
	}
	return -1
}

// freeRef is the lowest array reference that is free.
//
// Preconditions: s.mu is held.
func (s *Set) freeRef() uint16 {
	ref := uint16(0)
	for _, a := range s.arrays { // sorted
		if a.ref != ref {
			break
		}
		ref++
	}
	return ref
}

// Flush makes all writes that returned before durable, on every drive. It goes
// on after a failure and returns all of them.
func (s *Set) Flush() error {
	var errs []error
	for i := range s.drives {
		d := s.drives[i].Load()
		if d == nil || d.ReadOnly() {
			continue
		}
		if err := d.Flush(); err != nil {
			errs = append(errs, fmt.Errorf("drive %d: flush: %w", i, err))
		}
	}
	return errors.Join(errs...)
}
