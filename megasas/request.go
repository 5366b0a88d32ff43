package megasas

import (
	"errors"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/scsi"
)

// request is a frame being carried out, and its result. Each worker has one and
// uses it again and again.
type request struct {
	c      *Controller
	addr   uint64
	epoch  uint64
	posted time.Time // zero if there is no observer
	// inline is whether the frame is carried out on the vCPU's thread.
	inline bool
	// again is whether it failed before, stalled whether it is going to be carried out
	// again, and orphaned whether the drive that it was for is gone.
	again, stalled, orphaned bool

	buf   [mfi.MaxFrameLen]byte
	frame mfi.Frame // the private copy, in buf

	data [][]byte     // windows of guest memory, reused
	cmd  scsi.Command // reused

	senseLen   uint8 // that was written, or as the guest gave it
	scsiStatus scsi.Status
	sense      []byte // for the observer
}

// windowsHint is room for the windows of a full scatter-gather list.
const windowsHint = 64

func newRequest(c *Controller) *request {
	return &request{c: c, data: make([][]byte, 0, windowsHint), cmd: scsi.Command{DeferFailure: true}}
}

func (r *request) begin(p post) {
	r.addr, r.epoch, r.posted = p.addr, p.epoch, p.at
	r.again, r.orphaned = p.again, p.orphaned
	r.frame, r.inline, r.stalled, r.sense = nil, false, false, nil
}

// stale reports whether a reset came since the frame was posted.
func (r *request) stale() bool { return r.epoch != r.c.fw.epoch.Load() }

// fetch copies the frame from guest memory, each byte once: the header, and then
// exactly what the header says there is.
func (r *request) fetch() error {
	header := r.buf[:mfi.HeaderLen]
	if err := r.c.dma.ReadAt(header, r.addr); err != nil {
		return err
	}
	r.frame = mfi.Frame(header)
	if !r.c.p.IEEE {
		r.frame.ClearFlags(mfi.FlagIEEE) // what the firmware has never heard of
	}
	r.senseLen = r.frame.SenseLen()
	r.scsiStatus = scsi.Status(r.frame.SCSIStatus())
	n := r.frame.Len()
	if n <= mfi.HeaderLen {
		return nil
	}
	if r.frame.Elements() > int(r.c.p.Limits.MaxSGE) {
		return &mfi.Error{Status: mfi.StatusInvalidSGL, Reason: "more scatter-gather elements than advertised"}
	}
	if err := r.c.dma.ReadAt(r.buf[mfi.HeaderLen:n], r.addr+mfi.HeaderLen); err != nil {
		return &mfi.Error{Status: mfi.StatusInvalidParameter, Reason: "frame is not wholly in memory"}
	}
	r.frame = mfi.Frame(r.buf[:n])
	return nil
}

// run carries out the frame. It reports true if that needs runExclusive.
//
// Preconditions: c.life is held for reading.
func (r *request) run() (exclusive bool) {
	if r.stale() {
		r.lose("a reset came before it was looked at")
		return false
	}
	if r.frame == nil { // it was not fetched by inline
		if err := r.fetch(); err != nil {
			r.unfetched(err)
			return false
		}
		if !r.again {
			r.show()
		}
	}
	if r.orphaned && r.frame.Cmd() != mfi.CmdDCMD {
		r.complete(mfi.StatusDeviceNotFound)
		return false
	}
	if !r.again {
		if rule := r.c.faults.take(r.frame); rule != nil {
			r.suffer(rule)
			return false
		}
	}
	if r.frame.Cmd() == mfi.CmdInit {
		return true
	}
	if status, done := r.execute(); done && !r.stalled {
		r.complete(status)
	}
	return false
}

// unfetched ends a frame that could not be fetched, or in part only.
func (r *request) unfetched(err error) {
	if r.frame == nil {
		r.lose("not in memory")
		r.c.stats.unreadable.Add(1)
		r.c.warn("frame is not in memory", "addr", r.addr, "err", err)
		return
	}
	r.show()
	r.complete(r.refuse(err))
}

// show shows the frame to the observer, as it was fetched.
func (r *request) show() {
	if r.c.observer != nil {
		r.c.observer.FrameFetched(r.fetched())
	}
}

// lose tells the observer that nothing becomes of the frame.
func (r *request) lose(reason string) {
	if r.c.observer != nil {
		r.c.observer.FrameLost(r.addr, reason)
	}
}

func (r *request) fetched() FrameFetched { return FrameFetched{r.addr, r.posted, r.frame} }

// runExclusive carries out a frame that run left over.
//
// Preconditions: c.life is held for writing.
func (r *request) runExclusive() {
	if !r.stale() {
		r.complete(r.initialize())
	}
}

// execute does what the frame says. The frame stays outstanding if done is false, or
// r.stalled true.
func (r *request) execute() (status mfi.Status, done bool) {
	switch r.frame.Cmd() {
	case mfi.CmdLDRead, mfi.CmdLDWrite:
		return r.transfer(), true
	case mfi.CmdLDSCSIIO:
		return r.volumeCDB(), true
	case mfi.CmdPDSCSIIO:
		return r.driveCDB(), true
	case mfi.CmdDCMD:
		return r.dcmd()
	case mfi.CmdAbort:
		return r.abort(), true
	case mfi.CmdSMP:
		return r.smp(), true
	case mfi.CmdSTP:
		return r.stp(), true
	}
	r.c.warn("frame command is not supported", "cmd", r.frame.Cmd().String())
	return mfi.StatusInvalidCmd, true
}

// refuse turns an error into the status to complete the frame with.
func (r *request) refuse(err error) mfi.Status {
	r.c.warn("frame refused", "cmd", r.frame.Cmd().String(), "err", err)
	if e, ok := errors.AsType[*mfi.Error](err); ok {
		return e.Status
	}
	return mfi.StatusInvalidParameter
}

// complete ends the frame: its status goes to guest memory, in one store and
// after all data, and its context into the reply ring unless the guest polls. A
// frame of an earlier epoch is dropped.
//
// Preconditions: c.life is held.
func (r *request) complete(status mfi.Status) {
	if r.stale() {
		r.c.stats.abandoned.Add(1)
		r.lose("a reset came before it was completed")
		return
	}
	f := r.frame
	word := mfi.StatusWord(f.Cmd(), r.senseLen, status, uint8(r.scsiStatus))
	if err := r.c.dma.Store32(r.addr, word); err != nil {
		r.c.warn("frame status cannot be stored", "addr", r.addr, "err", err)
		return
	}
	r.c.stats.completed.Add(1)
	if r.c.observer != nil {
		r.c.observer.FrameDone(FrameDone{
			FrameFetched: r.fetched(),
			Status:       status,
			SCSIStatus:   r.scsiStatus,
			Sense:        r.sense,
			Polled:       f.Flags().Has(mfi.FlagDontPost),
		})
	}
	if !f.Flags().Has(mfi.FlagDontPost) {
		r.c.reply(uint64(f.ContextHigh())<<32|uint64(f.Context()), r.inline)
	}
}
