package imgtool

import (
	"fmt"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

// look finds the piece at off. Preconditions: mu is held.
func (c *copying) look(off int64) (piece, error) {
	i := len(c.starts) - 1
	for c.starts[i] > off {
		i--
	}
	d, at := c.sources[i], off-c.starts[i]
	end := c.total
	if i+1 < len(c.starts) {
		end = c.starts[i+1]
	}
	left := min(d.Size()-at, end-off)
	if left <= 0 { // what the last sector has more than the source
		return piece{off: off, n: end - off, zero: true, skip: c.zeroed}, nil
	}
	e, err := status(d, at, left)
	if err != nil && c.job.salvage {
		e, err = c.salvageStatus(d, at, left), nil
	}
	if err != nil {
		return piece{}, fmt.Errorf("error while reading block status at offset %d: %s", off, reason(err))
	}
	if !e.Zero { // a raw disk may end inside a sector
		e.Length = min(left, sectors(e.Length))
	}
	p := piece{off: off, n: e.Length, zero: e.Zero}
	switch {
	case c.backed && (!e.Present || e.Depth > 0):
		p.skip = true
	case e.Zero && c.job.sparse == 0:
		p.zero, p.hole = false, holeAbsent // written out
		if e.Present {
			p.hole = holeClusters
		}
	case e.Zero && c.zeroed:
		p.skip = true
	}
	if c.cluster > 0 && p.skip && off+p.n < c.total {
		// Pieces begin with a cluster: the last one here is copied.
		if whole := (off + p.n) / c.cluster * c.cluster; whole > off {
			p.n = whole - off
		} else {
			p.skip = false
		}
	}
	if p.skip || p.zero && !c.job.compress {
		return p, nil
	}
	return c.cut(p), nil
}

// salvageStatus is the status of what is at a place for which it can't be had for n
// bytes: of less or, where it can't be had of a sector either, as if that were data.
func (c *copying) salvageStatus(d block.Device, at, n int64) qcow2.Extent {
	for count := min(sectors(n), maxStatus) / sectorSize; count > 1; {
		count = (count + 3) / 4
		e, err := status(d, at, min(n, count*sectorSize))
		if err == nil {
			return e
		}
		if count == 1 && !c.job.quiet {
			c.tool.warn("error while reading block status at offset %d: %s", at, reason(err))
		}
	}
	return qcow2.Extent{Length: min(n, sectorSize), Data: true, Present: true}
}

// maxStatus is how much is asked about at once where something may be broken.
const maxStatus = 1<<31 - sectorSize

// measureWork counts how many bytes of data there are to be copied.
func (c *copying) measureWork() (n int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for off := int64(0); off < c.total; {
		p, err := c.look(off)
		if err != nil {
			return 0, err
		}
		if !p.zero && !p.skip {
			n += p.n
		}
		off += p.n
	}
	return n, nil
}

// shownStep is how many bytes are copied, at most, before that is shown: as much as
// qemu-img has in a buffer.
const shownStep = 2 << 20

// show enters a piece of data as copied, and shows from time to time how much that is: after
// each run of data, and each cluster that is compressed. Preconditions: mu is held.
func (c *copying) show(p piece) {
	step := int64(shownStep)
	if c.job.compress {
		step = c.cluster
	}
	if c.since > 0 && (p.off != c.edge || p.hole != c.holed) {
		c.since = 0
		c.progress.set(c.copied, c.work)
	}
	c.edge, c.holed = p.off+p.n, p.hole
	for n := p.n; n > 0; {
		more := min(n, step-c.since)
		c.copied, n = c.copied+more, n-more
		if c.since += more; c.since >= step || c.copied == c.work {
			c.since = 0
			c.progress.set(c.copied, c.work)
		}
	}
}

// cut shortens a piece to what is copied at a time; for compressed output to
// whole clusters, which may hold data and holes.
func (c *copying) cut(p piece) piece {
	if c.cluster == 0 {
		p.n = min(p.n, c.step()-p.off%c.step())
		return p
	}
	step := c.step()
	end := (p.off + p.n + c.cluster - 1) / c.cluster * c.cluster
	p.n = min(end-p.off, step-p.off%step, c.total-p.off)
	p.zero = false
	return p
}
