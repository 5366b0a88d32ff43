package megasas

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/scsi"
)

// Faults makes the controller go wrong as real cards do, for tests of what
// drivers do about it. Each fault comes exactly when it is asked for, and ends as
// described. Its methods may be called at any time, from any goroutine.
type Faults struct {
	c *Controller

	// armed is whether there are rules, so that commands need not look.
	armed atomic.Bool
	mu    sync.Mutex
	rules []*faultRule  // guarded by mu
	steps []*scriptStep // guarded by mu: see Script

	completions atomic.Int64 // to go until the one without an interrupt; 0: none
	locked      atomic.Bool  // DIAG does not unlock
	inFault     atomic.Int64 // nanoseconds in FAULT after the next diagnostic reset
}

// Answer is how a command ends instead of being carried out.
type Answer struct {
	Status     mfi.Status
	SCSIStatus scsi.Status
	Sense      []byte // with CHECK CONDITION
}

type faultRule struct {
	match  func(mfi.Frame) bool
	left   int     // commands that it still applies to
	answer *Answer // nil: none ever
}

// Faults returns the controller's faults.
func (c *Controller) Faults() *Faults { return &c.faults }

// MatchCommand matches frames of a command.
func MatchCommand(cmd mfi.Cmd) func(mfi.Frame) bool {
	return func(f mfi.Frame) bool { return f.Cmd() == cmd }
}

// MatchOpcode matches management commands of an opcode.
func MatchOpcode(op mfi.Opcode) func(mfi.Frame) bool {
	return func(f mfi.Frame) bool { return f.Cmd() == mfi.CmdDCMD && f.Opcode() == op }
}

// Hold never completes the next n commands that match. A reset forgets them like
// any other; what the driver posts again is a command of its own.
func (f *Faults) Hold(match func(mfi.Frame) bool, n int) {
	f.add(&faultRule{match: match, left: n})
}

// Complete ends the next n commands that match with an answer, without carrying
// them out.
func (f *Faults) Complete(match func(mfi.Frame) bool, n int, a Answer) {
	a.Sense = slices.Clone(a.Sense)
	f.add(&faultRule{match: match, left: n, answer: &a})
}

func (f *Faults) add(r *faultRule) {
	if r.left <= 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
	f.arm()
}

// DropInterrupt drops the interrupt for the n-th reply from now, 1 being the
// next; replies that are posted together with it share its fate. The replies
// themselves are in the ring, and the next interrupt tells of them too.
func (f *Faults) DropInterrupt(n int) { f.completions.Store(int64(max(n, 0))) }

// Fault stops the firmware: the guest finds the state FAULT with a code of 12
// bits and a sub-code. interrupt says whether it is told. A reset ends it.
func (f *Faults) Fault(code uint16, sub uint8, interrupt bool) {
	fw := &f.c.fw
	fw.mu.Lock()
	defer fw.mu.Unlock()
	f.c.halt(code, sub)
	if interrupt {
		f.c.irq.stateChanged()
	}
}

// StayInFault has the firmware be in FAULT for a while after the next diagnostic
// reset, before it boots.
func (f *Faults) StayInFault(d time.Duration) { f.inFault.Store(int64(max(d, 0))) }

// LockDiagnostic has the unlock sequence not open the diagnostic register, until
// it is called with false.
func (f *Faults) LockDiagnostic(locked bool) { f.locked.Store(locked) }

// Clear ends all faults that were asked for. What they did stays done.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.steps = nil, nil
	f.arm()
	f.completions.Store(0)
	f.locked.Store(false)
	f.inFault.Store(0)
}

// take returns the rule for a command, if there is one, and uses it up by one.
func (f *Faults) take(frame mfi.Frame) *faultRule {
	if !f.armed.Load() {
		return nil
	}
	do, rule := f.follow(frame)
	for _, d := range do {
		d(f)
	}
	if rule != nil {
		return rule
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range f.rules {
		if !r.match(frame) {
			continue
		}
		if r.left--; r.left == 0 {
			f.rules = slices.Delete(f.rules, i, i+1)
			f.arm()
		}
		return r
	}
	return nil
}

// dropped counts n replies, and reports whether their interrupt is dropped. Only
// the poster of replies calls it, one at a time.
func (f *Faults) dropped(n int) bool {
	left := f.completions.Load()
	if left == 0 {
		return false
	}
	now := max(left-int64(n), 0)
	return f.completions.CompareAndSwap(left, now) && now == 0
}

// boot is the firmware's way from a diagnostic reset to READY.
func (f *Faults) boot(steps []BootStep) []BootStep {
	d := f.inFault.Swap(0)
	if d == 0 {
		return steps
	}
	return append([]BootStep{{State: mfi.StateFault, Delay: time.Duration(d)}}, steps...)
}

// suffer ends the frame as a rule says.
//
// Preconditions: c.life is held.
func (r *request) suffer(rule *faultRule) {
	a := rule.answer
	if a == nil {
		if r.c.observer != nil {
			r.c.observer.FrameHeld(r.fetched())
		}
		return
	}
	r.scsiStatus = a.SCSIStatus
	if a.SCSIStatus == scsi.StatusCheckCondition {
		r.putSense(a.Sense)
	}
	r.complete(a.Status)
}
