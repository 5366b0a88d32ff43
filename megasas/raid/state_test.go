package raid

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/govmm/govmm/internal/fieldtest"
)

// lived is a Set that much has happened to: a volume that is offline since its
// drive was pulled, one with other properties, a system drive, and numbers of those
// that are gone.
func lived(t *testing.T) *Set {
	t.Helper()
	s, _ := twoVolumes(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.SetDriveState(2, AnySequence, System))
	must(s.SetVolumeProperties(1, AnySequence, VolumeProperties{Name: "other", Cache: WriteBack}))
	s.Volume(1).Initialized(true)
	s.Drive(1).Locate(true)
	must(s.RemoveDrive(0))
	for range 3 {
		_, err := s.AddDrive(disk(7, 1<<20), nil)
		must(err)
		must(s.RemoveDrive(0))
	}
	_, err := s.AddDrive(disk(7, 1<<20), nil) // has the number of the one that is missing
	must(err)
	return s
}

// among finds drives of twoVolumes and lived.
func among(saved SavedDrive) Drive {
	for slot, size := range map[uint8]int64{0: 1<<20 + 100, 1: 1<<20 + 100, 2: 1<<20 + 100, 7: 1 << 20} {
		if d := disk(slot, size); d.Identity() == saved.Identity {
			return d
		}
	}
	return nil
}

// TestRestore makes a second Set of the state of one: all views of it are the same,
// and so is what comes of further changes.
func TestRestore(t *testing.T) {
	s := lived(t)
	packed, err := json.Marshal(s.Save())
	if err != nil {
		t.Fatal(err)
	}
	var x SetState
	if err := json.Unmarshal(packed, &x); err != nil {
		t.Fatal(err)
	}
	var exposed, made int
	r := NewSet(func(c Change) { t.Errorf("the observer was told of %+v", c) })
	err = r.Restore(x, Restorer{
		Find:   among,
		Drive:  func(*PhysicalDrive) error { exposed++; return nil },
		Volume: func(*Volume, VolumeConfig) error { made++; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if exposed != 3 || made != 2 {
		t.Errorf("%d drives and %d volumes were prepared", exposed, made)
	}
	for range 2 {
		if diff := cmp.Diff(s.View(), r.View()); diff != "" {
			t.Errorf("views differ (-was +is):\n%s", diff)
		}
		if diff := cmp.Diff(s.Save(), r.Save()); diff != "" {
			t.Errorf("states differ (-was +is):\n%s", diff)
		}
		r.observe = func(Change) {}
		for _, set := range []*Set{s, r} { // an offline volume goes, and its numbers come again
			if set.Volume(0) == nil {
				break
			}
			if err := set.DeleteVolume(0, AnySequence); err != nil {
				t.Fatal(err)
			}
			if _, err := set.CreateVolume(VolumeConfig{Drives: []uint16{0}}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.Volume(1).Flush(); err != nil {
		t.Error(err)
	}
}

// TestRestoreOfflineVolume looks at the volume whose drive is missing.
func TestRestoreOfflineVolume(t *testing.T) {
	r := NewSet(nil)
	if err := r.Restore(lived(t).Save(), Restorer{Find: among}); err != nil {
		t.Fatal(err)
	}
	if err := r.Volume(0).ReadV(nil, 0); !errors.Is(err, ErrOffline) {
		t.Errorf("reading a volume without its drive: %v", err)
	}
	if v := r.View(); v.Arrays[0].Drives[0] != NoDrive || v.Volumes[0].Blocks != 2048 {
		t.Errorf("view %+v", v)
	}
}

// TestRestoreRefuses gives a Set states that none can have been in, and other
// drives: an error of one line says so.
func TestRestoreRefuses(t *testing.T) {
	other := func(d Drive) func(SavedDrive) Drive { return func(SavedDrive) Drive { return d } }
	for name, spoil := range map[string]func(x *SetState) (find func(SavedDrive) Drive){
		`serial number "S7" is not there`: func(*SetState) func(SavedDrive) Drive {
			return func(d SavedDrive) Drive {
				if d.Identity.Serial == "S7" {
					return nil
				}
				return among(d)
			}
		},
		"has 512 bytes, and had 1048576": func(*SetState) func(SavedDrive) Drive { return other(disk(7, 512)) },
		"in other ways":                  func(x *SetState) func(SavedDrive) Drive { x.Drives[0].ReadOnly = true; return nil },
		"2 and 64 sequence numbers":      func(x *SetState) func(SavedDrive) Drive { x.DriveSequences = make([]uint32, 2); return nil },
		"array 0 is there twice":         func(x *SetState) func(SavedDrive) Drive { x.Arrays[1].Ref = 0; return nil },
		"array 1 has a drive":            func(x *SetState) func(SavedDrive) Drive { x.Arrays[1].Drives[0] = 99; return nil },
		"array 1 is there twice, or has": func(x *SetState) func(SavedDrive) Drive { x.Arrays[1].Drives = nil; return nil },
		"drive 1 is there twice":         func(x *SetState) func(SavedDrive) Drive { x.Drives[2].DeviceID = 1; return nil },
		"drive 255":                      func(x *SetState) func(SavedDrive) Drive { x.Drives[2].DeviceID = 255; return nil },
		"has 1 bytes":                    func(x *SetState) func(SavedDrive) Drive { x.Drives[0].Size = 1; return nil },
		"drive 0 is online":              func(x *SetState) func(SavedDrive) Drive { x.Drives[0].State = Online; return nil },
		"drive 2 is DriveState(77)":      func(x *SetState) func(SavedDrive) Drive { x.Drives[2].State = 77; return nil },
		"of a kind":                      func(x *SetState) func(SavedDrive) Drive { x.Drives[0].Identity.Media = 9; return nil },
		"at most 20 characters": func(x *SetState) func(SavedDrive) Drive {
			x.Drives[0].Identity.Serial = strings.Repeat("x", 21)
			return nil
		},
		"volume 0 is there twice": func(x *SetState) func(SavedDrive) Drive { x.Volumes[1].Target = 0; return nil },
		"volume 64":               func(x *SetState) func(SavedDrive) Drive { x.Volumes[1].Target = 64; return nil },
		"1 volumes on 2 arrays":   func(x *SetState) func(SavedDrive) Drive { x.Volumes = x.Volumes[:1]; return nil },
		"its drives have 2048":    func(x *SetState) func(SavedDrive) Drive { x.Volumes[1].Blocks = 4096; return nil },
		"no such cache policy":    func(x *SetState) func(SavedDrive) Drive { x.Volumes[1].Cache = 9; return nil },
		"at most 15 characters":   func(x *SetState) func(SavedDrive) Drive { x.Volumes[1].Name = strings.Repeat("x", 16); return nil },
	} {
		x := lived(t).Save()
		find := spoil(&x)
		if find == nil {
			find = among
		}
		err := NewSet(nil).Restore(x, Restorer{Find: find})
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryFieldIsDecided is for who adds a field to what a Set consists of:
// either the saved state has it, or it is said here why not.
func TestEveryFieldIsDecided(t *testing.T) {
	const saved, owner, lock = "saved", "its owner's", "lock"
	fieldtest.Decided(t, &Set{}, map[string]string{
		"drives volumes arrays driveSequence volumeSequence": saved, "observe": owner, "mu": lock,
	})
	fieldtest.Decided(t, &PhysicalDrive{}, map[string]string{
		"Drive":                          "given anew; its identity, size and abilities are saved, to be compared",
		"id array locate state sequence": saved, "gate": "whether it is shut: Removed", "work": owner,
	})
	fieldtest.Decided(t, array{}, map[string]string{"ref drives": saved})
	fieldtest.Decided(t, &Volume{}, map[string]string{
		"target level stripe blocks array init sequence name cache": saved,
		"gate": "shut by work only, while nothing is being deleted", "work": owner,
	})
	fieldtest.Decided(t, DriveIdentity{}, map[string]string{
		"Vendor Product Revision Serial WWN Media Interface BlockSize PhysicalBlockSize Enclosure Slot": saved,
	})
}
