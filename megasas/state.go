package megasas

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// firmware is the state machine that the guest sees through scratch pad 0, the
// doorbell and the diagnostic register.
type firmware struct {
	face *face
	// word is the firmware state word. Written with mu held.
	word atomic.Uint32
	// epoch counts resets. A frame belongs to the epoch that it was posted in
	// and is forgotten with it. Written with mu held.
	epoch atomic.Uint64
	// begun gets an element, if it has none, whenever an epoch begins.
	begun chan struct{}

	mu       sync.Mutex
	settled  sync.Cond  // on mu: settling became false
	settling bool       // guarded by mu: the goroutine of settle runs
	halted   bool       // guarded by mu: in FAULT, until a reset
	boot     []BootStep // guarded by mu: what is left to go through before READY
	stepEnds time.Time  // guarded by mu: when the boot step ends that is being made
	sequence int        // guarded by mu: values of unlockSequence seen so far
	diag     uint32     // guarded by mu
}

// unlockSequence is what has to be written to WRSEQ, in this order, before DIAG
// takes writes.
var unlockSequence = [...]uint32{0x00, 0x04, 0x0b, 0x02, 0x07, 0x0d}

func (fw *firmware) state() mfi.State { return mfi.State(fw.word.Load()) & mfi.StateMask }

// setState changes the firmware state word.
//
// Preconditions: c.fw.mu is held.
func (c *Controller) setState(word uint32) {
	c.fw.word.Store(word)
	c.fw.show()
	if c.observer != nil {
		c.observer.StateChanged(word)
	}
}

// accepting reports whether frames may be posted.
func (fw *firmware) accepting() bool {
	s := fw.state()
	return s == mfi.StateReady || s == mfi.StateOperational
}

// setDiagnostic changes the diagnostic register.
//
// Preconditions: fw.mu is held.
func (fw *firmware) setDiagnostic(v uint32) {
	fw.diag = v
	fw.show()
}

// show has the registers read as they should. What the firmware does about frames
// follows the word before the guest can see it. OMSG0 and OSP0 are two registers:
// whoever looks at both meanwhile may see one change before the other.
//
// Preconditions: fw.mu is held.
func (fw *firmware) show() {
	word := fw.word.Load()
	fw.face.store(regOMSG0, word, 0)
	fw.face.store(regOSP0, word, 0)
	fw.face.store(regDIAG, fw.diag, 0)
}

// unlock follows the unlock sequence. A wrong value starts it again, and may be
// its first value itself.
func (fw *firmware) unlock(v uint32) {
	fw.mu.Lock()
	defer fw.mu.Unlock()
	if v != unlockSequence[fw.sequence] {
		fw.sequence = 0
	}
	if v != unlockSequence[fw.sequence] {
		return
	}
	if fw.sequence++; fw.sequence == len(unlockSequence) {
		fw.sequence = 0
		fw.setDiagnostic(fw.diag | diagWriteEnable)
	}
}

func (c *Controller) writeDiagnostic(v uint32) {
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	if c.fw.diag&diagWriteEnable == 0 || v&diagReset == 0 {
		return
	}
	c.fw.setDiagnostic(c.fw.diag | diagReset)
	c.startReset()
}

func (c *Controller) writeDoorbell(v uint32) {
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	switch state := c.fw.state(); {
	case v&mfi.DoorbellStop != 0:
		c.halt(0, 0)
	case state == mfi.StateWaitHandshake && v&mfi.DoorbellClearHandshake != 0,
		state == mfi.StateBootMessagePending && v&mfi.DoorbellHotplug != 0:
		if !c.fw.settling {
			c.settle(c.fw.boot)
		}
	case !c.fw.accepting():
	case v&mfi.DoorbellReady != 0:
		c.abandon(mfi.StateFlushCache)
		c.irq.reset(false)
		c.settle(nil)
	case v&(mfi.DoorbellAbort|mfi.DoorbellMFIMode) != 0:
		c.abandon(state)
	}
}

// writeDoorbell1 is the doorbell of the first generation, which resets the
// adapter on demand as the diagnostic register does.
func (c *Controller) writeDoorbell1(v uint32) {
	if v&mfi.DoorbellReset == 0 {
		c.writeDoorbell(v)
		return
	}
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	c.startReset()
}

// startReset resets the adapter.
//
// Preconditions: c.fw.mu is held.
func (c *Controller) startReset() {
	c.abandon(mfi.StateUndefined)
	c.irq.reset(true)
	c.waits.silence()
	c.logBoot()
	c.settle(c.faults.boot(c.p.Boot))
}

// abandon starts a new epoch: frames that were posted, are being carried out or
// are held will not be completed. The state becomes busy, unless that is the
// present state.
//
// Preconditions: c.fw.mu is held.
func (c *Controller) abandon(busy mfi.State) {
	if busy != c.fw.state() {
		c.setState(uint32(busy))
	}
	c.fw.epoch.Add(1)
	select {
	case c.fw.begun <- struct{}{}:
	default: // who waits for it looks at the epoch
	}
	c.waits.forget()
}

// settle has the firmware become READY by way of boot, as soon as no frame of
// an earlier epoch is being carried out.
//
// Preconditions: c.fw.mu is held.
func (c *Controller) settle(boot []BootStep) {
	c.fw.boot, c.fw.halted, c.fw.stepEnds = boot, false, time.Time{}
	if c.fw.settling {
		return // the goroutine that does it sees that the epoch is a new one
	}
	c.fw.settling = true
	go c.settleDown()
}

// settleDown is the goroutine of settle.
func (c *Controller) settleDown() {
	for {
		epoch := c.fw.epoch.Load()
		c.life.Lock() // waits for the workers
		c.replies.ring = ring{}
		c.life.Unlock()
		if c.bootUp(epoch) {
			return
		}
	}
}

// bootUp goes through the boot steps, unless the firmware was halted. It reports
// false if a reset came between.
func (c *Controller) bootUp(epoch uint64) bool {
	for {
		c.fw.mu.Lock()
		if c.fw.epoch.Load() != epoch {
			c.fw.mu.Unlock()
			return false
		}
		if c.fw.halted {
			c.stopSettling()
			c.fw.mu.Unlock()
			return true
		}
		c.fw.setDiagnostic(0) // the reset is over, and the firmware starts
		if len(c.fw.boot) == 0 {
			c.becomeReady()
			c.fw.mu.Unlock()
			return true
		}
		step := c.fw.boot[0]
		c.fw.boot = c.fw.boot[1:]
		c.setState(uint32(step.State))
		if step.State == mfi.StateWaitHandshake || step.State == mfi.StateBootMessagePending {
			c.stopSettling()
			c.fw.mu.Unlock()
			return true
		}
		c.fw.stepEnds = time.Now().Add(step.Delay)
		c.fw.mu.Unlock()
		c.linger(epoch, step.Delay)
	}
}

// linger is a step of the boot: the firmware is busy for a while, or until another
// epoch begins or the controller closes.
func (c *Controller) linger(epoch uint64, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	for c.fw.epoch.Load() == epoch {
		select {
		case <-c.fw.begun:
		case <-t.C:
			return
		case <-c.done:
			return
		}
	}
}

// pause waits for a while, or until the controller closes.
func (c *Controller) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.done:
	}
}

// becomeReady ends a reset.
//
// Preconditions: c.fw.mu is held.
func (c *Controller) becomeReady() {
	c.irq.reset(false) // of what frames of the old epoch raised
	c.setState(c.p.Limits.Word(mfi.StateReady, c.p.AnnounceMSIX))
	c.stopSettling()
}

// Preconditions: c.fw.mu is held.
func (c *Controller) stopSettling() {
	c.fw.settling = false
	c.fw.settled.Broadcast()
}

// powerOn resets everything, as power or the bus's reset does. It does not wait.
func (c *Controller) powerOn() {
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	c.fw.sequence = 0
	c.fw.setDiagnostic(0)
	c.abandon(mfi.StateUndefined)
	c.irq.reset(true)
	c.logBoot()
	c.settle(c.p.Boot)
}

// Reset resets the controller as the bus's reset does, and returns when it has
// stopped touching guest memory and its firmware has gone as far as it can
// without the guest. It must not be called from a register access.
func (c *Controller) Reset() {
	c.powerOn()
	c.awaitSettled()
}

// awaitSettled waits until no reset is under way.
func (c *Controller) awaitSettled() {
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	for c.fw.settling {
		c.fw.settled.Wait()
	}
}

// halt stops the firmware until a reset.
//
// Preconditions: c.fw.mu is held.
func (c *Controller) halt(code uint16, sub uint8) {
	c.fw.halted = true
	c.abandon(mfi.StateFault)
	c.setState(mfi.FaultWord(code, sub))
}
