package raid

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// What a drive or a volume refuses a change or I/O for while there is Work on it.
var (
	ErrClearing     = errors.New("raid: the drive is being cleared")
	ErrInitializing = errors.New("raid: the volume is being initialized")
)

// Work is something long that is done to a drive or to a volume. As long as it is
// under way the drive keeps its state, and the volume takes no other I/O. Whoever
// has begun it does it, reports how far it is, and ends it.
type Work struct {
	// Full says that all of a volume is initialized, not its ends only.
	Full bool

	release func() // lets go of what it is on
	began   time.Time
	done    atomic.Uint32 // in parts of 65535

	once    sync.Once
	aborted chan struct{}
	ended   chan struct{}
}

// WorkStatus is how far Work is.
type WorkStatus struct {
	Done    uint16 // in parts of 65535
	Elapsed time.Duration
}

func newWork(full bool, release func()) *Work {
	return &Work{Full: full, release: release, began: time.Now(), aborted: make(chan struct{}), ended: make(chan struct{})}
}

// Report says that a part of all is done.
func (w *Work) Report(done, all int64) {
	w.done.Store(uint32(float64(done) / float64(all) * 0xffff))
}

// Continue says that the work is one that was begun before, as long ago as that.
// It is called before anybody else can see the Work.
func (w *Work) Continue(elapsed time.Duration) { w.began = time.Now().Add(-elapsed) }

// Status is how far the work is.
func (w *Work) Status() WorkStatus {
	return WorkStatus{Done: uint16(w.done.Load()), Elapsed: time.Since(w.began)}
}

// Abort asks for the work to end before it is done. It does not wait.
func (w *Work) Abort() { w.once.Do(func() { close(w.aborted) }) }

// Aborted is closed when the work is to end.
func (w *Work) Aborted() <-chan struct{} { return w.aborted }

// End ends the work.
func (w *Work) End() {
	w.release()
	close(w.ended)
}

// Wait waits for the end.
func (w *Work) Wait() { <-w.ended }

// statusOf is how far the work in a place is; nil if there is none.
func statusOf(place *atomic.Pointer[Work]) *WorkStatus {
	w := place.Load()
	if w == nil {
		return nil
	}
	s := w.Status()
	return &s
}

// BeginClear begins Work on a drive that is unconfigured good. seq is the drive's
// sequence number that this builds on, or AnySequence.
func (s *Set) BeginClear(id uint16, seq int) (*PhysicalDrive, *Work, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.driveInSequence(id, seq)
	if err != nil {
		return nil, nil, err
	}
	if d.State() != UnconfiguredGood {
		return nil, nil, fmt.Errorf("%w: drive %d is %v", ErrState, id, d.State())
	}
	if d.ReadOnly() {
		return nil, nil, fmt.Errorf("%w: drive %d cannot be written", ErrState, id)
	}
	w := newWork(true, func() { d.work.Store(nil) })
	if !d.work.CompareAndSwap(nil, w) {
		return nil, nil, fmt.Errorf("drive %d: %w", id, ErrClearing)
	}
	return d, w, nil
}

// driveInSequence is the drive of a device id, if seq is its sequence number.
//
// Preconditions: s.mu is held.
func (s *Set) driveInSequence(id uint16, seq int) (*PhysicalDrive, error) {
	d := s.Drive(id)
	if d == nil || d.gate.shut() {
		return nil, errNoDrive(id)
	}
	if err := inSequence(seq, &d.sequence); err != nil {
		return nil, fmt.Errorf("drive %d: %w", id, err)
	}
	return d, nil
}

// Work is the work on the drive, or nil.
func (d *PhysicalDrive) Work() *Work { return d.work.Load() }

// CheckDrive is a drive that a change is for which builds on a sequence number,
// or why it would be refused before it is looked at: there is none, or it changed
// since.
func (s *Set) CheckDrive(id uint16, seq int) (*PhysicalDrive, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.driveInSequence(id, seq)
}

// BeginInit begins Work on a volume that is optimal: when it has returned, no I/O
// that a host began is under way, and none begins before the end. seq is the
// volume's sequence number that this builds on, or AnySequence.
func (s *Set) BeginInit(target uint8, seq int, full bool) (*Volume, *Work, error) {
	v, w, err := s.beginInit(target, seq, full)
	if err == nil {
		v.gate.drain()
	}
	return v, w, err
}

func (s *Set) beginInit(target uint8, seq int, full bool) (*Volume, *Work, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.volumeInSequence(target, seq)
	if err != nil {
		return nil, nil, err
	}
	if v.State() != VolumeOptimal {
		return nil, nil, fmt.Errorf("%w: volume %d is %v", ErrState, target, v.State())
	}
	if v.ReadOnly() {
		return nil, nil, fmt.Errorf("%w: volume %d cannot be written", ErrState, target)
	}
	w := newWork(full, func() {
		v.gate.open()
		v.work.Store(nil)
	})
	if !v.work.CompareAndSwap(nil, w) {
		return nil, nil, fmt.Errorf("volume %d: %w", target, ErrInitializing)
	}
	v.gate.close()
	return v, w, nil
}

// volumeInSequence is the volume of a target id, if seq is its sequence number.
//
// Preconditions: s.mu is held.
func (s *Set) volumeInSequence(target uint8, seq int) (*Volume, error) {
	v := s.Volume(target)
	if v == nil || v.gate.shut() && v.work.Load() == nil {
		return nil, errNoVolume(target)
	}
	if err := inSequence(seq, &v.sequence); err != nil {
		return nil, fmt.Errorf("volume %d: %w", target, err)
	}
	return v, nil
}

// Work is the work on the volume, or nil.
func (v *Volume) Work() *Work { return v.work.Load() }

// Initialized records that the volume was initialized, wholly or at its ends.
func (v *Volume) Initialized(full bool) {
	state := InitFast
	if full {
		state = InitFull
	}
	v.init.Store(uint32(state))
}

// WriteZeroesAnyway is WriteZeroes by whoever has begun Work on the volume.
func (v *Volume) WriteZeroesAnyway(off, n int64) error { return v.member().WriteZeroes(off, n, true) }

// FlushAnyway is Flush by whoever has begun Work on the volume.
func (v *Volume) FlushAnyway() error { return v.member().Flush() }
