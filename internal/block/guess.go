package block

import (
	"os"
	"syscall"

	"github.com/govmm/govmm/internal/nbdclient"
	"github.com/govmm/govmm/qcow2"
)

// Guess finds the format of a file by its first bytes, as QEMU's tools do:
// whatever is nothing else is raw. That is dangerous where somebody else writes
// the bytes of a raw disk; Open never does it. See Spec.Guessed.
func Guess(path string) (string, error) {
	f, err := qcow2.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return guess(f)
}

// GuessRemote is Guess for the export of a server. The connection is kept, since some
// servers end with their first.
func GuessRemote(c *nbdclient.Client) (string, error) {
	if err := c.Connect(); err != nil {
		return "", err
	}
	return guess(c)
}

func guess(f qcow2.File) (string, error) {
	align := int64(1)
	if a, ok := f.(interface{ Alignment() int64 }); ok {
		align = a.Alignment()
	}
	first := make([]byte, max(align, magicLen))
	if err := f.ReadV([][]byte{first}, 0); err != nil {
		return "", err
	}
	return formatOf([magicLen]byte(first)), nil
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
	if err := r.io.ReadV([][]byte{magic[:]}, 0); err != nil {
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
