package raid

import (
	"cmp"
	"fmt"
	"slices"
)

// SetState is a Set at one moment, as it is saved: plain data, to be kept in
// whatever form. Work on drives and volumes is not part of it: who does it knows
// how far it is.
type SetState struct {
	Drives  []SavedDrive
	Arrays  []SavedArray
	Volumes []SavedVolume
	// The sequence numbers of those who come next, by device id and target id.
	DriveSequences  []uint32
	VolumeSequences []uint32
}

// SavedDrive is a physical drive. One that was removed, but is still a member of
// an array, is Removed.
type SavedDrive struct {
	DeviceID uint16
	Identity DriveIdentity
	Size     int64 // bytes

	ReadOnly, CanDiscard, DiscardZeroes bool

	State    DriveState
	Sequence uint32
	Locate   bool
	Removed  bool
}

// SavedArray is an array with its drives, by their places in SetState.Drives.
type SavedArray struct {
	Ref    uint16
	Drives []int
}

// SavedVolume is a volume.
type SavedVolume struct {
	Target   uint8
	Name     string
	Level    Level
	Cache    CachePolicy
	Blocks   uint64
	Stripe   uint8
	Array    uint16
	Init     InitState
	Sequence uint32
}

// Save returns the Set's state.
func (s *Set) Save() SetState {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := SetState{DriveSequences: slices.Clone(s.driveSequence[:]), VolumeSequences: slices.Clone(s.volumeSequence[:])}
	places := map[*PhysicalDrive]int{}
	save := func(d *PhysicalDrive, removed bool) {
		places[d] = len(x.Drives)
		x.Drives = append(x.Drives, SavedDrive{
			DeviceID: d.id, Identity: d.Identity(), Size: d.Size(),
			ReadOnly: d.ReadOnly(), CanDiscard: d.CanDiscard(), DiscardZeroes: d.DiscardZeroes(),
			State: d.State(), Sequence: d.sequence.Load(), Locate: d.locate.Load(), Removed: removed,
		})
	}
	for i := range s.drives {
		if d := s.drives[i].Load(); d != nil {
			save(d, false)
		}
	}
	for _, a := range s.arrays {
		saved := SavedArray{Ref: a.ref}
		for _, d := range a.drives {
			if _, ok := places[d]; !ok {
				save(d, true)
			}
			saved.Drives = append(saved.Drives, places[d])
		}
		x.Arrays = append(x.Arrays, saved)
	}
	for i := range s.volumes {
		if v := s.volumes[i].Load(); v != nil {
			x.Volumes = append(x.Volumes, SavedVolume{
				Target: v.target, Name: v.name, Level: v.level, Cache: v.cache, Blocks: v.Blocks(), Stripe: v.stripe,
				Array: v.array.ref, Init: InitState(v.init.Load()), Sequence: v.sequence.Load(),
			})
		}
	}
	return x
}

// Restorer is what Restore needs of the Set's owner.
type Restorer struct {
	// Find returns the drive that a saved one is to be, or nil.
	Find func(SavedDrive) Drive
	// Drive and Volume, if not nil, are called before anybody can see a drive that
	// is there, or a volume: if one fails, Restore does.
	Drive  func(*PhysicalDrive) error
	Volume func(*Volume, VolumeConfig) error
}

// Restore gives a Set that is empty the state that Save returned. The observer is
// not told. A state that no Set can have been in, or other drives, are an error:
// the Set is of no use then.
func (s *Set) Restore(x SetState, from Restorer) error {
	if err := x.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(s.driveSequence[:], x.DriveSequences)
	copy(s.volumeSequence[:], x.VolumeSequences)
	drives := make([]*PhysicalDrive, len(x.Drives))
	for i, saved := range x.Drives {
		d, err := saved.restore(from)
		if err != nil {
			return err
		}
		if drives[i] = d; !saved.Removed {
			s.drives[d.id].Store(d)
		}
	}
	arrays := map[uint16]*array{}
	for _, saved := range x.Arrays {
		a := &array{ref: saved.Ref}
		for _, i := range saved.Drives {
			a.drives = append(a.drives, drives[i])
			drives[i].array = a
		}
		arrays[a.ref] = a
		s.arrays = append(s.arrays, a)
	}
	slices.SortFunc(s.arrays, func(a, b *array) int { return cmp.Compare(a.ref, b.ref) })
	for _, saved := range x.Volumes {
		v, config, err := saved.restore(arrays[saved.Array])
		if err == nil && from.Volume != nil {
			err = from.Volume(v, config)
		}
		if err != nil {
			return err
		}
		s.volumes[v.target].Store(v)
	}
	return nil
}

// restore makes a drive of what was saved.
func (x *SavedDrive) restore(from Restorer) (*PhysicalDrive, error) {
	d := &PhysicalDrive{Drive: removedDrive{*x}, id: x.DeviceID}
	d.state.Store(uint32(x.State))
	d.sequence.Store(x.Sequence)
	d.locate.Store(x.Locate)
	if x.Removed {
		d.gate.close()
		return d, nil
	}
	if d.Drive = from.Find(*x); d.Drive == nil {
		return nil, fmt.Errorf("drive %d with serial number %q is not there: %w", x.DeviceID, x.Identity.Serial, ErrNotFound)
	}
	if n := d.Size(); n != x.Size {
		return nil, fmt.Errorf("drive %d with serial number %q has %d bytes, and had %d: %w", x.DeviceID, x.Identity.Serial, n, x.Size, ErrSize)
	}
	if d.ReadOnly() != x.ReadOnly || d.CanDiscard() != x.CanDiscard || d.DiscardZeroes() != x.DiscardZeroes {
		return nil, fmt.Errorf("drive %d with serial number %q can be written or discarded in other ways than before",
			x.DeviceID, x.Identity.Serial)
	}
	if from.Drive == nil {
		return d, nil
	}
	return d, from.Drive(d)
}

// restore makes a volume of what was saved.
func (x *SavedVolume) restore(a *array) (*Volume, VolumeConfig, error) {
	config := VolumeConfig{
		Name: x.Name, Level: x.Level, Cache: x.Cache, Blocks: x.Blocks, Stripe: x.Stripe,
		Place: &Place{Target: x.Target, Array: x.Array},
	}
	for _, d := range a.drives {
		config.Drives = append(config.Drives, d.id)
	}
	if err := config.check(); err != nil {
		return nil, config, err
	}
	if all := a.status().Blocks; x.Blocks == 0 || x.Blocks > all {
		return nil, config, fmt.Errorf("volume %d of %d blocks: %w: its drives have %d", x.Target, x.Blocks, ErrSize, all)
	}
	v := &Volume{target: x.Target, level: x.Level, stripe: x.Stripe, array: a, name: x.Name, cache: x.Cache}
	v.blocks.Store(x.Blocks)
	v.init.Store(uint32(x.Init))
	v.sequence.Store(x.Sequence)
	return v, config, nil
}

// check says what keeps x from being the state of a Set.
func (x *SetState) check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrSavedState}, args...)...)
	}
	if len(x.DriveSequences) != MaxDrives || len(x.VolumeSequences) != MaxVolumes {
		return refuse("%d and %d sequence numbers", len(x.DriveSequences), len(x.VolumeSequences))
	}
	member := make([]bool, len(x.Drives))
	refs, used := map[uint16]bool{}, map[uint16]bool{}
	for _, a := range x.Arrays {
		if refs[a.Ref] || len(a.Drives) != 1 {
			return refuse("array %d is there twice, or has %d drives", a.Ref, len(a.Drives))
		}
		refs[a.Ref] = true
		i := a.Drives[0]
		if i < 0 || i >= len(member) || member[i] {
			return refuse("array %d has a drive that is not there, or another's", a.Ref)
		}
		member[i] = true
	}
	ids, slots := map[uint16]bool{}, map[[2]uint16]bool{}
	for i, d := range x.Drives {
		if err := d.Identity.check(); err != nil {
			return err
		}
		slot := [2]uint16{d.Identity.Enclosure, uint16(d.Identity.Slot)}
		switch {
		case d.DeviceID >= MaxDrives || !d.Removed && (ids[d.DeviceID] || slots[slot]):
			return refuse("drive %d is there twice, or cannot be, or its slot is taken", d.DeviceID)
		case d.Size < BlockSize:
			return refuse("drive %d has %d bytes", d.DeviceID, d.Size)
		case member[i] != (d.State == Online || d.State == Offline || d.State == Failed), d.State > System,
			d.Removed && d.State != Failed:
			return refuse("drive %d is %v", d.DeviceID, d.State)
		case d.Identity.Media > Optical, d.Identity.Interface > SATA:
			return refuse("drive %d is of a kind that is not known", d.DeviceID)
		}
		if !d.Removed {
			ids[d.DeviceID], slots[slot] = true, true
		}
	}
	targets := map[uint8]bool{}
	for _, v := range x.Volumes {
		if v.Target >= MaxVolumes || targets[v.Target] || !refs[v.Array] || used[v.Array] || v.Init > InitFull {
			return refuse("volume %d is there twice, or cannot be, or has no array", v.Target)
		}
		targets[v.Target], used[v.Array] = true, true
	}
	if len(used) != len(refs) {
		return refuse("%d volumes on %d arrays", len(used), len(refs))
	}
	return nil
}

// removedDrive is a drive that is not there any more: it tells who it was.
type removedDrive struct{ was SavedDrive }

func (d removedDrive) Identity() DriveIdentity            { return d.was.Identity }
func (d removedDrive) Size() int64                        { return d.was.Size }
func (d removedDrive) ReadOnly() bool                     { return d.was.ReadOnly }
func (d removedDrive) CanDiscard() bool                   { return d.was.CanDiscard }
func (d removedDrive) DiscardZeroes() bool                { return d.was.DiscardZeroes }
func (removedDrive) ReadV([][]byte, int64) error          { return ErrRemoved }
func (removedDrive) WriteV([][]byte, int64) error         { return ErrRemoved }
func (removedDrive) WriteZeroes(_, _ int64, _ bool) error { return ErrRemoved }
func (removedDrive) Discard(_, _ int64) error             { return ErrRemoved }
func (removedDrive) Flush() error                         { return ErrRemoved }
