package raid

import "fmt"

// AddDrive takes a drive in, as unconfigured good. Its device id is the lowest
// that is free. prepare, if not nil, is called before anybody can see the drive:
// if it fails, the drive is not taken.
func (s *Set) AddDrive(d Drive, prepare func(*PhysicalDrive) error) (*PhysicalDrive, error) {
	id := d.Identity()
	if err := id.check(); err != nil {
		return nil, err
	}
	if d.Size() < BlockSize {
		return nil, fmt.Errorf("drive %q: %d bytes: at least %d are needed", id.Serial, d.Size(), BlockSize)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	free, err := s.freeDeviceID(id)
	if err != nil {
		return nil, err
	}
	p := &PhysicalDrive{Drive: d, id: uint16(free)}
	p.sequence.Store(s.driveSequence[free])
	if prepare != nil {
		if err := prepare(p); err != nil {
			return nil, err
		}
	}
	s.drives[free].Store(p)
	s.observe(DriveInserted{p.status()})
	return p, nil
}

// freeDeviceID is the lowest device id that is free, if the drive's slot is free
// too.
//
// Preconditions: s.mu is held.
func (s *Set) freeDeviceID(id DriveIdentity) (int, error) {
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
			return 0, fmt.Errorf("drive %q: slot %d is taken by drive %q", id.Serial, id.Slot, o.Serial)
		}
	}
	if free < 0 {
		return 0, fmt.Errorf("drive %q: at most %d drives: %w", id.Serial, MaxDrives, ErrFull)
	}
	return free, nil
}

// RemoveDrive takes a drive out. I/O to it that has begun ends first, all other
// fails with ErrRemoved. If the drive is a member of an array, its volumes stay,
// offline, until they are deleted. When RemoveDrive has returned, the drive's
// storage is not touched any more.
func (s *Set) RemoveDrive(id uint16) error {
	d := s.Drive(id)
	if d == nil || !d.gate.close() {
		return errNoDrive(id)
	}
	d.gate.drain()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drives[id].Store(nil)
	s.driveSequence[id] = d.sequence.Load() + 1
	s.observe(DriveRemoved{d.status()})
	if d.array != nil {
		s.moveDrive(d, Failed)
	}
	return nil
}

func errNoDrive(id uint16) error { return fmt.Errorf("drive %d: %w", id, ErrNotFound) }

// SetDriveState moves a drive to another state, and with it what depends on it.
// seq is the drive's sequence number that this builds on, or AnySequence.
func (s *Set) SetDriveState(id uint16, seq int, to DriveState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.driveInSequence(id, seq)
	if err != nil {
		return err
	}
	if d.work.Load() != nil {
		return fmt.Errorf("drive %d: %w", id, ErrClearing)
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
