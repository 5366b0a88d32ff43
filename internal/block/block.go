// Package block opens what can stand under a drive or an image tool: qcow2
// images with their backing chains, raw files, host block devices, LUKS disks,
// and a null device.
//
// What is opened is what the caller's Spec names, and the backing files and
// external data files that qcow2 images name. Those names come from whoever made the image; so the
// package accepts only plain file names unless the caller knows others (Names), takes the format from the image, and
// never guesses that a file is raw: a guest that writes a qcow2 header into its
// raw disk must not make the host open the files which that header names.
//
// Devices may be used from any number of goroutines.
package block

import (
	"errors"
	"fmt"
	"os"

	"github.com/govmm/govmm/qcow2"
	"golang.org/x/sys/unix"
)

// Device is storage: a flat array of bytes. Offsets and lengths are in bytes.
// Except for Close, which is the last call, calls may be concurrent.
type Device interface {
	// Size is the capacity in bytes.
	Size() int64
	// ReadV fills bufs, in order, from offset off.
	ReadV(bufs [][]byte, off int64) error
	// WriteV stores bufs, in order, from offset off.
	WriteV(bufs [][]byte, off int64) error
	// WriteZeroes makes n bytes at off read as zeroes; with unmap the storage
	// behind them may be given back.
	WriteZeroes(off, n int64, unmap bool) error
	// Discard gives back the storage of n bytes at off where that is possible.
	Discard(off, n int64) error
	// Flush makes every write that returned before it durable.
	Flush() error
	// ReadOnly reports whether writes are refused.
	ReadOnly() bool
	// CanDiscard reports whether Discard gives storage back at all.
	CanDiscard() bool
	// DiscardZeroes reports whether discarded ranges read back as zeroes.
	DiscardZeroes() bool
	// Close makes everything durable and releases the device.
	Close() error
}

var (
	// ErrFormat means that a format is not known, or not known for certain.
	ErrFormat = errors.New("unknown format")
	// ErrBacking means that a backing file must not be opened.
	ErrBacking = errors.New("backing file refused")
	// ErrReadOnly means that a write was tried on a device opened read-only.
	ErrReadOnly = errors.New("device is read-only")
	// ErrSecret means that a passphrase is needed, or can't be had.
	ErrSecret = errors.New("no passphrase")
	// ErrLocked means that somebody else uses a file in a way that excludes ours.
	ErrLocked = qcow2.ErrLocked
	// ErrRange means that a request reaches beyond the end of the device.
	ErrRange = errors.New("request outside the device")
)

// DriverError names the format of a backing file that is none of ours. It is an
// ErrFormat.
type DriverError string

func (e DriverError) Error() string {
	return fmt.Sprintf("%v %q (%s, %s and %s are allowed under an image)", ErrFormat, string(e), FormatQCOW2, FormatRaw, FormatLUKS)
}

// Is implements errors.Is.
func (DriverError) Is(target error) bool { return target == ErrFormat }

// OptionError says in QEMU's words that a disk is not what a Spec makes of it.
type OptionError string

func (e OptionError) Error() string { return string(e) }

func optionErrorf(format string, args ...any) error { return OptionError(fmt.Sprintf(format, args...)) }

// OpenError is the failure of Open.
type OpenError struct {
	Path string // as the spec has it
	Err  error
}

func (e *OpenError) Error() string { return fmt.Sprintf("open disk %q: %v", e.Path, e.Err) }

func (e *OpenError) Unwrap() error { return e.Err }

// Open opens the device that spec describes.
func Open(spec Spec) (Device, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	if spec.Debug == nil && spec.DebugConfig != "" {
		if err := spec.readDebugConfig(); err != nil {
			return nil, &OpenError{spec.Path, err}
		}
	}
	d, err := (&chain{spec: &spec, seen: new([]qcow2.FileID)}).open(spec.Path, spec.Format, spec.ReadOnly)
	if err != nil {
		return nil, &OpenError{spec.Path, err}
	}
	return d, nil
}

// openFile opens a host file.
func openFile(path string, readOnly bool, spec *Spec) (*qcow2.OSFile, error) {
	flags := os.O_RDWR
	if readOnly {
		flags = os.O_RDONLY
	}
	if spec.Direct {
		flags |= unix.O_DIRECT
	}
	f, err := qcow2.OpenFile(path, flags)
	if err == nil && spec.NoFlush {
		f.DisableSync()
	}
	return f, err
}

// probe returns the format of a file whose format nobody named. Only qcow2 is
// ever found.
func probe(f qcow2.File) (string, error) {
	var magic [4]byte
	if err := f.ReadV([][]byte{magic[:]}, 0); err != nil {
		return "", err
	}
	if string(magic[:]) != "QFI\xfb" {
		return "", fmt.Errorf("%w: not a qcow2 image, and that a file is raw is never guessed (name the format: %s)", ErrFormat, FormatRaw)
	}
	return FormatQCOW2, nil
}
