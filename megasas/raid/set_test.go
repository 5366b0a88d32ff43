package raid

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ram is a medium that holds nothing but its size.
type ram struct {
	size     int64
	flushErr error
}

func (m ram) Size() int64                        { return m.size }
func (ram) ReadV([][]byte, int64) error          { return nil }
func (ram) WriteV([][]byte, int64) error         { return nil }
func (ram) WriteZeroes(int64, int64, bool) error { return nil }
func (ram) Discard(int64, int64) error           { return nil }
func (m ram) Flush() error                       { return m.flushErr }
func (ram) ReadOnly() bool                       { return false }
func (ram) CanDiscard() bool                     { return false }
func (ram) DiscardZeroes() bool                  { return false }

func disk(slot uint8, size int64) Drive {
	return NewDrive(ram{size: size}, DriveIdentity{Serial: fmt.Sprintf("S%d", slot), Enclosure: NoEnclosure, Slot: slot})
}

// twoVolumes is a Set with two volumes and a free drive, and the changes that
// led there.
func twoVolumes(t *testing.T) (*Set, *[]string) {
	t.Helper()
	var log []string
	s := NewSet(func(c Change) {
		switch x := c.(type) {
		case DriveInserted:
			log = append(log, fmt.Sprintf("drive %d inserted", x.Drive.DeviceID))
		case DriveRemoved:
			log = append(log, fmt.Sprintf("drive %d removed", x.Drive.DeviceID))
		case VolumeDeleted:
			log = append(log, fmt.Sprintf("volume %d deleted", x.Volume.Target))
		case DriveStateChanged:
			log = append(log, fmt.Sprintf("drive %d %v to %v #%d", x.Drive.DeviceID, x.Prev, x.Drive.State, x.Drive.Sequence))
		case VolumeCreated:
			log = append(log, fmt.Sprintf("volume %d created", x.Volume.Target))
		case VolumeStateChanged:
			log = append(log, fmt.Sprintf("volume %d %v to %v #%d", x.Volume.Target, x.Prev, x.Volume.State, x.Volume.Sequence))
		}
	})
	for slot := range uint8(3) {
		if _, err := s.AddDrive(disk(slot, 1<<20+100), nil); err != nil {
			t.Fatal(err)
		}
	}
	for id := range uint16(2) {
		if _, err := s.CreateVolume(VolumeConfig{Name: fmt.Sprint("v", id), Drives: []uint16{id}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return s, &log
}

func TestViewAgrees(t *testing.T) {
	s, log := twoVolumes(t)
	v := s.View()
	if len(v.Drives) != 3 || len(v.Arrays) != 2 || len(v.Volumes) != 2 {
		t.Fatalf("view %+v", v)
	}
	for i, l := range v.Volumes {
		a := v.Arrays[i]
		d, ok := v.Drive(a.Drives[0])
		if !ok || l.Array != a.Ref || l.Blocks != 2048 || a.Blocks != 2048 || d.Blocks != 2048 || !d.InArray || d.State != Online {
			t.Errorf("volume %+v, array %+v, drive %+v", l, a, d)
		}
		if got, ok := v.Volume(l.Target); !ok || got.Name != l.Name {
			t.Errorf("volume of target %d: %+v", l.Target, got)
		}
	}
	if v.Drives[2].State != UnconfiguredGood || v.Drives[2].InArray {
		t.Errorf("free drive %+v", v.Drives[2])
	}
	want := []string{"drive 0 inserted", "drive 1 inserted", "drive 2 inserted",
		"drive 0 unconfigured good to online #1", "volume 0 created",
		"drive 1 unconfigured good to online #1", "volume 1 created"}
	if d := cmp.Diff(want, *log); d != "" {
		t.Errorf("changes:\n%s", d)
	}
}

// TestStates takes a drive out of service: its volume follows, the other does
// not.
func TestStates(t *testing.T) {
	s, log := twoVolumes(t)
	*log = nil
	if err := s.SetDriveState(1, AnySequence, Failed); err != nil {
		t.Fatal(err)
	}
	if s.Volume(0).State() != VolumeOptimal || s.Volume(1).State() != VolumeOffline {
		t.Errorf("volumes are %v and %v", s.Volume(0).State(), s.Volume(1).State())
	}
	buf := [][]byte{make([]byte, 512)}
	for name, err := range map[string]error{
		"read":    s.Volume(1).ReadV(buf, 0),
		"write":   s.Volume(1).WriteV(buf, 0),
		"zero":    s.Volume(1).WriteZeroes(0, 512, false),
		"discard": s.Volume(1).Discard(0, 512),
		"flush":   s.Volume(1).Flush(),
	} {
		if !errors.Is(err, ErrOffline) {
			t.Errorf("%s on an offline volume: %v", name, err)
		}
	}
	if err := s.Volume(0).ReadV(buf, 0); err != nil {
		t.Errorf("read from the other volume: %v", err)
	}
	if err := s.SetDriveState(1, AnySequence, Online); err != nil {
		t.Fatal(err)
	}
	want := []string{"drive 1 online to failed #2", "volume 1 optimal to offline #1",
		"drive 1 failed to online #3", "volume 1 offline to optimal #2"}
	if d := cmp.Diff(want, *log); d != "" {
		t.Errorf("changes:\n%s", d)
	}
}

func TestStateChanges(t *testing.T) {
	s, _ := twoVolumes(t)
	for _, tt := range []struct {
		id uint16
		to DriveState
		ok bool
	}{
		{0, System, false}, // a member
		{0, UnconfiguredGood, false},
		{2, Online, false}, // not a member
		{2, Failed, false},
		{2, System, true},
		{2, UnconfiguredBad, false},
		{2, UnconfiguredGood, true},
		{2, UnconfiguredBad, true},
		{2, UnconfiguredGood, true},
	} {
		err := s.SetDriveState(tt.id, AnySequence, tt.to)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrState) {
			t.Errorf("drive %d to %v: %v", tt.id, tt.to, err)
		}
	}
	if err := s.SetDriveState(9, AnySequence, System); err == nil {
		t.Error("an absent drive changed its state")
	}
}

func TestRefused(t *testing.T) {
	s, _ := twoVolumes(t)
	for want, err := range map[string]error{
		"only level 0 on one drive":    second(s.CreateVolume(VolumeConfig{Drives: []uint16{1, 2}}, nil)),
		"RAID level 5":                 second(s.CreateVolume(VolumeConfig{Level: 5, Drives: []uint16{2}}, nil)),
		"drive 0 is online":            second(s.CreateVolume(VolumeConfig{Drives: []uint16{0}}, nil)),
		"drive 7: raid: there is none": second(s.CreateVolume(VolumeConfig{Drives: []uint16{7}}, nil)),
		"no such cache policy":         second(s.CreateVolume(VolumeConfig{Drives: []uint16{2}, Cache: 9}, nil)),
		"at most 15 characters":        second(s.CreateVolume(VolumeConfig{Name: "sixteen chars !!", Drives: []uint16{2}}, nil)),
		"slot 1 is taken":              second(s.AddDrive(disk(1, 1<<20), nil)),
		"511 bytes":                    second(s.AddDrive(disk(5, 511), nil)),
		"printable ASCII":              second(s.AddDrive(NewDrive(ram{size: 1 << 20}, DriveIdentity{Product: "Größe", Slot: 9}), nil)),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if n := len(s.View().Volumes); n != 2 {
		t.Errorf("%d volumes after refusals", n)
	}
	if d := s.Drive(2); d.State() != UnconfiguredGood {
		t.Errorf("the free drive is %v after refusals", d.State())
	}
}

func second[T any](_ T, err error) error { return err }

func TestFlushAll(t *testing.T) {
	s := NewSet(nil)
	broken := errors.New("broken")
	for slot, err := range []error{nil, broken, nil} {
		if _, err := s.AddDrive(NewDrive(ram{1 << 20, err}, DriveIdentity{Slot: uint8(slot)}), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(); !errors.Is(err, broken) || !strings.Contains(err.Error(), "drive 1") {
		t.Errorf("flush: %v", err)
	}
}

func TestLimits(t *testing.T) {
	s := NewSet(nil)
	for i := range MaxDrives {
		d := NewDrive(ram{size: 1 << 20}, DriveIdentity{Enclosure: uint16(i / 8), Slot: uint8(i % 8)})
		if _, err := s.AddDrive(d, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.AddDrive(disk(200, 1<<20), nil); err == nil {
		t.Error("a drive too many")
	}
	for i := range uint16(MaxVolumes) {
		if _, err := s.CreateVolume(VolumeConfig{Drives: []uint16{i}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.CreateVolume(VolumeConfig{Drives: []uint16{100}}, nil); err == nil {
		t.Error("a volume too many")
	}
	if s.Drive(255) != nil || s.Volume(255) != nil {
		t.Error("something beyond the limits")
	}
}
