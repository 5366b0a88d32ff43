package raid

import (
	"fmt"

	"github.com/govmm/govmm/scsi"
)

// Drive is a disk drive as it sits in its slot: storage, and who it is. After
// it was removed from a Set its storage is not touched any more, but who it is,
// its size and its abilities may still be asked for.
type Drive interface {
	scsi.Medium
	Identity() DriveIdentity
}

// DriveIdentity is what a drive tells of itself, and where it sits.
type DriveIdentity struct {
	Vendor   string // at most 8 characters, as in INQUIRY
	Product  string // at most 16
	Revision string // at most 4
	Serial   string // at most 20
	WWN      uint64 // NAA world wide name; also its SAS address

	Media     MediaType
	Interface Interface

	BlockSize         uint32 // bytes of a logical block: 512 or 4096; 0 is 512
	PhysicalBlockSize uint32 // likewise, at least BlockSize; 0 is as BlockSize

	Enclosure uint16 // device id of the enclosure, or NoEnclosure
	Slot      uint8
}

// NoEnclosure is the enclosure of a drive that is attached directly.
const NoEnclosure = 0xffff

// MediaType is what a drive keeps its data on.
type MediaType uint8

// Media types.
const (
	Rotating MediaType = iota
	SolidState
	// Optical is a CD-ROM drive, whose storage is the disc. Nothing is written to
	// it, whatever the storage can.
	Optical
)

// Interface is what a drive speaks.
type Interface uint8

// Drive interfaces.
const (
	SAS Interface = iota
	SATA
)

// NewDrive makes a Drive of a medium and an identity.
func NewDrive(m scsi.Medium, id DriveIdentity) Drive { return drive{m, id} }

type drive struct {
	scsi.Medium
	id DriveIdentity
}

func (d drive) Identity() DriveIdentity { return d.id }

func (id *DriveIdentity) check() error {
	for _, f := range []struct {
		name, value string
		max         int
	}{
		{"vendor", id.Vendor, 8},
		{"product", id.Product, 16},
		{"revision", id.Revision, 4},
		{"serial number", id.Serial, 20},
	} {
		if len(f.value) > f.max {
			return fmt.Errorf("drive %s %q: at most %d characters", f.name, f.value, f.max)
		}
		for _, c := range []byte(f.value) {
			if c < ' ' || c > '~' {
				return fmt.Errorf("drive %s %q: printable ASCII only", f.name, f.value)
			}
		}
	}
	logical, physical := id.BlockSize, id.PhysicalBlockSize
	switch {
	case logical != 0 && logical != 512 && logical != 4096:
		return fmt.Errorf("drive with logical blocks of %d bytes: must be 512 or 4096", logical)
	case physical != 0 && physical != 512 && physical != 4096:
		return fmt.Errorf("drive with physical blocks of %d bytes: must be 512 or 4096", physical)
	case physical != 0 && physical < logical:
		return fmt.Errorf("drive with logical blocks of %d bytes on physical ones of %d: must not be larger", logical, physical)
	}
	return nil
}

// DriveState is the state of a physical drive.
type DriveState uint8

// Drive states.
const (
	UnconfiguredGood DriveState = iota // free for use
	UnconfiguredBad
	Online // a working member of an array
	Offline
	Failed
	System // exposed to the host as it is
)

var driveStateNames = [...]string{
	UnconfiguredGood: "unconfigured good",
	UnconfiguredBad:  "unconfigured bad",
	Online:           "online",
	Offline:          "offline",
	Failed:           "failed",
	System:           "system",
}

// String returns the state in words.
func (s DriveState) String() string {
	if int(s) < len(driveStateNames) {
		return driveStateNames[s]
	}
	return fmt.Sprintf("DriveState(%d)", uint8(s))
}
