package raid

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// slow is a medium whose I/O waits, and which may not be touched after closed.
type slow struct {
	ram
	entered chan struct{}
	gate    chan struct{}
	closed  *atomic.Bool
	t       *testing.T
}

func (m slow) WriteV([][]byte, int64) error {
	m.entered <- struct{}{}
	<-m.gate
	if m.closed.Load() {
		m.t.Error("the medium is written after the drive was removed")
	}
	return nil
}

func newSlow(t *testing.T) slow {
	return slow{ram{size: 1 << 20}, make(chan struct{}), make(chan struct{}), new(atomic.Bool), t}
}

// TestLeaveDuringIO removes a drive and deletes a volume while a write is under
// way: the write ends, no other starts, and only then is the change made.
func TestLeaveDuringIO(t *testing.T) {
	for name, tt := range map[string]struct {
		leave    func(*Set) error
		refused  error // of I/O that comes while the write is under way
		volumes  int
		finally  error
		finished func(*Set) bool
	}{
		"remove the drive": {
			leave:    func(s *Set) error { return s.RemoveDrive(0) },
			refused:  ErrOffline,
			volumes:  1,
			finally:  ErrOffline,
			finished: func(s *Set) bool { return s.Drive(0) == nil && s.Volume(0).State() == VolumeOffline },
		},
		"delete the volume": {
			leave:    func(s *Set) error { return s.DeleteVolume(0, AnySequence) },
			refused:  ErrDeleted,
			finally:  ErrDeleted,
			finished: func(s *Set) bool { return s.Drive(0).State() == UnconfiguredGood },
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newSlow(t)
			s := NewSet(nil)
			if _, err := s.AddDrive(NewDrive(m, DriveIdentity{}), nil); err != nil {
				t.Fatal(err)
			}
			v, err := s.CreateVolume(VolumeConfig{Drives: []uint16{0}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			wrote, left := make(chan error, 1), make(chan error, 1)
			go func() { wrote <- v.WriteV(nil, 0) }()
			<-m.entered
			go func() { left <- tt.leave(s); m.closed.Store(true) }()
			deadline := time.Now().Add(5 * time.Minute)
			for !errors.Is(v.ReadV(nil, 0), tt.refused) {
				if time.Now().After(deadline) {
					t.Fatal("reads are still taken")
				}
			}
			if len(left) != 0 || tt.finished(s) {
				t.Error("it left while a write was under way")
			}
			if err := tt.leave(s); !errors.Is(err, ErrNotFound) {
				t.Errorf("leaving twice: %v", err)
			}
			close(m.gate)
			if err := <-wrote; err != nil {
				t.Errorf("the write that had begun: %v", err)
			}
			if err := <-left; err != nil || !tt.finished(s) {
				t.Errorf("leaving: %v, finished %v", err, tt.finished(s))
			}
			if err := v.WriteV(nil, 0); !errors.Is(err, tt.finally) {
				t.Errorf("a write afterwards: %v", err)
			}
			if n := len(s.View().Volumes); n != tt.volumes {
				t.Errorf("%d volumes, want %d", n, tt.volumes)
			}
		})
	}
}

// TestNumbersAreNotReused gives a number to another drive and volume: sequence
// numbers go on, so that what was said of the old ones is refused.
func TestNumbersAreNotReused(t *testing.T) {
	s, _ := twoVolumes(t)
	before := s.View()
	if err := errors.Join(s.DeleteVolume(1, AnySequence), s.RemoveDrive(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddDrive(disk(1, 1<<20), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateVolume(VolumeConfig{Drives: []uint16{1}}, nil); err != nil {
		t.Fatal(err)
	}
	old, _ := before.Volume(1)
	if err := s.DeleteVolume(1, int(old.Sequence)); !errors.Is(err, ErrSequence) {
		t.Errorf("delete by the old volume's sequence number: %v", err)
	}
	drive, _ := before.Drive(1)
	if err := s.SetDriveState(1, int(drive.Sequence), Offline); !errors.Is(err, ErrSequence) {
		t.Errorf("state by the old drive's sequence number: %v", err)
	}
}

// TestRemovedMember keeps the volume of a removed drive, offline, until it is
// deleted.
func TestRemovedMember(t *testing.T) {
	s, log := twoVolumes(t)
	*log = nil
	if err := s.RemoveDrive(0); err != nil {
		t.Fatal(err)
	}
	v := s.View()
	if got := v.Arrays[0].Drives; !cmp.Equal(got, []uint16{NoDrive}) {
		t.Errorf("the array has drives %v", got)
	}
	if v.Volumes[0].State != VolumeOffline || v.Volumes[0].Blocks != 2048 {
		t.Errorf("volume %+v", v.Volumes[0])
	}
	if err := s.Flush(); err != nil {
		t.Errorf("flush: %v", err)
	}
	if err := s.DeleteVolume(0, AnySequence); err != nil {
		t.Fatal(err)
	}
	if v := s.View(); len(v.Arrays) != 1 || len(v.Volumes) != 1 || len(v.Drives) != 2 {
		t.Errorf("what is left: %+v", v)
	}
	want := []string{"drive 0 removed", "drive 0 online to failed #2", "volume 0 optimal to offline #1", "volume 0 deleted"}
	if d := cmp.Diff(want, *log); d != "" {
		t.Errorf("changes:\n%s", d)
	}
}
