package fwcfg

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxTransfer bounds the bytes of a transfer, so that none keeps a processor for
// long. It is far above the size of any item.
const MaxTransfer = 16 << 20

// controlSize is the size of a control block: control and length (u32), address
// (u64), all big-endian.
const controlSize = 16

// Bits of the control word. The key is in its upper half. When the transfer is
// over the word is zero, or dmaError.
const (
	dmaError  = 1 << 0
	dmaRead   = 1 << 1
	dmaSkip   = 1 << 2
	dmaSelect = 1 << 3
	dmaWrite  = 1 << 4

	dmaKeyShift = 16
)

var errReadOnly = errors.New("fwcfg: no item can be written")

// control is a control block.
type control struct {
	word, length uint32
	addr         uint64
}

// serve carries out the control block at addr. Where there is no memory, there
// is no place to report to either.
//
// Preconditions: d.mu is held.
func (d *Device) serve(addr uint64) {
	var block [controlSize]byte
	if d.mem.ReadAt(block[:], addr) != nil {
		return
	}
	err := d.transfer(control{
		word:   binary.BigEndian.Uint32(block[0:]),
		length: binary.BigEndian.Uint32(block[4:]),
		addr:   binary.BigEndian.Uint64(block[8:]),
	})
	var result [4]byte
	if err != nil {
		binary.BigEndian.PutUint32(result[:], dmaError)
	}
	_ = d.mem.WriteAt(result[:], addr) // it was there a moment ago, and RAM does not go
}

// transfer does what a control block says.
//
// Preconditions: d.mu is held.
func (d *Device) transfer(c control) error {
	if c.word&dmaSelect != 0 {
		d.selected = d.items[Key(c.word>>dmaKeyShift)]
	}
	switch {
	case c.word&dmaRead != 0:
		return d.copyOut(c.addr, c.length)
	case c.word&dmaWrite != 0:
		return errReadOnly
	case c.word&dmaSkip != 0:
		d.take(c.length)
	}
	return nil
}

// take removes up to n bytes from what is left of the item.
//
// Preconditions: d.mu is held.
func (d *Device) take(n uint32) []byte {
	p := d.selected[:min(uint64(n), uint64(len(d.selected)))]
	d.selected = d.selected[len(p):]
	return p
}

// copyOut stores the next n bytes of the item, or zeroes behind its end.
//
// Preconditions: d.mu is held.
func (d *Device) copyOut(addr uint64, n uint32) error {
	if n > MaxTransfer {
		return fmt.Errorf("fwcfg: transfer of %d bytes, at most %d", n, MaxTransfer)
	}
	end := addr + uint64(n)
	if end < addr {
		return fmt.Errorf("fwcfg: %d bytes at %#x wrap around", n, addr)
	}
	data := d.take(n)
	if err := d.mem.WriteAt(data, addr); err != nil {
		return err
	}
	var zeroes [4096]byte
	for addr += uint64(len(data)); addr < end; {
		chunk := zeroes[:min(uint64(len(zeroes)), end-addr)]
		if err := d.mem.WriteAt(chunk, addr); err != nil {
			return err
		}
		addr += uint64(len(chunk))
	}
	return nil
}
