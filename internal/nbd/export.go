package nbd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/govmm/govmm/internal/nbdproto"
)

// Device is the storage behind an export. Offsets and lengths are in bytes; all
// methods may be called concurrently. A write that returned is visible to every
// later read, on any connection, and durable after a Flush on any connection.
type Device interface {
	Size() int64
	ReadV(bufs [][]byte, off int64) error
	WriteV(bufs [][]byte, off int64) error
	// WriteZeroes makes n bytes at off read as zeroes; with unmap their storage
	// may be given back.
	WriteZeroes(off, n int64, unmap bool) error
	Discard(off, n int64) error
	Flush() error
	ReadOnly() bool
	CanDiscard() bool
}

// FastZeroer is a Device that may be able to write zeroes without writing them out in full.
type FastZeroer interface {
	// WriteZeroesFast is WriteZeroes, but that it is an errors.ErrUnsupported, and changes nothing,
	// where it would write zeroes out.
	WriteZeroesFast(off, n int64, unmap bool) error
}

// Context is a metadata context that an export offers for block status.
type Context struct {
	// Name is namespace and leaf, as in "base:allocation".
	Name string
	// Status returns the flags of the bytes from off on, and for how many of the
	// n bytes they hold, at least one.
	Status func(off, n int64) (flags uint32, length int64, err error)
}

// Export is a device under a name.
type Export struct {
	// Name is what clients ask for; the empty name is the default export.
	Name        string
	Description string
	Device      Device
	// ReadOnly refuses writes that the device would take.
	ReadOnly bool
	// FastZero says that WriteZeroes never writes zeroes out in full.
	FastZero bool
	// TryFastZero offers fast zeroes whatever the device can do: a request for them is refused unless it
	// is a FastZeroer that takes it.
	TryFastZero bool
	// KeepDiscarded accepts TRIM, and leaves the device alone.
	KeepDiscarded bool
	// MinBlock is what clients are told to make offsets and lengths multiples of, in bytes;
	// others are served all the same. 0 is 1.
	MinBlock uint32
	Contexts []Context
}

func (e *Export) readOnly() bool { return e.ReadOnly || e.Device.ReadOnly() }

// flags are the transmission flags. shared says that a client may have several
// connections: one that is told so where only one is admitted waits forever.
func (e *Export) flags(structured, shared bool) uint16 {
	f := uint16(nbdproto.FlagHasFlags | nbdproto.FlagSendFlush | nbdproto.FlagSendFUA | nbdproto.FlagSendCache)
	if structured {
		f |= nbdproto.FlagSendDF
	}
	if shared {
		f |= nbdproto.FlagCanMultiConn
	}
	if e.readOnly() {
		return f | nbdproto.FlagReadOnly
	}
	f |= nbdproto.FlagSendWriteZeroes
	if e.Device.CanDiscard() {
		f |= nbdproto.FlagSendTrim
	}
	if e.FastZero || e.TryFastZero {
		f |= nbdproto.FlagSendFastZero
	}
	return f
}

// allocation is the base:allocation context, nil where the export has none.
func (e *Export) allocation() *Context {
	for i := range e.Contexts {
		if e.Contexts[i].Name == BaseAllocation {
			return &e.Contexts[i]
		}
	}
	return nil
}

func (e *Export) validate() error {
	switch {
	case e.Device == nil:
		return fmt.Errorf("export %q has no device", e.Name)
	case len(e.Name) > maxName:
		return fmt.Errorf("export name of %d bytes (at most %d are allowed)", len(e.Name), maxName)
	case len(e.Description) > maxName:
		return fmt.Errorf("export description of %d bytes (at most %d are allowed)", len(e.Description), maxName)
	}
	for _, c := range e.Contexts {
		if !strings.Contains(c.Name, ":") || len(c.Name) > maxName {
			return fmt.Errorf("metadata context %q (namespace:leaf is allowed)", c.Name)
		}
	}
	return nil
}

// errno is the protocol's word for an error of a device.
func errno(err error) uint32 {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return nbdproto.ErrnoNoSpace
	case errors.Is(err, syscall.ENOMEM):
		return nbdproto.ErrnoNoMem
	case errors.Is(err, os.ErrPermission):
		return nbdproto.ErrnoPerm
	case errors.Is(err, errors.ErrUnsupported):
		return nbdproto.ErrnoNotSup
	}
	return nbdproto.ErrnoIO
}
