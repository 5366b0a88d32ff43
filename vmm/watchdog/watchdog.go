// Package watchdog is the watchdog timer of Intel's 6300ESB I/O controller hub
// (datasheet 300641, chapter 17), a PCI function that Linux drives by i6300esb and
// that other machines of this kind offer too.
//
// It counts down twice: the first stage is a warning, at the end of the second it
// fires. It does not interrupt at the first stage, as its interrupt is wired to an
// I/O APIC that is not here, nor by SMI; the status of the interrupt can be polled.
//
// All methods and register accesses may come from any goroutine. A timer runs only
// while the guest has it enabled.
package watchdog

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/vmm/chipset"
)

// Config says what a watchdog drives.
type Config struct {
	// Clock runs the timer; nil is the system's.
	Clock chipset.Clock
	// Fire is called, on a goroutine of its own, when the guest has not reloaded
	// the timer in time and lets it drive its output.
	Fire func()
}

// Watchdog is the timer.
type Watchdog struct {
	fn    *pci.Function
	clock chipset.Clock
	fire  func()

	mu      sync.Mutex
	config  uint16        // guarded by mu: the register at configConfig
	lock    uint8         // guarded by mu: the register at configLock
	preload [2]uint32     // guarded by mu: ticks of either stage
	status  uint8         // guarded by mu: the interrupt of the first stage
	fired   bool          // guarded by mu: the second stage ended; survives resets
	unlock  int           // guarded by mu: steps of the unlock sequence so far
	stage   int           // guarded by mu: that runs, 1 or 2, 0 if none does
	timer   chipset.Timer // guarded by mu: of the stage
	paused  int           // guarded by mu: stage that a Pause stopped, or 0
}

// Registers in configuration space.
const (
	configConfig = 0x60 // 16 bits
	configLock   = 0x68 // 8 bits

	configPrescale1MHz = 1 << 2
	configNoOutput     = 1 << 5
	configWritable     = 0x0027

	lockLocked   = 1 << 0 // until the next reset
	lockEnable   = 1 << 1
	lockFreeRun  = 1 << 2
	lockWritable = lockLocked | lockEnable | lockFreeRun
)

// Registers behind BAR 0.
const (
	windowSize = 16

	regPreload1  = 0x0 // 20 bits
	regPreload2  = 0x4
	regInterrupt = 0x8
	regReload    = 0xc // 16 bits

	preloadMask = 0xfffff

	reloadTimer = 1 << 8
	reloadFired = 1 << 9

	interruptStage1 = 1 << 0
)

// The unlock sequence: these values written to the reload register allow one write
// to a protected register.
const (
	unlockFirst  = 0x80
	unlockSecond = 0x86
	unlocked     = 2
)

// A tick is 2^15 or 2^5 periods of the PCI clock.
const (
	pciPeriod = 30 * time.Nanosecond
	slowTicks = 15
	fastTicks = 5
)

// minStage keeps a guest from having the host do nothing but this.
const minStage = time.Millisecond

// New returns a watchdog that is off.
func New(c Config) *Watchdog {
	w := &Watchdog{clock: c.Clock, fire: c.Fire}
	if w.clock == nil {
		w.clock = chipset.SystemClock()
	}
	if w.fire == nil {
		w.fire = func() {}
	}
	w.fn = pci.NewFunction(pci.Config{
		Name:   "6300ESB watchdog",
		Vendor: 0x8086, Device: 0x25ab,
		Class: 0x088000, // system peripheral
		Registers: []pci.Register{
			{Offset: configConfig, Size: 2, Write: configWritable},
			{Offset: configLock, Size: 1, Write: lockWritable},
		},
	})
	w.fn.AddBAR(0, pci.Mem32, windowSize, window{w})
	w.fn.OnConfigWrite(w.configure)
	w.fn.OnReset(w.reset)
	w.reset()
	return w
}

// Function is the watchdog's place on the PCI bus.
func (w *Watchdog) Function() *pci.Function { return w.fn }

// Attach implements vmm.Device: the watchdog does not touch memory.
func (w *Watchdog) Attach(pci.DMA) {}

// Close stops the timer. The guest must not run any more.
func (w *Watchdog) Close(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop()
	return nil
}

// Pause keeps the timer from running down while the guest does not run.
func (w *Watchdog) Pause(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	stage := w.stage
	w.stop()
	w.paused = stage
	return nil
}

// Resume starts the stage that was running again, from its beginning.
func (w *Watchdog) Resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paused != 0 {
		w.start(w.paused)
	}
}

// reset is the bus's reset. That it has fired is remembered, as the guest asks for
// that when it comes up.
func (w *Watchdog) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop()
	w.config, w.lock, w.status, w.unlock = 0, 0, 0, 0
	w.preload = [2]uint32{preloadMask, preloadMask}
}

// configure follows the registers in configuration space.
func (w *Watchdog) configure(off int, value uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch off {
	case configConfig:
		w.config = uint16(value)
	case configLock:
		w.setLock(uint8(value))
	}
}

// setLock takes a new lock register. Locked, it stays as it is.
//
// Preconditions: w.mu is held.
func (w *Watchdog) setLock(v uint8) {
	old := w.lock
	if old&lockLocked != 0 {
		return
	}
	w.lock = v & lockWritable
	switch {
	case w.lock&lockEnable == 0:
		w.stop()
	case old&lockEnable == 0:
		w.start(1)
	}
}

// Preconditions: w.mu is held.
func (w *Watchdog) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer, w.stage, w.paused = nil, 0, 0
}

// start begins a stage.
//
// Preconditions: w.mu is held.
func (w *Watchdog) start(stage int) {
	w.stop()
	w.stage = stage
	var t chipset.Timer
	t = w.clock.AfterFunc(w.duration(w.preload[stage-1]), func() {
		w.mu.Lock()
		ours := w.timer == t // else it was stopped too late
		var fire func()
		if ours {
			fire = w.expire()
		}
		w.mu.Unlock()
		if fire != nil {
			fire()
		}
	})
	w.timer = t
}

// duration is what a number of ticks takes.
//
// Preconditions: w.mu is held.
func (w *Watchdog) duration(ticks uint32) time.Duration {
	shift := slowTicks
	if w.config&configPrescale1MHz != 0 {
		shift = fastTicks
	}
	return max(minStage, time.Duration(ticks+1)<<shift*pciPeriod)
}

// expire ends a stage. It returns what has to be called without the lock.
//
// Preconditions: w.mu is held.
func (w *Watchdog) expire() (fire func()) {
	if w.stage == 1 {
		w.status |= interruptStage1
		w.start(2)
		return nil
	}
	w.stop()
	w.fired = true
	if w.lock&lockFreeRun != 0 {
		w.start(1)
	}
	if w.config&configNoOutput != 0 {
		return nil
	}
	return w.fire
}

// window are the registers behind BAR 0.
type window struct{ w *Watchdog }

func (x window) Read(off uint64, p []byte) {
	w := x.w
	w.mu.Lock()
	defer w.mu.Unlock()
	var regs [windowSize + 8]byte
	le := binary.LittleEndian
	le.PutUint32(regs[regPreload1:], w.preload[0])
	le.PutUint32(regs[regPreload2:], w.preload[1])
	regs[regInterrupt] = w.status
	if w.fired {
		le.PutUint16(regs[regReload:], reloadFired)
	}
	copy(p, regs[min(off, windowSize):])
}

func (x window) Write(off uint64, p []byte) {
	w := x.w
	w.mu.Lock()
	defer w.mu.Unlock()
	var b [8]byte
	copy(b[:], p)
	v := binary.LittleEndian.Uint32(b[:])
	if off == regInterrupt {
		w.status &^= uint8(v)
		return
	}
	if off == regReload && w.advance(v) || w.unlock != unlocked {
		return
	}
	switch off {
	case regPreload1:
		w.preload[0] = v & preloadMask
	case regPreload2:
		w.preload[1] = v & preloadMask
	case regReload:
		w.reload(v)
	default:
		return
	}
	w.unlock = 0
}

// advance follows the unlock sequence. It reports whether v is part of it.
//
// Preconditions: w.mu is held.
func (w *Watchdog) advance(v uint32) bool {
	switch {
	case v == unlockFirst:
		w.unlock = 1
		return true
	case v == unlockSecond && w.unlock == 1:
		w.unlock = unlocked
		return true
	}
	return false
}

// reload is an unlocked write to the reload register.
//
// Preconditions: w.mu is held.
func (w *Watchdog) reload(v uint32) {
	if v&reloadFired != 0 {
		w.fired = false
	}
	if v&reloadTimer != 0 && w.lock&lockEnable != 0 {
		w.start(1)
	}
}
