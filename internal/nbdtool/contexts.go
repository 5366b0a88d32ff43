package nbdtool

import (
	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/nbd"
	"github.com/govmm/govmm/qcow2"
)

// DepthContext is the metadata context that tells how deep in the chain of backing
// files the bytes of a disk are.
const DepthContext = "qemu:allocation-depth"

// bitmapDirty is the flag of a qemu:dirty-bitmap context.
const bitmapDirty = 1 << 0

// BitmapContext is the metadata context that tells what is dirty in a bitmap.
func BitmapContext(im *qcow2.Image, name string) nbd.Context {
	return nbd.Context{Name: "qemu:dirty-bitmap:" + name, Status: func(off, n int64) (uint32, int64, error) {
		dirty, length, err := im.DirtyStatus(name, off, n)
		if dirty {
			return bitmapDirty, length, err
		}
		return 0, length, err
	}}
}

// MapContexts are the metadata contexts that can be told from a device's map:
// base:allocation and DepthContext. Extents are multiples of unit bytes, a power of two, as
// far as n goes.
func MapContexts(m block.Mapper, unit int64) []nbd.Context {
	status := func(off, n int64) (qcow2.Extent, error) {
		e, err := m.Status(off, n)
		if !e.Zero { // what is there in part is there
			e.Length = min(n, (e.Length+unit-1)&^(unit-1))
		}
		return e, err
	}
	return []nbd.Context{
		{Name: nbd.BaseAllocation, Status: func(off, n int64) (uint32, int64, error) {
			e, err := status(off, n)
			var flags uint32
			if e.Zero {
				flags |= nbd.StatusZero
			}
			if !e.Data {
				flags |= nbd.StatusHole
			}
			return flags, e.Length, err
		}},
		{Name: DepthContext, Status: func(off, n int64) (uint32, int64, error) {
			e, err := status(off, n)
			if !e.Present {
				return 0, e.Length, err
			}
			return uint32(e.Depth + 1), e.Length, err
		}},
	}
}

// ZeroesFast reports whether a device never writes zeroes out in full. An image
// that can't discard has no zero clusters.
func ZeroesFast(d block.Device, format string) bool {
	if im, ok := d.(*qcow2.Image); ok {
		return im.CanDiscard()
	}
	return format == block.FormatNull
}
