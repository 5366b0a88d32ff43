package raid

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// AnySequence stands for a sequence number that is not looked at.
const AnySequence = -1

func inSequence(seq int, now *atomic.Uint32) error {
	if seq != AnySequence && uint16(seq) != uint16(now.Load()) {
		return fmt.Errorf("%w: sequence number %d, now %d", ErrSequence, seq, uint16(now.Load()))
	}
	return nil
}

// CreateVolume makes a volume, and an array of its drives under it. Its target
// id is the lowest that is free. prepare, if not nil, is called before anybody
// can see the volume: if it fails, there is none.
func (s *Set) CreateVolume(c VolumeConfig, prepare func(*Volume) error) (*Volume, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	target := s.freeTarget()
	if target < 0 {
		return nil, fmt.Errorf("volume %q: at most %d volumes: %w", c.Name, MaxVolumes, ErrFull)
	}
	a, err := s.newArray(&c)
	if err != nil {
		return nil, err
	}
	v := &Volume{
		target: uint8(target),
		name:   c.Name,
		level:  c.Level,
		cache:  c.Cache,
		stripe: defaultStripe,
		blocks: c.Blocks,
		array:  a,
	}
	if v.blocks == 0 {
		v.blocks = a.status().Blocks
	}
	v.sequence.Store(s.volumeSequence[target])
	if prepare != nil {
		if err := prepare(v); err != nil {
			return nil, err
		}
	}
	s.arrays = append(s.arrays, a)
	slices.SortFunc(s.arrays, func(a, b *array) int { return int(a.ref) - int(b.ref) })
	for _, d := range a.drives {
		d.array = a
		s.moveDrive(d, Online)
	}
	s.volumes[target].Store(v)
	s.observe(VolumeCreated{v.status()})
	return v, nil
}

// newArray is the array for a volume, of drives that are free.
//
// Preconditions: s.mu is held.
func (s *Set) newArray(c *VolumeConfig) (*array, error) {
	a := &array{ref: s.freeRef()}
	for _, id := range c.Drives {
		d := s.Drive(id)
		if d == nil || d.gate.shut() {
			return nil, fmt.Errorf("volume %q: %w", c.Name, errNoDrive(id))
		}
		if d.State() != UnconfiguredGood {
			return nil, fmt.Errorf("%w: drive %d is %v, a new volume needs %v", ErrState, id, d.State(), UnconfiguredGood)
		}
		if d.Blocks() < c.Blocks {
			return nil, fmt.Errorf("volume %q: %w: drive %d has %d blocks of %d", c.Name, ErrSize, id, d.Blocks(), c.Blocks)
		}
		a.drives = append(a.drives, d)
	}
	return a, nil
}

// DeleteVolume deletes a volume, and its array with it: the drives become
// unconfigured good. I/O to it that has begun ends first, all other fails with
// ErrDeleted. seq is the volume's sequence number that this builds on, or
// AnySequence.
func (s *Set) DeleteVolume(target uint8, seq int) error {
	v := s.Volume(target)
	if v == nil {
		return errNoVolume(target)
	}
	s.mu.Lock()
	err := inSequence(seq, &v.sequence)
	if err == nil && !v.gate.close() {
		err = ErrNotFound
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("volume %d: %w", target, err)
	}
	v.gate.drain()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.volumes[target].Store(nil)
	s.volumeSequence[target] = v.sequence.Load() + 1
	s.observe(VolumeDeleted{v.status()})
	s.arrays = slices.DeleteFunc(s.arrays, func(a *array) bool { return a == v.array })
	for _, d := range v.array.drives {
		d.array = nil
		s.release(d)
	}
	return nil
}

// release makes a drive that was a member of an array free, or bad if it failed.
//
// Preconditions: s.mu is held.
func (s *Set) release(d *PhysicalDrive) {
	if s.Drive(d.id) != d {
		return // it is gone
	}
	if d.State() == Failed {
		s.moveDrive(d, UnconfiguredBad)
		return
	}
	s.moveDrive(d, UnconfiguredGood)
}

func errNoVolume(target uint8) error { return fmt.Errorf("volume %d: %w", target, ErrNotFound) }

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
