package imgtool

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

// copying copies disks, one behind the other, to a device. Several goroutines
// read ahead; what they read is written in order unless any order will do.
type copying struct {
	tool     *Tool
	job      *convertJob
	sources  []block.Device
	starts   []int64 // where each source begins in the output
	total    int64
	out      block.Device
	backed   bool   // the output has a backing file with what it lacks
	zeroed   bool   // it reads as zeroes before anything is written
	secret   string // ID of the secret of the output
	cluster  int64  // of compressed output
	progress *progress
	work     int64 // bytes that are copied in all, as far as they are shown
	began    time.Time

	mu     sync.Mutex
	turns  []sync.Cond // where batches wait for theirs, by ticket
	next   int64       // offset that is looked at next; guarded by mu, with all below
	issued int64       // batches handed out
	done   int64       // of them written, in order
	bytes  int64       // written
	copied int64       // of them data
	edge   int64       // where the last data ended
	holed  hole        // what that was
	since  int64       // how much of it nobody was shown
	err    error
}

func (c *copying) add(d block.Device) {
	c.sources = append(c.sources, d)
	c.starts = append(c.starts, c.total)
	c.total += sectors(d.Size())
}

func (c *copying) closeSources() {
	for _, d := range c.sources {
		_ = d.Close()
	}
}

// prepare checks the output, and finds out what it holds.
func (c *copying) prepare(name string) error {
	if c.job.bitmaps && c.image() == nil {
		return fmt.Errorf("Format driver '%s' does not support bitmaps", c.job.format)
	}
	if c.job.reuse {
		c.zeroed = c.job.zeroed
	}
	if c.job.compress && c.image() == nil {
		return errors.New("Compression not supported for this file format")
	}
	if size := c.out.Size(); size < c.total {
		if !c.job.reuse {
			c.total = size
		} else {
			return errors.New("output file is smaller than input file")
		}
	}
	if c.job.compress {
		c.cluster = c.image().Info().ClusterSize
	}
	return nil
}

// hole is what zeroes are in a source.
type hole uint8

const (
	holeNone     hole = iota // they are data
	holeAbsent               // they are nowhere
	holeClusters             // they are clusters that are zero
)

// piece is a range of the output that is read and written at a time.
type piece struct {
	off, n int64
	zero   bool
	hole   hole // what zeroes are that are written out as data
	skip   bool // nothing to do
}

// batch is what a goroutine copies at a time: some pieces, so that the many short
// ones of a sparse disk don't make goroutines wait for each other at each of them.
type batch struct {
	pieces []piece
	buf    []byte // of all the data
	ahead  qcow2.Ahead
	ticket int64 // its place in the order of writes
}

// most is how many pieces a batch has.
func (c *copying) most() int {
	if c.job.salvage && c.job.workers == 1 {
		return 1
	}
	return maxBatch
}

// maxBatch bounds the pieces of a batch.
const maxBatch = 64

// pieceBytes is how much is copied at a time, unless clusters or runs of zeroes
// are looked at that are larger.
const (
	pieceBytes    = 512 << 10
	maxPieceBytes = 2 << 20
	// Compressing takes so long that larger pieces would only take memory.
	compressedPieceBytes = 256 << 10
)

// step is the size of pieces; none crosses a multiple of it.
func (c *copying) step() int64 {
	if c.job.compress {
		return max(compressedPieceBytes, c.cluster)
	}
	return max(pieceBytes, c.cluster, min(c.job.sparse, maxPieceBytes))
}

// run copies everything.
func (c *copying) run() error {
	c.turns = make([]sync.Cond, c.job.workers)
	for i := range c.turns {
		c.turns[i].L = &c.mu
	}
	c.began = time.Now()
	var crew sync.WaitGroup
	for _, buf := range copyBuffers(c.job.workers, c.step()) {
		crew.Go(func() {
			b := batch{buf: buf}
			for c.take(&b) {
				if err := c.copy(&b); err != nil {
					c.fail(err)
					return
				}
			}
		})
	}
	crew.Wait()
	return c.err
}

func (c *copying) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed(err)
}

// failed makes all goroutines end. Preconditions: mu is held.
func (c *copying) failed(err error) {
	if c.err == nil {
		c.err = err
	}
	for i := range c.turns {
		c.turns[i].Broadcast()
	}
}

// take hands out the next batch: as many pieces as its buffer has room for.
func (c *copying) take(b *batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.pieces = b.pieces[:0]
	for room := int64(len(b.buf)); c.err == nil && c.next < c.total && len(b.pieces) < c.most(); {
		p, err := c.look(c.next)
		if err != nil {
			c.failed(err)
			break
		}
		if !p.zero && !p.skip {
			if p.n > room {
				break
			}
			room -= p.n
		}
		c.next += p.n
		if p.skip {
			continue
		}
		b.pieces = append(b.pieces, p)
	}
	if c.err != nil || len(b.pieces) == 0 {
		return false
	}
	b.ticket = c.issued
	c.issued++
	return true
}

// copy copies a batch.
func (c *copying) copy(b *batch) error {
	buf := b.buf
	b.ahead.Reset()
	for _, p := range b.pieces {
		if p.zero {
			continue
		}
		if err := c.read(p.off, buf[:p.n]); err != nil {
			return err
		}
		if c.job.compress {
			c.compressAhead(b, p.off, buf[:p.n])
		}
		buf = buf[p.n:]
	}
	c.await(b.ticket)
	defer c.finish(b)
	if c.stopped() {
		return nil
	}
	buf = b.buf
	for _, p := range b.pieces {
		var data []byte
		if !p.zero {
			data, buf = buf[:p.n], buf[p.n:]
		}
		if err := c.write(b, p, data); err != nil {
			return fmt.Errorf("error while writing at byte %d: %s", p.off, writeReason(err))
		}
	}
	return nil
}

// writeReason is why a piece could not be written.
func writeReason(err error) string {
	if errors.Is(err, qcow2.ErrUnsupported) { // as of compressed data in an external file
		return errnoText(syscall.ENOTSUP)
	}
	return reason(err)
}

// write writes a piece, whose data is given unless it is zeroes.
func (c *copying) write(b *batch, p piece, data []byte) error {
	switch {
	case p.zero:
		return c.out.WriteZeroes(p.off, p.n, true)
	case c.job.compress:
		return c.compress(b, p.off, data)
	case c.job.sparse == 0:
		return c.out.WriteV([][]byte{data}, p.off)
	}
	return c.writeSparse(p.off, data)
}

// read fills buf from the sources at off.
func (c *copying) read(off int64, buf []byte) error {
	for len(buf) > 0 {
		i := len(c.starts) - 1
		for c.starts[i] > off {
			i--
		}
		at := off - c.starts[i]
		end := c.total
		if i+1 < len(c.starts) {
			end = c.starts[i+1]
		}
		n := min(int64(len(buf)), end-off)
		have := min(n, max(c.sources[i].Size()-at, 0))
		clear(buf[have:n])
		if err := c.readSource(c.sources[i], buf[:have], at); err != nil {
			return fmt.Errorf("error while reading at byte %d: %s", off, reason(err))
		}
		off, buf = off+n, buf[n:]
	}
	return nil
}

// readSource reads from one source; when salvaging, sectors that can't be read
// become zeroes.
func (c *copying) readSource(d block.Device, buf []byte, at int64) error {
	if len(buf) == 0 {
		return nil
	}
	err := d.ReadV([][]byte{buf}, at)
	if err == nil || !c.job.salvage {
		return err
	}
	for off := 0; off < len(buf); off += sectorSize {
		sector := buf[off:min(off+sectorSize, len(buf))]
		if err := d.ReadV([][]byte{sector}, at+int64(off)); err != nil {
			if !c.job.quiet {
				c.tool.warn("error while reading offset %d: %s", at+int64(off), reason(err))
			}
			clear(sector)
		}
	}
	return nil
}

// writeSparse writes what is not zeroes.
func (c *copying) writeSparse(off int64, buf []byte) error {
	unit := c.job.sparse
	for len(buf) > 0 {
		zero, n := runOf(buf, off, unit)
		var err error
		switch {
		case !zero:
			err = c.out.WriteV([][]byte{buf[:n]}, off)
		case !c.zeroed:
			err = c.out.WriteZeroes(off, int64(n), true)
		}
		if err != nil {
			return err
		}
		off, buf = off+int64(n), buf[n:]
	}
	return nil
}

// runOf is the length of the run at the front of buf, at offset off, that is all
// zeroes or has none, looked at in units.
func runOf(buf []byte, off, unit int64) (zero bool, n int) {
	for n < len(buf) {
		end := min(int64(n)+unit-(off+int64(n))%unit, int64(len(buf)))
		z := firstNonZero(buf[n:end]) < 0
		if n == 0 {
			zero = z
		} else if z != zero {
			break
		}
		n = int(end)
	}
	return zero, n
}

// compressAhead compresses the clusters that compress will write, while others write
// theirs.
func (c *copying) compressAhead(b *batch, off int64, buf []byte) {
	im := c.image()
	for len(buf) > 0 {
		zero, n := runOf(buf, off, c.cluster)
		if !zero || c.job.sparse == 0 {
			im.Compress(&b.ahead, buf[:n])
		}
		off, buf = off+int64(n), buf[n:]
	}
}

// compress writes whole clusters compressed, and those of zeroes not at all or
// as zeroes.
func (c *copying) compress(b *batch, off int64, buf []byte) error {
	im := c.image()
	for len(buf) > 0 {
		zero, n := runOf(buf, off, c.cluster)
		var err error
		switch {
		case !zero || c.job.sparse == 0:
			err = im.WriteCompressedAhead(&b.ahead, buf[:n], off)
		case !c.zeroed:
			err = im.WriteZeroes(off, int64(n), true)
		}
		if err != nil {
			return err
		}
		off, buf = off+int64(n), buf[n:]
	}
	return nil
}

// await waits until all batches before a ticket are written.
func (c *copying) await(ticket int64) {
	if c.job.anyOrder {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.done != ticket && c.err == nil {
		c.turns[ticket%int64(len(c.turns))].Wait()
	}
}

func (c *copying) stopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// finish enters a batch as written, and keeps to the rate.
func (c *copying) finish(b *batch) {
	c.mu.Lock()
	c.done++
	for _, p := range b.pieces {
		if c.bytes += p.n; !p.zero {
			c.show(p)
		}
	}
	bytes := c.bytes
	c.turns[c.done%int64(len(c.turns))].Signal() // no more batches than turns are underway
	c.mu.Unlock()
	if rate := c.job.rate; rate > 0 {
		due := c.began.Add(time.Duration(float64(bytes) / float64(rate) * float64(time.Second)))
		time.Sleep(time.Until(due))
	}
}
