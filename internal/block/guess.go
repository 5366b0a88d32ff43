package block

import (
	"os"
	"syscall"

	"github.com/govmm/govmm/qcow2"
)

// Guess finds the format of a file by its first bytes, as QEMU's tools do:
// whatever is nothing else is raw. That is dangerous where somebody else writes
// the bytes of a raw disk; Open never does it. See Spec.Guessed.
func Guess(path string) (string, error) {
	if err := checkKind(path, DriverAny, true); err != nil {
		return "", err
	}
	f, err := qcow2.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var magic [magicLen]byte
	if err := f.ReadV([][]byte{magic[:]}, 0); err != nil {
		return "", err
	}
	return formatOf(magic), nil
}

// Guess finds the format of what the spec describes, whose Format is not set.
func (s *Spec) Guess() (string, error) {
	if s.Storage == nil {
		return Guess(s.Path)
	}
	if c := s.Storage.Remote; c != nil {
		// The connection is kept, since some servers end with their first.
		if err := c.Connect(); err != nil {
			return "", err
		}
		first := make([]byte, max(c.Alignment(), magicLen))
		if err := c.ReadV([][]byte{first}, 0); err != nil {
			return "", err
		}
		return formatOf([magicLen]byte(first)), nil
	}
	below := *s.Storage
	below.ReadOnly, below.ForceShare, below.Debug = true, true, nil
	d, err := Open(below)
	if err != nil {
		return "", err
	}
	defer d.Close()
	var magic [magicLen]byte
	if err := (&diskFile{d}).ReadV([][]byte{magic[:]}, 0); err != nil {
		return "", err
	}
	return formatOf(magic), nil
}

// GuessWarning is what QEMU's tools print of a raw disk whose format was guessed
// and that may be written, with its name.
const GuessWarning = "WARNING: Image format was not specified for '%s' and probing guessed raw.\n" +
	"         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.\n" +
	"         Specify the 'raw' format explicitly to remove the restrictions.\n"

const magicLen = 6

// formatOf is the format of a file that begins so.
func formatOf(magic [magicLen]byte) string {
	switch {
	case string(magic[:4]) == "QFI\xfb":
		return FormatQCOW2
	case string(magic[:]) == "LUKS\xba\xbe":
		return FormatLUKS
	}
	return FormatRaw
}

// mayBegin refuses a write to a raw disk that would make it look like one of
// another format.
func (r *raw) mayBegin(bufs [][]byte, off int64) error {
	if !r.guessed || off >= magicLen {
		return nil
	}
	var magic [magicLen]byte
	if err := r.f.ReadV([][]byte{magic[:]}, 0); err != nil {
		return err
	}
	at := off
	for _, b := range bufs {
		if at < magicLen {
			at += int64(copy(magic[at:], b))
		}
	}
	if formatOf(magic) != FormatRaw {
		return syscall.EPERM
	}
	return nil
}
