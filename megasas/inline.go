package megasas

import (
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// A read that the host has in memory takes less than waking a worker does. So the
// vCPU's thread carries it out itself, and it is completed before the store into
// the queue port has ended. Only what is known not to wait is done so: package
// scsi's Trier says; everything else goes to a worker, with what was fetched.

const (
	// inlineLimit is the most that is moved on a vCPU's thread, in bytes: the
	// copying takes as long as handing over does.
	inlineLimit = 64 << 10
	// inlineRequests is how many vCPUs can do it at a time.
	inlineRequests = 16
	// rush is the time between two frames below which workers are better: they
	// stay awake, and share the work and the interrupts.
	rush = 1500 * time.Nanosecond
)

// inlining is what the controller has to carry out frames on vCPUs' threads.
type inlining struct {
	spare chan *request
	start time.Time
	last  atomic.Int64 // when the last frame came, in nanoseconds from start
}

func (i *inlining) init(c *Controller) {
	i.start = time.Now()
	i.spare = make(chan *request, inlineRequests)
	for range inlineRequests {
		i.spare <- newRequest(c)
	}
}

// take returns a request to use, nil if all are in use.
func (i *inlining) take() *request {
	select {
	case r := <-i.spare:
		return r
	default:
		return nil
	}
}

func (i *inlining) put(r *request) {
	select {
	case i.spare <- r:
	default:
	}
}

// inline carries out a frame on the vCPU's thread. rushed says that it comes in a
// rush. It reports false if a worker has
// to, and then leaves what it fetched in p.
func (c *Controller) inline(p *post, rushed bool) bool {
	if c.faults.armed.Load() || !c.life.TryRLock() {
		return false
	}
	defer c.life.RUnlock()
	if c.closed.Load() || rushed && !c.caughtUp() {
		return false
	}
	r := c.inlining.take()
	if r == nil {
		return false
	}
	r.begin(*p)
	if r.fetch() != nil {
		c.inlining.put(r)
		return false
	}
	r.show()
	if !r.tryTransfer() {
		p.fetched = r
		return false
	}
	r.inline = true
	r.complete(mfi.StatusOK)
	c.inlining.put(r)
	return true
}

// rushed reports whether the frame before was posted just now.
func (i *inlining) rushed() bool {
	now := int64(time.Since(i.start))
	return time.Duration(now-i.last.Swap(now)) < rush
}

// caughtUp reports whether the guest has taken all replies and waits for no frame.
//
// Preconditions: c.life is held for reading.
func (c *Controller) caughtUp() bool {
	ring := &c.replies.ring
	if c.outstanding.Load() > 0 {
		return false
	}
	if ring.entries == 0 {
		return true
	}
	produced, err := c.dma.Load32(ring.producer)
	if err != nil {
		return true
	}
	consumed, err := c.dma.Load32(ring.consumer)
	return err != nil || produced == consumed
}

// tryTransfer is transfer where that waits for nothing, and succeeds. It reports
// false if it has to be done by transfer.
func (r *request) tryTransfer() (done bool) {
	f := r.frame
	r.scsiStatus = scsi.StatusGood
	switch f.Cmd() {
	case mfi.CmdLDRead, mfi.CmdLDWrite:
		done = r.tryVolume(f.Cmd() == mfi.CmdLDWrite)
	case mfi.CmdPDSCSIIO:
		done = r.tryDrive()
	}
	if !done {
		r.scsiStatus = scsi.Status(f.SCSIStatus()) // as fetch left it
	}
	return done
}

// tryVolume is for LD_READ and LD_WRITE.
func (r *request) tryVolume(write bool) (done bool) {
	f := r.frame
	ld, _ := r.c.logicalDrive(f.Target())
	if ld == nil || f.AccessByte()&mfi.AccessFUA != 0 {
		return false
	}
	n := uint64(f.Blocks()) * uint64(ld.unit.BlockSize())
	luck := ld.luck.of(write)
	if n > inlineLimit || !luck.worthwhile() || r.mapData(n) != nil {
		return false
	}
	r.cmd.Data = r.data
	if write {
		done = ld.unit.TryWrite(&r.cmd, f.LBA(), f.Blocks())
	} else {
		done = ld.unit.TryRead(&r.cmd, f.LBA(), f.Blocks())
	}
	luck.note(done)
	return done
}

// tryDrive is for READ and WRITE of PD_SCSI_IO to a system drive.
func (r *request) tryDrive() (done bool) {
	f := r.frame
	if int(f.Target()) >= len(r.c.physicals) {
		return false
	}
	pd := r.c.physicals[f.Target()].Load()
	cdb := f.CDB()
	if pd == nil || pd.drive.State() != raid.System || int(f.CDBLen()) > len(cdb) {
		return false
	}
	r.cmd.CDB, r.cmd.LUN = cdb[:f.CDBLen()], f.LUN()
	write, ok := scsi.Transfer(r.cmd.CDB)
	luck := pd.luck.of(write)
	if !ok || f.DataLen() > inlineLimit || !luck.worthwhile() || r.mapData(uint64(f.DataLen())) != nil {
		return false
	}
	r.cmd.Data = r.data
	done = pd.unit.TryExecute(&r.cmd)
	luck.note(done)
	return done
}

// lucks are those of a target's reads and writes.
type lucks struct{ reads, writes luck }

func (l *lucks) of(write bool) *luck {
	if write {
		return &l.writes
	}
	return &l.reads
}

// luck remembers whether trying paid off lately. Each failure in a row doubles the
// number of transfers that are not tried at all. Updates that are lost to others'
// cost nothing but accuracy.
type luck struct {
	failures atomic.Uint32 // in a row
	skip     atomic.Uint32 // transfers not to try
}

// maxFailures bounds the pause to 63 transfers.
const maxFailures = 6

func (l *luck) worthwhile() bool {
	n := l.skip.Load()
	if n > 0 {
		l.skip.Store(n - 1)
	}
	return n == 0
}

func (l *luck) note(done bool) {
	n := l.failures.Load()
	switch {
	case !done:
		n = min(n+1, maxFailures)
		l.failures.Store(n)
		l.skip.Store(1<<n - 1)
	case n > 0:
		l.failures.Store(0)
	}
}
