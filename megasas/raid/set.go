package raid

import (
	"errors"
	"fmt"
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
	// The sequence numbers that the next holder of a number starts with, so that
	// what was said of one that is gone is not taken for it. Guarded by mu.
	driveSequence  [MaxDrives]uint32
	volumeSequence [MaxVolumes]uint32
}

// NewSet returns an empty Set. observe, if not nil, is told of every change
// while the Set is locked: it may not change the Set.
func NewSet(observe func(Change)) *Set {
	if observe == nil {
		observe = func(Change) {}
	}
	return &Set{observe: observe}
}

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

// Flush makes all writes that returned before durable, on every drive. It goes
// on after a failure and returns all of them.
func (s *Set) Flush() error {
	var errs []error
	s.FlushEach(func(id uint16, err error) { errs = append(errs, fmt.Errorf("drive %d: flush: %w", id, err)) })
	return errors.Join(errs...)
}

// FlushEach is Flush that tells of each drive's failure.
func (s *Set) FlushEach(failed func(id uint16, err error)) {
	for i := range s.drives {
		d := s.drives[i].Load()
		if d == nil || d.ReadOnly() {
			continue
		}
		if err := d.Flush(); err != nil && !errors.Is(err, ErrRemoved) {
			failed(uint16(i), err)
		}
	}
}
