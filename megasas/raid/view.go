package raid

// View is a Set at one moment: plain values, sorted by number.
type View struct {
	Drives  []DriveStatus
	Arrays  []ArrayStatus
	Volumes []VolumeStatus
}

// DriveStatus is a physical drive at one moment.
type DriveStatus struct {
	DeviceID uint16
	Sequence uint16 // advances with every change of state
	State    DriveState
	InArray  bool
	Locate   bool        // its lamp blinks
	Clearing *WorkStatus // nil if it is not being cleared
	Blocks   uint64
	Identity DriveIdentity
}

// NoDrive is the device id of a drive that is missing.
const NoDrive = 0xffff

// ArrayStatus is an array at one moment.
type ArrayStatus struct {
	Ref    uint16
	Blocks uint64   // used on each drive
	Drives []uint16 // device ids; NoDrive where one was removed
}

// VolumeStatus is a volume at one moment.
type VolumeStatus struct {
	Target   uint8
	Sequence uint16 // advances with every change of state or properties
	State    VolumeState
	Name     string
	Level    Level
	Cache    CachePolicy
	ReadOnly bool
	Blocks   uint64
	Stripe   uint8 // log2 of blocks
	Array    uint16
	Drives   int // in its array

	Init         InitState
	Initializing *WorkStatus // nil if it is not
}

// View returns the Set as it is now.
func (s *Set) View() View {
	s.mu.Lock()
	defer s.mu.Unlock()
	var v View
	for i := range s.drives {
		if d := s.drives[i].Load(); d != nil {
			v.Drives = append(v.Drives, d.status())
		}
	}
	for _, a := range s.arrays {
		v.Arrays = append(v.Arrays, a.status())
	}
	for i := range s.volumes {
		if x := s.volumes[i].Load(); x != nil {
			v.Volumes = append(v.Volumes, x.status())
		}
	}
	return v
}

// Drive returns the drive of a device id.
func (v *View) Drive(id uint16) (DriveStatus, bool) {
	for _, d := range v.Drives {
		if d.DeviceID == id {
			return d, true
		}
	}
	return DriveStatus{}, false
}

// Volume returns the volume of a target id.
func (v *View) Volume(target uint8) (VolumeStatus, bool) {
	for _, x := range v.Volumes {
		if x.Target == target {
			return x, true
		}
	}
	return VolumeStatus{}, false
}

// Preconditions: Set.mu is held.
func (d *PhysicalDrive) status() DriveStatus {
	return DriveStatus{
		DeviceID: d.id,
		Sequence: uint16(d.sequence.Load()),
		State:    d.State(),
		InArray:  d.array != nil,
		Locate:   d.locate.Load(),
		Clearing: statusOf(&d.work),
		Blocks:   d.Blocks(),
		Identity: d.Identity(),
	}
}

// Preconditions: Set.mu is held.
func (a *array) status() ArrayStatus {
	s := ArrayStatus{Ref: a.ref}
	for i, d := range a.drives {
		id := d.id
		if d.gate.shut() {
			id = NoDrive
		}
		s.Drives = append(s.Drives, id)
		if b := d.Blocks(); i == 0 || b < s.Blocks {
			s.Blocks = b
		}
	}
	return s
}

// Preconditions: Set.mu is held.
func (v *Volume) status() VolumeStatus {
	return VolumeStatus{
		Target:   v.target,
		Sequence: uint16(v.sequence.Load()),
		State:    v.State(),
		Name:     v.name,
		Level:    v.level,
		Cache:    v.cache,
		ReadOnly: v.ReadOnly(),
		Blocks:   v.Blocks(),
		Stripe:   v.stripe,
		Array:    v.array.ref,
		Drives:   len(v.array.drives),

		Init:         InitState(v.init.Load()),
		Initializing: statusOf(&v.work),
	}
}
