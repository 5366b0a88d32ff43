package block

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/internal/nbdclient"
	"github.com/govmm/govmm/qcow2"
)

// Formats of a Spec.
const (
	FormatQCOW2 = "qcow2"
	FormatRaw   = "raw"  // the bytes of a file or of a host block device
	FormatLUKS  = "luks" // a LUKS1 disk in a file or host block device
	FormatNull  = "null" // reads as zeroes, forgets what is written
	FormatNBD   = "nbd"  // the export of a server
)

// Spec says what to open.
type Spec struct {
	// Path of the file or block device. Empty for FormatNull.
	Path string
	// Storage is the disk that the image is in, if that is not the file at Path, which then
	// only says where names that are relative to the image begin. Options that say how files
	// are opened (Direct, NoFlush, ForceShare, Locking, ReadOnly) hold for it as well.
	Storage *Spec
	// Report, if set, is told when an image of the chain is found corrupt.
	Report Reporter
	// Names finds what the names of backing files stand for that are no plain file names.
	// Without it they are refused.
	Names Names
	// Format is one of the formats above. Empty means that the file is looked
	// at, and must be qcow2.
	Format string
	// Guessed says that Format was found by Guess: writes that would make a raw
	// disk look like another format are refused.
	Guessed bool
	// ReadOnly refuses writes.
	ReadOnly bool
	// NoBacking refuses an image that needs a backing file.
	NoBacking bool
	// Backing is opened in place of the backing file that the image at Path names, or
	// where it names none; ReadOnly must be set. Path may be empty for the file that
	// the image names, and so may Format. How the topmost file is opened (Direct,
	// NoFlush, ForceShare, Locking) holds for it as well, and so do passphrases, unless
	// it has its own.
	Backing *Spec
	// Alone opens an image as though it named no backing file.
	Alone bool
	// LeaveBacking leaves the backing files closed, for who looks only at the image
	// itself or changes its name of them: reading what they have is an error.
	LeaveBacking bool
	// DataFile is the external data file of the image at Path. Empty means the one
	// that the image names.
	DataFile string
	// Data is opened in place of the external data file that the image at Path names:
	// a raw disk or a null device.
	Data *Spec
	// NoDataFile refuses an image that needs an external data file.
	NoDataFile bool
	// LeaveData leaves external data files closed, for who looks only at what images say:
	// reading what they have is an error.
	LeaveData bool
	// FileDriver is QEMU's driver that the topmost file is for: file, host_device or
	// host_cdrom, or DriverAny. A file of another kind is refused in QEMU's words.
	FileDriver string
	// Size in bytes of a device with FormatNull; unused with the others.
	Size int64
	// Latency is how long each request to a device with FormatNull takes.
	Latency time.Duration
	// Window is the part of the file that is the disk, with FormatRaw. nil is all.
	Window *Window
	// L2CacheSize bounds the memory for mapping metadata of a qcow2 image, in
	// bytes. 0 is the default of package qcow2.
	L2CacheSize int64
	// EncryptFormat is how the qcow2 image at Path must be encrypted: aes or luks; empty: no
	// matter how.
	EncryptFormat string
	// RefcountCacheSize is what QEMU would have for refcounts, in bytes: here only what it
	// refuses is refused. 0 is its default.
	RefcountCacheSize int64
	// L2EntrySize is how much of that is read at a time, in bytes: unless 0 a power of two
	// from 512 to the size of a cluster. That is checked, and has no effect.
	L2EntrySize int64
	// LazyRefcounts, if set, counts in place of what the qcow2 image at Path says about that.
	LazyRefcounts *bool
	// Direct bypasses the page cache of the host. Backing files are opened alike.
	Direct bool
	// NoFlush never makes anything durable: for data that nobody misses.
	NoFlush bool
	// Snapshot, if not zero, is what a qcow2 image is opened at; ReadOnly must be
	// set.
	Snapshot qcow2.SnapshotRef
	// ForceShare opens a read-only disk though somebody may be writing it: what is
	// read then need not make sense.
	ForceShare bool
	// ShareBacking lets others write to the backing files, and their data files, once it is known that nobody does: for who does so himself,
	// through another device.
	ShareBacking bool
	// ShareRaw lets others change the disks that are raw meanwhile, and their sizes: nothing of ours depends on
	// what is in them. Tools do so as those of QEMU; a machine has its disks for itself.
	ShareRaw bool
	// Locking says whether files are locked against other users; see Locking.
	Locking Locking
	// Remote is the export of a disk with FormatNBD. Path then is only its name.
	Remote *nbdclient.Client
	// Filter says that a disk with FormatRaw is another in Storage, with what is injected
	// into that: its bytes are where they are in that.
	Filter bool
	// Compress has all clusters compressed that are written to a qcow2 image.
	Compress bool
	// CopyOnRead has what is read from backing files written to the disk.
	CopyOnRead bool
	// Take and Unshare are permissions that a file is locked for beside those that are needed.
	Take, Unshare qcow2.Permission
	// Debug injects faults into the topmost file of the chain. DebugConfig names a
	// file with rules for that, unless Debug is set.
	Debug       *blkdebug.Debug
	DebugConfig string
	// PassDiscard says when a qcow2 image gives storage back to the host; 0 is the
	// default of package qcow2.
	PassDiscard qcow2.PassDiscard
	// KeyFile names a file whose whole contents are the passphrase of an
	// encrypted disk; Secret, unless empty, is the passphrase itself. It opens
	// every encrypted file of a backing chain.
	KeyFile string
	Secret  string
}

// Serve has the disk be locked for who serves it to clients: others may change a raw one meanwhile, as
// with QEMU's servers, but not its size, which clients know.
func (s *Spec) Serve() {
	if s.ShareRaw = true; !s.ForceShare {
		s.Unshare |= qcow2.PermResize
	}
}

// Reporter is told what nobody asked for.
type Reporter interface {
	// Corrupt says that the image at path was found corrupt: why, and whether it was marked
	// so; see qcow2.Options.Corruption.
	Corrupt(path, problem string, marked bool)
	// Repair says what is repaired in the image at path, which was not closed in order.
	Repair(path, line string)
}

// StaleReporter is a Reporter that hears of bitmaps which are out of date, too.
type StaleReporter interface {
	// StaleBitmaps says that the image at path, of a version of the format, has such bitmaps; see
	// qcow2.Options.StaleBitmaps.
	StaleBitmaps(path string, version int)
}

// StaleBitmapsText is how QEMU's tools warn of bitmaps that are out of date, under the name of the tool. It
// does not end in a newline, as theirs.
func StaleBitmapsText(tool string, version int) string {
	why := "a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent"
	if version < 3 {
		why = "This qcow2 v2 image contains bitmaps, but they may have been modified by a program without persistent bitmap support; " +
			"so now they must all be considered inconsistent"
	}
	return tool + ": warning: " + why + "\nSome clusters may be leaked, run 'qemu-img check -r' on the image file to fix."
}

// CorruptionText is what QEMU prints when an image is found corrupt.
func CorruptionText(problem string, marked bool) string {
	if marked {
		return "qcow2: Marking image as corrupt: " + problem + "; further corruption events will be suppressed"
	}
	return "qcow2: Image is corrupt: " + problem + "; further non-fatal corruption events will be suppressed"
}

// Names finds disks by names that are no plain file names.
type Names interface {
	// Named returns the spec of a disk by the name that an image has for its backing file,
	// and the format that it says that this has.
	Named(name, format string) (*Spec, error)
}

// Window is a part of a file.
type Window struct {
	Offset int64 // of its first byte
	Size   int64 // in bytes, a multiple of 512; below 0 for all that is left
}

// ParseSpec parses a list of key=value pairs separated by commas, in which a
// comma inside a value is doubled. The first element may be the path alone. Keys:
//
//	path=FILE            file or block device
//	format=FORMAT        qcow2, raw, luks or null; by default qcow2, if the file is that
//	readonly=on|off
//	backing=on|off       whether a backing file may be opened (on)
//	data-file=FILE|off   external data file; by default the one that the image names.
//	                     With off, none may be opened
//	size=BYTES           of a null device; suffixes k, M, G, T, P, E (powers of 1024)
//	pass-discard-request=on|off, pass-discard-snapshot=on|off, pass-discard-other=on|off
//	                     when a qcow2 image gives storage back to the host (on, on, off)
//	l2-cache-size=BYTES  of a qcow2 image
//	cache.direct=on|off    bypass the page cache of the host (off)
//	cache.no-flush=on|off  never make anything durable (off)
//	force-share=on|off   read though somebody else may be writing
//	locking=on|off|auto  lock files against other users (auto: where possible)
//	blkdebug=FILE        inject the faults that this file describes, as QEMU's blkdebug
//	key-file=FILE        holds the passphrase of an encrypted disk
//
// Other keys are returned in rest.
func ParseSpec(s string) (spec Spec, rest map[string]string, err error) {
	rest = make(map[string]string)
	seen := make(map[string]bool)
	for i, element := range SplitCommas(s) {
		key, value, ok := strings.Cut(element, "=")
		if !ok && i == 0 {
			key, value = "path", element
		} else if !ok || key == "" {
			return Spec{}, nil, fmt.Errorf("disk %q: %q is not key=value", s, element)
		}
		if seen[key] {
			return Spec{}, nil, fmt.Errorf("disk %q: %s is given twice", s, key)
		}
		seen[key] = true
		if known, err := spec.set(key, value); err != nil {
			return Spec{}, nil, fmt.Errorf("disk %q: %w", s, err)
		} else if !known {
			rest[key] = value
		}
	}
	if err := spec.validate(); err != nil {
		return Spec{}, nil, err
	}
	return spec, rest, nil
}

// set sets the field that key names, and reports whether there is one.
func (s *Spec) set(key, value string) (known bool, err error) {
	switch key {
	case "path":
		s.Path = value
	case "format":
		s.Format = value
	case "readonly":
		s.ReadOnly, err = parseSwitch(key, value)
	case "backing":
		s.NoBacking, err = parseSwitch(key, value)
		s.NoBacking = !s.NoBacking
	case "data-file":
		if s.NoDataFile = value == "off"; !s.NoDataFile {
			s.DataFile = value
		}
	case "size":
		s.Size, err = parseSize(key, value)
	case "pass-discard-request", "pass-discard-snapshot", "pass-discard-other":
		var on bool
		on, err = parseSwitch(key, value)
		s.PassDiscard = s.PassDiscard.With(passClasses[key], on)
	case "l2-cache-size":
		s.L2CacheSize, err = parseSize(key, value)
	case "cache.direct":
		s.Direct, err = parseSwitch(key, value)
	case "cache.no-flush":
		s.NoFlush, err = parseSwitch(key, value)
	case "force-share":
		s.ForceShare, err = parseSwitch(key, value)
	case "locking":
		s.Locking, err = parseLocking(value)
	case "blkdebug":
		s.DebugConfig = value
	case "key-file":
		s.KeyFile = value
	default:
		return false, nil
	}
	return true, err
}

// passClasses are the keys about storage that goes back to the host.
var passClasses = map[string]qcow2.PassDiscard{
	"pass-discard-request": qcow2.PassRequest, "pass-discard-snapshot": qcow2.PassSnapshot, "pass-discard-other": qcow2.PassOther,
}

// validate refuses what can't be opened whatever is on the host.
func (s *Spec) validate() error {
	switch s.Format {
	case FormatNull:
		switch {
		case s.Path != "":
			return fmt.Errorf("disk %q: a null device has no path", s.Path)
		case s.Size <= 0 || s.Size%sectorSize != 0:
			return fmt.Errorf("disk of format null: size=%d (a positive multiple of %d is allowed)", s.Size, sectorSize)
		}
		return nil
	case FormatNBD:
		if s.Remote == nil {
			return fmt.Errorf("disk %q of format %s: no server", s.Path, FormatNBD)
		}
		return nil
	case "", FormatRaw, FormatQCOW2, FormatLUKS:
	default:
		return fmt.Errorf("disk %q: %w %q (%s, %s, %s and %s are allowed)", s.Path, ErrFormat, s.Format, FormatQCOW2, FormatRaw, FormatLUKS, FormatNull)
	}
	if s.Storage != nil {
		if err := s.Storage.validate(); err != nil {
			return err
		}
	}
	switch {
	case s.Path == "" && s.Storage == nil:
		return fmt.Errorf("disk without a path")
	case s.CopyOnRead && s.ReadOnly:
		return optionErrorf("Block node is read-only")
	case s.ForceShare && !s.ReadOnly:
		return fmt.Errorf("disk %q: force-share=on can only be used with readonly=on", s.Path)
	case s.Window != nil && s.Format != FormatRaw:
		return fmt.Errorf("disk %q: only disks of format %s may be a part of a file", s.Path, FormatRaw)
	case s.Backing != nil && (s.Alone || s.NoBacking || !s.Backing.ReadOnly):
		return fmt.Errorf("disk %q: a backing file that may not be opened, or would be written", s.Path)
	case s.Size != 0:
		return fmt.Errorf("disk %q: size=%d (only format=null has a size)", s.Path, s.Size)
	case s.Snapshot != (qcow2.SnapshotRef{}) && s.Format != "" && s.Format != FormatQCOW2:
		return fmt.Errorf("disk %q: a disk of format %s has no snapshots (%s disks may)", s.Path, s.Format, FormatQCOW2)
	case s.L2CacheSize < 0:
		return fmt.Errorf("disk %q: l2-cache-size=%d", s.Path, s.L2CacheSize)
	}
	return nil
}

// SplitCommas splits at single commas; two stand for one in a value.
func SplitCommas(s string) []string {
	var list []string
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != ',':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == ',':
			b.WriteByte(',')
			i++
		default:
			list = append(list, b.String())
			b.Reset()
		}
	}
	return append(list, b.String())
}

func parseSwitch(key, value string) (bool, error) {
	switch value {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, fmt.Errorf("%s=%s (on and off are allowed)", key, value)
}

func parseSize(key, value string) (int64, error) {
	digits := strings.TrimRight(value, "bBkKMGTPE")
	shift := 0
	switch value[len(digits):] {
	case "", "b", "B":
	case "k", "K":
		shift = 10
	case "M":
		shift = 20
	case "G":
		shift = 30
	case "T":
		shift = 40
	case "P":
		shift = 50
	case "E":
		shift = 60
	default:
		digits = ""
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%s=%s (a number of bytes is allowed, with k, M, G, T, P or E after it)", key, value)
	}
	return n << shift, nil
}
