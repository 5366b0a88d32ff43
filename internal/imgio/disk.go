package imgio

import (
	"cmp"
	"sync/atomic"
	"syscall"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

// disk is an open image, with what the options say about requests.
type disk struct {
	dev          block.Device
	spec         block.Spec
	driver       string            // what QEMU calls its format
	debug        *blkdebug.Debug   // nil: no faults are injected
	writethrough bool              // every write is durable when it ends
	unmap        bool              // discard does something
	detect       string            // on or unmap: zeroes are stored as such; see blockopt.Source
	nodes        map[string]string // names of nodes, by the options that gave them
	changed      atomic.Bool       // a request that writes succeeded
	unflushed    atomic.Bool       // the last flush that was asked for failed
}

// identity is the value of an option that can't change while the disk is open, "" where
// it has none.
func (d *disk) identity(name string) string {
	switch name {
	case "driver":
		return d.driver
	case "file.driver":
		if d.spec.Storage == nil {
			return "file"
		}
	case "backing.driver":
		im, ok := d.dev.(*qcow2.Image)
		switch b := d.spec.Backing; {
		case b != nil && b.Format != "":
			return b.Format
		case ok:
			return im.Info().BackingFormat
		}
	}
	return d.nodes[name]
}

// write writes, and makes it durable if that is asked for.
func (d *disk) write(bufs [][]byte, off int64, fua bool) error {
	if d.detect == "on" || d.detect == "unmap" {
		if n, all := block.Zeroes(bufs); all {
			return d.durably(fua, d.dev.WriteZeroes(off, n, d.detect == "unmap"))
		}
	}
	return d.durably(fua, d.dev.WriteV(bufs, off))
}

func (d *disk) durably(fua bool, err error) error {
	if err == nil {
		d.changed.Store(true)
	}
	if err == nil && (fua || d.writethrough) {
		err = d.dev.Flush()
	}
	return err
}

// writeZeroes writes zeroes. With fast it fails if data would have to be written.
func (d *disk) writeZeroes(off, n int64, unmap, fast, fua bool) error {
	if im, ok := d.dev.(*qcow2.Image); ok && fast {
		if fits, err := zeroesFast(im, off, n); !fits || err != nil {
			return cmp.Or(err, error(syscall.ENOTSUP))
		}
	}
	return d.durably(fua, d.dev.WriteZeroes(off, n, unmap && d.unmap))
}

// zeroesFast reports whether zeroes can be written to a range without writing
// data: clusters in part must hold zeroes already.
func zeroesFast(im *qcow2.Image, off, n int64) (bool, error) {
	info := im.Info()
	if info.Version < 3 || off > info.Size-n {
		return info.Version >= 3, nil
	}
	mask := info.ClusterSize - 1
	lo, hi := off&^mask, min((off+n+mask)&^mask, info.Size)
	for _, part := range [][2]int64{{lo, off}, {off + n, hi}} {
		from, to := part[0], part[1]
		if from == to {
			continue
		}
		for e, err := range qcow2.Extents(im, from, to-from) {
			if err != nil || e.Present && !e.Zero {
				return false, err
			}
		}
	}
	return true, nil
}

// writeCompressed writes whole clusters in compressed form.
func (d *disk) writeCompressed(p []byte, off int64) error {
	if off > d.dev.Size()-int64(len(p)) {
		return syscall.EIO
	}
	return d.durably(false, block.WriteCompressed(d.dev, p, off))
}

// below is the image itself, or the one that a raw disk is in.
func (d *disk) below() (*qcow2.Image, bool) {
	under, _ := block.Below(d.dev)
	im, ok := under.(*qcow2.Image)
	return im, ok
}

// readState reads from the machine's state behind the disk.
func (d *disk) readState(p []byte, off int64) error {
	im, ok := d.below()
	if !ok {
		return syscall.ENOTSUP
	}
	return im.ReadVMState([][]byte{p}, off)
}

// writeState writes to the machine's state behind the disk.
func (d *disk) writeState(p []byte, off int64) error {
	im, ok := d.below()
	if !ok {
		return syscall.ENOTSUP
	}
	return d.durably(false, im.WriteVMState([][]byte{p}, off))
}

// allocated reports whether the image itself, not one below it, has the byte at
// off, and how many of the n bytes from there on are alike.
func (d *disk) allocated(off, n int64) (bool, int64, error) {
	under, base := block.Below(d.dev)
	im, ok := under.(*qcow2.Image)
	if m, over := d.dev.(block.Mapper); over && d.debug != nil { // which may fail
		if _, err := m.Status(off, min(n, max(0, d.dev.Size()-off))); err != nil {
			return false, 0, err
		}
	}
	if !ok {
		return true, n, nil
	}
	var first qcow2.Extent
	for e, err := range qcow2.Extents(im, base+off, n) {
		if err != nil {
			return false, 0, err
		}
		here := e.Present && e.Depth == 0
		if first.Length > 0 && here != first.Present {
			break
		}
		first.Present, first.Length = here, first.Length+e.Length
	}
	return first.Present, first.Length, nil
}
