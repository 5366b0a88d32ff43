package block

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/qcow2/luks"
)

// encrypted is a file with a LUKS header whose payload is the disk.
type encrypted struct {
	f        qcow2.File
	keysMu   sync.Mutex // held while key slots change
	volume   *luks.Volume
	data     *luks.Sectors
	base     int64 // offset of the payload
	size     atomic.Int64
	readOnly bool
}

// CreateLUKS makes f a LUKS disk of size bytes, rounded up to whole sectors;
// whatever was in it is lost. Its contents are what random bytes decrypt to
// until they are written.
func CreateLUKS(f qcow2.File, size int64, passphrase []byte, p luks.Params) error {
	header, err := p.HeaderSize()
	if err != nil {
		return fmt.Errorf("create LUKS disk: %w", err)
	}
	if size < 0 || size > 1<<62 {
		return fmt.Errorf("create LUKS disk: size %d", size)
	}
	size = (size + sectorSize - 1) &^ (sectorSize - 1)
	if err := errors.Join(f.Truncate(0), f.Truncate(header+size)); err != nil {
		return fmt.Errorf("create LUKS disk: %w", err)
	}
	if _, err := luks.Create(luks.Section(f, 0, header), passphrase, p); err != nil {
		return fmt.Errorf("create LUKS disk: %w", err)
	}
	return nil
}

// openEncrypted unlocks the LUKS disk in f.
func openEncrypted(f qcow2.File, readOnly bool, secret []byte) (Device, error) {
	if secret == nil {
		return nil, fmt.Errorf("%w: a LUKS disk needs one", ErrSecret)
	}
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	v, err := luks.Open(luks.Section(f, 0, n), secret, luks.OpenOptions{})
	if err != nil {
		return nil, err
	}
	h := v.Header()
	base := h.PayloadOffset()
	if base > n {
		return nil, fmt.Errorf("%w: the payload begins at %d, the file has %d bytes", luks.ErrInvalid, base, n)
	}
	d := &encrypted{f: f, volume: v, data: luks.NewSectors(f, v.Cipher()), base: base, readOnly: readOnly}
	d.size.Store((n - base) &^ (sectorSize - 1))
	return d, nil
}

// ChangeKeys has f change the key slots of a LUKS disk, one such change at a time;
// requests for data don't wait for it.
func ChangeKeys(d Device, f func(*luks.Volume) error) error {
	e, ok := d.(*encrypted)
	switch {
	case !ok:
		return fmt.Errorf("%w: only a LUKS disk has key slots", errors.ErrUnsupported)
	case e.readOnly:
		return ErrReadOnly
	}
	e.keysMu.Lock()
	defer e.keysMu.Unlock()
	return f(e.volume)
}

func (d *encrypted) Size() int64    { return d.size.Load() }
func (d *encrypted) ReadOnly() bool { return d.readOnly }

// CanDiscard is false: what was never written, or punched out, does not decrypt
// to zeroes, and shows which parts of the disk are in use.
func (d *encrypted) CanDiscard() bool    { return false }
func (d *encrypted) DiscardZeroes() bool { return false }

// check refuses a request that is not inside the device, or that must not
// change it.
func (d *encrypted) check(off, n int64, write bool) error {
	if err := checkRange(off, n, d.Size()); err != nil {
		return err
	}
	if write && d.readOnly {
		return ErrReadOnly
	}
	return nil
}

func (d *encrypted) ReadV(bufs [][]byte, off int64) error {
	if err := d.check(off, vecLen(bufs), false); err != nil {
		return err
	}
	return d.data.ReadV(bufs, d.base+off, off)
}

func (d *encrypted) WriteV(bufs [][]byte, off int64) error {
	if err := d.check(off, vecLen(bufs), true); err != nil {
		return err
	}
	return d.data.WriteV(bufs, d.base+off, off)
}

// WriteZeroes writes zeroes, encrypted.
func (d *encrypted) WriteZeroes(off, n int64, _ bool) error {
	if err := d.check(off, n, true); err != nil {
		return err
	}
	zero := make([]byte, min(n, 256<<10))
	for n > 0 {
		step := min(n, int64(len(zero)))
		if err := d.data.WriteV([][]byte{zero[:step]}, d.base+off, off); err != nil {
			return err
		}
		off, n = off+step, n-step
	}
	return nil
}

// Discard gives nothing back.
func (d *encrypted) Discard(off, n int64) error { return d.check(off, n, true) }

// Resize implements Resizer, but that what is added does not read as zeroes. Requests to
// what is cut must have ended.
func (d *encrypted) Resize(size int64) error { return d.ResizeWith(size, qcow2.ResizeOptions{}) }

// ResizeWith implements Preallocator, with the limits of Resize. After an error the size
// is as it was.
func (d *encrypted) ResizeWith(size int64, o qcow2.ResizeOptions) error {
	switch {
	case d.readOnly:
		return ErrReadOnly
	case size < 0 || size > 1<<62 || size%sectorSize != 0:
		return fmt.Errorf("resize to %d bytes: the new size must be a multiple of %d", size, sectorSize)
	}
	file, ok := d.f.(*qcow2.OSFile)
	if !ok {
		if o.Preallocation != qcow2.PreallocateOff {
			return fmt.Errorf("unsupported preallocation mode: %v", o.Preallocation)
		}
		if err := d.f.Truncate(d.base + size); err != nil {
			return err
		}
		d.size.Store(size)
		return d.f.Sync()
	}
	// All but the cipher is as with a raw disk, whose window the payload is.
	r := &raw{f: file, io: file, base: d.base}
	r.size.Store(d.Size())
	if err := r.ResizeWith(size, o); err != nil {
		return err
	}
	d.size.Store(size)
	return nil
}

func (d *encrypted) Flush() error {
	if d.readOnly {
		return nil
	}
	return d.f.Sync()
}

func (d *encrypted) Close() error { return errors.Join(d.Flush(), d.f.Close()) }

// maxSecret bounds the length of a passphrase in bytes.
const maxSecret = 8 << 10

// secret returns the passphrase that the spec names, nil if it names none.
func (s *Spec) secret() ([]byte, error) {
	if s.Secret != "" {
		return []byte(s.Secret), nil
	}
	if s.KeyFile == "" {
		return nil, nil
	}
	f, err := os.Open(s.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, maxSecret+1)
	n := 0
	for n < len(b) && err == nil {
		var m int
		m, err = f.Read(b[n:])
		n += m
	}
	switch {
	case n > maxSecret:
		return nil, fmt.Errorf("%w: %q has more than %d bytes", ErrSecret, s.KeyFile, maxSecret)
	case n == 0:
		return nil, fmt.Errorf("%w: %q is empty or can't be read", ErrSecret, s.KeyFile)
	}
	return b[:n], nil
}
