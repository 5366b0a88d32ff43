package megasas

import (
	"io"
	"sync"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/scsi"
)

// TraceConfig says how a Trace writes.
type TraceConfig struct {
	// JSON makes each line an object.
	JSON bool
	// Failed, if not nil, is told of the first error of the writer, which ends the
	// trace.
	Failed func(error)
}

// Trace is an Observer that writes a line for each frame that the guest posts, one
// when it is completed, and one for each change of the firmware's state, decoded:
//
//	12:00:00.000123 post 0x3f7a2000 ctx=0x12 LD_READ target=0 lba=0x800 blocks=8 flags=READ|IEEE sgl=0x1234000+4096
//	12:00:00.000345 done 0x3f7a2000 ctx=0x12 LD_READ OK after=222us
//
// A line may come up to traceDelay after what it tells. Nothing is allocated for a
// line. Its methods may be called from any goroutine.
type Trace struct {
	config TraceConfig
	now    func() time.Time
	w      io.Writer

	mu    sync.Mutex
	line  traceLine   // guarded by mu: lines that are not written yet
	timer *time.Timer // guarded by mu: writes them
	armed bool        // guarded by mu: timer will
	err   error       // guarded by mu: of w, the first
}

const (
	// traceBuffer is what waits in memory to be written, in bytes.
	traceBuffer = 64 << 10
	// traceDelay is how long it waits.
	traceDelay = 50 * time.Millisecond
)

// NewTrace returns a Trace that writes to w.
func NewTrace(w io.Writer, c TraceConfig) *Trace {
	t := &Trace{config: c, now: time.Now, w: w, line: traceLine{json: c.JSON}}
	t.timer = time.AfterFunc(time.Hour, t.flush)
	t.timer.Stop()
	return t
}

// Close writes what is left to write, and returns the first error of the writer.
// Nothing is traced after it.
func (t *Trace) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer.Stop()
	t.write()
	err := t.err
	if t.err == nil {
		t.err = io.ErrClosedPipe
	}
	return err
}

// flush is the timer's work.
func (t *Trace) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = false
	t.write()
}

// write writes all lines.
//
// Preconditions: t.mu is held.
func (t *Trace) write() {
	if t.err != nil || len(t.line.b) == 0 {
		return
	}
	if _, t.err = t.w.Write(t.line.b); t.err != nil && t.config.Failed != nil {
		t.config.Failed(t.err)
	}
	t.line.b = t.line.b[:0]
}

// begin starts a line. It returns nil if there is to be none; else end must follow.
func (t *Trace) begin(event string) *traceLine {
	t.mu.Lock()
	if t.err != nil {
		t.mu.Unlock()
		return nil
	}
	t.line.begin(t.now(), event)
	return &t.line
}

func (t *Trace) end() {
	defer t.mu.Unlock()
	t.line.end()
	if len(t.line.b) >= traceBuffer {
		t.write()
	} else if !t.armed {
		t.armed = true
		t.timer.Reset(traceDelay)
	}
}

// FrameFetched implements Observer.
func (t *Trace) FrameFetched(f FrameFetched) { t.frame("post", f) }

// FrameHeld implements Observer.
func (t *Trace) FrameHeld(f FrameFetched) { t.frame("hold", f) }

func (t *Trace) frame(event string, f FrameFetched) {
	l := t.begin(event)
	if l == nil {
		return
	}
	defer t.end()
	l.identify(f)
	if len(f.Frame) >= f.Frame.Len() {
		l.body(f.Frame)
	}
}

// FrameDone implements Observer.
func (t *Trace) FrameDone(d FrameDone) {
	l := t.begin("done")
	if l == nil {
		return
	}
	defer t.end()
	l.identify(d.FrameFetched)
	l.value("status", d.Status.String())
	if d.Status == mfi.StatusSCSIDoneWithError || d.SCSIStatus != scsi.StatusGood {
		l.text("scsi", d.SCSIStatus.String())
	}
	if sense, ok := scsi.ParseSense(d.Sense); ok {
		l.sense(sense)
	}
	if !d.Posted.IsZero() {
		l.microseconds("after", t.now().Sub(d.Posted))
	}
	if d.Polled {
		l.yes("polled")
	}
}

// FrameLost implements Observer.
func (t *Trace) FrameLost(addr uint64, reason string) {
	l := t.begin("lost")
	if l == nil {
		return
	}
	defer t.end()
	l.address("addr", addr)
	l.text("reason", reason)
}

// StateChanged implements Observer.
func (t *Trace) StateChanged(word uint32) {
	l := t.begin("state")
	if l == nil {
		return
	}
	defer t.end()
	l.value("state", (mfi.State(word) & mfi.StateMask).String())
	l.hex("word", uint64(word))
}
