package megasas

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// zeroPiece is the most that is zeroed in one call in the background: a pause of
// the controller waits for no more.
const zeroPiece = 16 << 20

// progressPause is the least time between two events of progress, which are also
// no less than one percent apart.
const progressPause = time.Second

// lifePause is how long work in the background waits before it looks again if it
// may go on. It must not queue for life: who waits for its end may hold that.
const lifePause = 5 * time.Millisecond

// errAborted is the end of work that somebody wanted to end.
var errAborted = errors.New("aborted")

// works are what goes on in the background: clearing drives, and initializing
// volumes.
type works struct {
	growing sync.Mutex // held while there is one more; by Close until all have ended
	tasks   sync.WaitGroup

	// mu is held while one ends, so that all that comes of it is seen at once.
	mu   sync.Mutex
	list []*zeroing // guarded by mu
}

// zeroing is work in the background that writes zeroes to a drive or a volume.
type zeroing struct {
	c     *Controller
	work  *raid.Work
	on    workPlace
	what  *workEvents
	spans []span // to be zeroed
	// done is how many bytes of them are zeroed. It changes with c.life held.
	done int64
}

// workPlace is what work is on.
type workPlace interface {
	zero(off, n int64) error
	flush() error
	// finished is called when all has succeeded.
	finished(w *raid.Work)
	// name is how the firmware names it in text, and args how in an event, with
	// progress if that is not nil.
	name() string
	args(p *mfi.Progress) mfi.EventArgs
	// save says what it is in saved state. It reports false if it is not there.
	save(c *Controller) (savedWork, bool)
}

// workEvents are the events of a kind of work. In their texts %s is the place.
type workEvents struct {
	locale                                       mfi.EventLocale
	started, progress, complete, aborted, failed workEvent
}

type workEvent struct {
	code  mfi.EventCode
	class mfi.EventClass
	text  string
}

// span is a range of bytes.
type span struct{ off, end int64 }

// start begins the work, and logs that. It reports false if it is too late for it.
func (z *zeroing) start() bool {
	z.log(z.what.started, nil)
	return z.goOn()
}

// goOn carries out what is left of the work, on a goroutine of its own. It reports
// false if the controller is closed: the work has ended then.
func (z *zeroing) goOn() bool {
	w := &z.c.works
	w.growing.Lock()
	defer w.growing.Unlock()
	if z.c.closed.Load() {
		z.work.End()
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, z)
	w.tasks.Go(func() { z.end(z.run()) })
	return true
}

// run zeroes what is left of the spans, and makes that durable.
func (z *zeroing) run() error {
	all, before := z.all(), int64(0)
	told, at := z.report(all).Done, time.Now()
	for _, s := range z.spans {
		for off := s.off + max(z.done-before, 0); off < s.end; {
			n := min(s.end-off, zeroPiece)
			if err := z.piece(off, n); err != nil {
				return err
			}
			off += n
			if p := z.report(all); p.Done-told > math.MaxUint16/100 && time.Since(at) >= z.c.progressPause {
				told, at = p.Done, time.Now()
				z.log(z.what.progress, &p)
			}
		}
		before += s.end - s.off
	}
	return z.on.flush()
}

// all is how many bytes there are to zero.
func (z *zeroing) all() (n int64) {
	for _, s := range z.spans {
		n += s.end - s.off
	}
	return n
}

// report tells the drive or the volume how far it is.
func (z *zeroing) report(all int64) mfi.Progress {
	z.work.Report(z.done, all)
	return progressOf(z.work.Status())
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
			err := z.on.zero(off, n)
			if err == nil {
				z.done += n
			}
			return err
		}
		time.Sleep(lifePause)
	}
}

// end is the end of the work, with the result of run.
func (z *zeroing) end(err error) {
	w := &z.c.works
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, x := range w.list {
		if x == z {
			w.list = append(w.list[:i], w.list[i+1:]...)
			break
		}
	}
	if err == nil {
		z.on.finished(z.work)
	}
	z.work.End()
	switch {
	case err == nil:
		z.log(z.what.complete, nil)
	case errors.Is(err, errAborted):
		z.log(z.what.aborted, nil)
	default:
		z.c.log.Error("work in the background failed", "on", z.on.name(), "err", err)
		z.log(z.what.failed, nil)
	}
}

// log logs an event of the work.
func (z *zeroing) log(e workEvent, p *mfi.Progress) {
	text := fmt.Sprintf(e.text, z.on.name())
	if p != nil {
		text += fmt.Sprintf(" is %.2f%%(%ds)", float64(p.Done)/math.MaxUint16*100, p.Seconds)
	}
	z.c.events.add(mfi.Event{
		Code:        e.code,
		Filter:      mfi.Filter(e.class, z.what.locale),
		Args:        z.on.args(p),
		Description: text,
	})
}

// progressOf is progress on the wire.
func progressOf(s raid.WorkStatus) mfi.Progress {
	return mfi.Progress{Done: s.Done, Seconds: uint16(min(s.Elapsed/time.Second, math.MaxUint16))}
}

// awaitWorks waits for the end of all work in the background.
//
// Preconditions: c.closed is set, and c.done closed.
func (c *Controller) awaitWorks() {
	c.works.growing.Lock()
	defer c.works.growing.Unlock()
	c.works.tasks.Wait()
}
