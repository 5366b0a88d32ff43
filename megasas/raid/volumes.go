package raid

import (
	"errors"
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

// CreateVolume makes a volume, and an array of its drives under it. prepare, if
// not nil, is called before anybody can see the volume: if it fails, there is
// none.
func (s *Set) CreateVolume(c VolumeConfig, prepare func(*Volume, VolumeConfig) error) (*Volume, error) {
	list, err := s.CreateVolumes([]VolumeConfig{c}, prepare)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// CreateVolumes makes several volumes, all or none.
func (s *Set) CreateVolumes(configs []VolumeConfig, prepare func(*Volume, VolumeConfig) error) ([]*Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var plan []*Volume
	for i := range configs {
		v, err := s.plan(&configs[i], plan)
		if err != nil {
			return nil, err
		}
		plan = append(plan, v)
	}
	for i, v := range plan {
		if prepare == nil {
			break
		}
		if err := prepare(v, configs[i]); err != nil {
			return nil, err
		}
	}
	for _, v := range plan {
		s.create(v)
	}
	return plan, nil
}

// plan checks a volume to be made beside those that are, and others of the plan.
//
// Preconditions: s.mu is held.
func (s *Set) plan(c *VolumeConfig, others []*Volume) (*Volume, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	place, err := s.place(c, others)
	if err != nil {
		return nil, fmt.Errorf("volume %q: %w", c.Name, err)
	}
	a := &array{ref: place.Array}
	for i, id := range c.Drives {
		d := s.Drive(id)
		if d == nil || d.gate.shut() {
			return nil, fmt.Errorf("volume %q: %w", c.Name, errNoDrive(id))
		}
		if c.Sequences != nil {
			if err := inSequence(int(c.Sequences[i]), &d.sequence); err != nil {
				return nil, fmt.Errorf("volume %q: drive %d: %w", c.Name, id, err)
			}
		}
		if d.State() != UnconfiguredGood {
			return nil, fmt.Errorf("%w: drive %d is %v, a new volume needs %v", ErrState, id, d.State(), UnconfiguredGood)
		}
		if d.work.Load() != nil {
			return nil, fmt.Errorf("volume %q: drive %d: %w", c.Name, id, ErrClearing)
		}
		if d.Blocks() < c.Blocks {
			return nil, fmt.Errorf("volume %q: %w: drive %d has %d blocks of %d", c.Name, ErrSize, id, d.Blocks(), c.Blocks)
		}
		if slices.ContainsFunc(others, func(o *Volume) bool { return slices.Contains(o.array.drives, d) }) {
			return nil, fmt.Errorf("volume %q: drive %d: %w", c.Name, id, ErrConflict)
		}
		a.drives = append(a.drives, d)
	}
	v := &Volume{
		target: place.Target,
		name:   c.Name,
		level:  c.Level,
		cache:  c.Cache,
		stripe: c.Stripe,
		array:  a,
	}
	if v.stripe == 0 {
		v.stripe = DefaultStripe
	}
	v.blocks.Store(c.Blocks)
	if c.Blocks == 0 {
		v.blocks.Store(a.status().Blocks)
	}
	v.sequence.Store(s.volumeSequence[v.target])
	return v, nil
}

// place gives a new volume its numbers.
//
// Preconditions: s.mu is held.
func (s *Set) place(c *VolumeConfig, others []*Volume) (Place, error) {
	targetFree := func(target int) bool {
		return s.volumes[target].Load() == nil &&
			!slices.ContainsFunc(others, func(o *Volume) bool { return int(o.target) == target })
	}
	refFree := func(ref uint16) bool {
		taken := func(a *array) bool { return a.ref == ref }
		return !slices.ContainsFunc(s.arrays, taken) &&
			!slices.ContainsFunc(others, func(o *Volume) bool { return taken(o.array) })
	}
	if p := c.Place; p != nil {
		switch {
		case p.Target >= MaxVolumes:
			return Place{}, fmt.Errorf("target id %d: below %d: %w", p.Target, MaxVolumes, ErrFull)
		case !targetFree(int(p.Target)):
			return Place{}, fmt.Errorf("target id %d: %w", p.Target, ErrConflict)
		case !refFree(p.Array):
			return Place{}, fmt.Errorf("array %d: %w", p.Array, ErrConflict)
		}
		return *p, nil
	}
	var p Place
	for ; !refFree(p.Array); p.Array++ {
	}
	for target := range MaxVolumes {
		if targetFree(target) {
			p.Target = uint8(target)
			return p, nil
		}
	}
	return Place{}, fmt.Errorf("at most %d volumes: %w", MaxVolumes, ErrFull)
}

// create makes a volume that was planned.
//
// Preconditions: s.mu is held.
func (s *Set) create(v *Volume) {
	s.arrays = append(s.arrays, v.array)
	slices.SortFunc(s.arrays, func(a, b *array) int { return int(a.ref) - int(b.ref) })
	for _, d := range v.array.drives {
		d.array = v.array
		s.moveDrive(d, Online)
	}
	s.volumes[v.target].Store(v)
	s.observe(VolumeCreated{v.status()})
}

// VolumeProperties are what can be changed about a volume.
type VolumeProperties struct {
	Name  string // at most 15 characters
	Cache CachePolicy
}

// SetVolumeProperties changes a volume's properties. seq is the volume's sequence
// number that this builds on, or AnySequence.
func (s *Set) SetVolumeProperties(target uint8, seq int, p VolumeProperties) error {
	if err := errors.Join(checkVolumeName(p.Name), checkCache(p.Cache)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.volumeInSequence(target, seq)
	if err != nil {
		return err
	}
	v.name, v.cache = p.Name, p.Cache
	v.sequence.Add(1)
	s.observe(VolumePropertiesChanged{v.status()})
	return nil
}

// DeleteVolume deletes a volume, and its array with it: the drives become
// unconfigured good. I/O to it that has begun ends first, all other fails with
// ErrDeleted. seq is the volume's sequence number that this builds on, or
// AnySequence.
func (s *Set) DeleteVolume(target uint8, seq int) error {
	v, err := s.shutVolume(target, seq)
	if err != nil {
		return err
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

// shutVolume has a volume take no more I/O, for good.
func (s *Set) shutVolume(target uint8, seq int) (*Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.volumeInSequence(target, seq)
	if err != nil {
		return nil, err
	}
	if v.work.Load() != nil {
		return nil, fmt.Errorf("volume %d: %w", target, ErrInitializing)
	}
	v.gate.close()
	return v, nil
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
