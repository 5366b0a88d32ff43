package megasas

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// zeroPiece is the most that is zeroed in one call in the background: a pause of
// the controller waits for no more.
const zeroPiece = 16 << 20

// initEnds is how much of a volume is zeroed at its start and at its end by a
// fast initialization.
const initEnds = 8 << 20

// progressPause is the least time between two events of progress, which are also
// no less than one percent apart.
const progressPause = time.Second

// lifePause is how long work in the background waits before it looks again if it
// may go on. It must not queue for life: who waits for its end may hold that.
const lifePause = 5 * time.Millisecond

// errAborted is the end of work that somebody wanted to end.
var errAborted = errors.New("aborted")

// zeroing is work in the background that writes zeroes to a drive or a volume.
type zeroing struct {
	c     *Controller
	work  *raid.Work
	zero  func(off, n int64) error
	flush func() error
	tell  func(p mfi.Progress) // logs how far it is
}

// span is a range of bytes.
type span struct{ off, end int64 }

// run zeroes the spans, and makes that durable.
func (z *zeroing) run(spans ...span) error {
	var all, done int64
	for _, s := range spans {
		all += s.end - s.off
	}
	told, at := uint16(0), time.Now()
	for _, s := range spans {
		for off := s.off; off < s.end; {
			n := min(s.end-off, zeroPiece)
			if err := z.piece(off, n); err != nil {
				return err
			}
			off, done = off+n, done+n
			z.work.Report(done, all)
			if p := progressOf(z.work.Status()); p.Done-told > math.MaxUint16/100 && time.Since(at) >= z.c.progressPause {
				told, at = p.Done, time.Now()
				z.tell(p)
			}
		}
	}
	return z.flush()
}

// piece zeroes a piece, unless all is to end. It waits while the controller is
// paused or is being reset.
func (z *zeroing) piece(off, n int64) error {
	for {
		select {
		case <-z.work.Aborted():
			return errAborted
		case <-z.c.done:
			return errAborted
		default:
		}
		if z.c.life.TryRLock() {
			defer z.c.life.RUnlock()
			return z.zero(off, n)
		}
		time.Sleep(lifePause)
	}
}

// progressOf is progress on the wire.
func progressOf(s raid.WorkStatus) mfi.Progress {
	return mfi.Progress{Done: s.Done, Seconds: uint16(min(s.Elapsed/time.Second, math.MaxUint16))}
}

// startWork runs work in the background; Close ends it. It reports false if it is
// too late for that.
func (c *Controller) startWork(do func()) bool {
	c.worksMu.Lock()
	defer c.worksMu.Unlock()
	if c.closed.Load() {
		return false
	}
	c.works.Go(do)
	return true
}

// awaitWorks waits for all of that.
//
// Preconditions: c.closed is set, and c.done closed.
func (c *Controller) awaitWorks() {
	c.worksMu.Lock()
	defer c.worksMu.Unlock()
	c.works.Wait()
}

// clearDrive is PD_CLEAR_START: all of a drive that is unconfigured good is
// zeroed in the background.
func clearDrive(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	d, work, err := c.set.BeginClear(box.S(0), int(box.S(1)))
	if err != nil {
		return r.statusOf(err)
	}
	z := &zeroing{
		c:     c,
		work:  work,
		zero:  func(off, n int64) error { return d.WriteZeroes(off, n, true) },
		flush: d.Flush,
		tell: func(p mfi.Progress) {
			c.logClear(d, mfi.EventPDClearProgress, mfi.ClassProgress, "Clear progress on %s is "+percent(p), p)
		},
	}
	c.logClear(d, mfi.EventPDClearStarted, mfi.ClassInfo, "Clear started on %s", mfi.Progress{})
	started := c.startWork(func() {
		err := z.run(span{0, int64(d.Blocks()) * raid.BlockSize})
		work.End()
		switch {
		case err == nil:
			c.logClear(d, mfi.EventPDClearComplete, mfi.ClassInfo, "Clear completed on %s", mfi.Progress{})
		case errors.Is(err, errAborted):
			c.logClear(d, mfi.EventPDClearAborted, mfi.ClassInfo, "Clear aborted on %s", mfi.Progress{})
		default:
			c.log.Error("clearing a drive failed", "drive", d.DeviceID(), "err", err)
			c.logClear(d, mfi.EventPDClearFailed, mfi.ClassCritical, "Clear failed on %s", mfi.Progress{})
		}
	})
	if !started {
		work.End()
		return mfi.StatusWrongState
	}
	return mfi.StatusOK
}

// abortClear is PD_CLEAR_ABORT. When it is answered, the drive is not written any
// more.
func abortClear(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	d, err := c.set.CheckDrive(box.S(0), int(box.S(1)))
	if err != nil {
		return r.statusOf(err)
	}
	w := d.Work()
	if w == nil {
		return r.refuse(&mfi.Error{Status: mfi.StatusWrongState, Reason: "nothing is under way"})
	}
	w.Abort()
	w.Wait()
	return mfi.StatusOK
}

// initVolume is LD_INIT_START: all of a volume is zeroed, or its ends. It cannot
// be used meanwhile.
func initVolume(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	const fast, full = 0, 1 // the mode; no open source tells of it
	if box[4] != fast && box[4] != full {
		return r.refuse(&mfi.Error{Status: mfi.StatusInvalidParameter, Reason: "mode of initialization that the firmware has not"})
	}
	v, work, err := c.set.BeginInit(box[0], int(box.S(1)), box[4] == full)
	if err != nil {
		return r.statusOf(err)
	}
	z := &zeroing{
		c:    c,
		work: work,
		zero: func(off, n int64) error {
			if v.State() == raid.VolumeOffline {
				return raid.ErrOffline
			}
			return v.WriteZeroesAnyway(off, n)
		},
		flush: v.FlushAnyway,
		tell: func(p mfi.Progress) {
			c.logInit(v, mfi.EventLDInitProgress, mfi.ClassProgress, "Initialization progress on %s is "+percent(p), p)
		},
	}
	spans := []span{{0, v.Size()}}
	started, what := mfi.EventLDInitFullStarted, "Full initialization started on %s"
	if !work.Full {
		started, what = mfi.EventLDInitFastStarted, "Fast initialization started on %s"
		if v.Size() > 2*initEnds {
			spans = []span{{0, initEnds}, {v.Size() - initEnds, v.Size()}}
		}
	}
	c.logInit(v, started, mfi.ClassInfo, what, mfi.Progress{})
	ok := c.startWork(func() {
		err := z.run(spans...)
		if err == nil {
			v.Initialized(work.Full)
		}
		work.End()
		switch {
		case err == nil:
			c.logInit(v, mfi.EventLDInitComplete, mfi.ClassInfo, "Initialization complete on %s", mfi.Progress{})
		case errors.Is(err, errAborted):
			c.logInit(v, mfi.EventLDInitAborted, mfi.ClassInfo, "Initialization aborted on %s", mfi.Progress{})
		default:
			c.log.Error("initializing a volume failed", "target", v.Target(), "err", err)
			c.logInit(v, mfi.EventLDInitFailed, mfi.ClassCritical, "Initialization failed on %s", mfi.Progress{})
		}
	})
	if !ok {
		work.End()
		return mfi.StatusWrongState
	}
	return mfi.StatusOK
}

// percent is progress as the firmware writes it, to be part of a format.
func percent(p mfi.Progress) string {
	return fmt.Sprintf("%.2f%%%%(%ds)", float64(p.Done)/math.MaxUint16*100, p.Seconds)
}

// logClear logs an event of PD_CLEAR, with the drive's name in the text.
func (c *Controller) logClear(d *raid.PhysicalDrive, code mfi.EventCode, class mfi.EventClass, format string, p mfi.Progress) {
	id := d.Identity()
	status := raid.DriveStatus{DeviceID: d.DeviceID(), Identity: id}
	e := mfi.Event{
		Code:        code,
		Filter:      mfi.Filter(class, mfi.LocalePD),
		Args:        mfi.ArgsPD{PD: pdRef(status)},
		Description: fmt.Sprintf(format, pdName(status)),
	}
	if code == mfi.EventPDClearProgress {
		e.Args = mfi.ArgsPDProgress{PD: pdRef(status), Progress: p}
	}
	c.events.add(e)
}

// logInit logs an event of LD_INIT, with the volume's name in the text.
func (c *Controller) logInit(v *raid.Volume, code mfi.EventCode, class mfi.EventClass, format string, p mfi.Progress) {
	status := raid.VolumeStatus{Target: v.Target()}
	e := mfi.Event{
		Code:        code,
		Filter:      mfi.Filter(class, mfi.LocaleLD),
		Args:        mfi.ArgsLD{LD: ldRef(status)},
		Description: fmt.Sprintf(format, ldName(status)),
	}
	if code == mfi.EventLDInitProgress {
		e.Args = mfi.ArgsLDProgress{LD: ldRef(status), Progress: p}
	}
	c.events.add(e)
}
