package pci

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Function is one PCI function: its configuration space, its decoders and its
// interrupts. Build it with NewFunction and the Add methods, then attach it to
// a Bus. A mistake in the description is reported by Bus.Attach. It implements
// Interrupt.
type Function struct {
	name string
	pin  int   // 0 none, 1 INTA# to 4 INTD#
	err  error // the first mistake in the description

	// The description: constant once the function is attached.
	bars    [6]*bar
	caps    []capability
	pm      int // offset of a capability in configuration space, 0 for none
	express int
	msi     *msi
	msix    *msix
	onWrite []func(off int, value uint32)
	onReset []func()

	place atomic.Pointer[place] // nil while not on a bus; stored under mu
	gates atomic.Uint32         // what the registers let through; stored under mu
	level atomic.Bool           // the interrupt pin as the device drives it

	mu  sync.Mutex
	cfg space // guarded by mu
}

// place is where a function is attached, and what it does to its line there.
type place struct {
	bus      *Bus
	slot, fn int

	gsi    int  // guarded by lines.mu; negative if the pin is not connected
	driven bool // guarded by lines.mu; the function asserts its line
	left   bool // guarded by lines.mu; the function is not here any more
}

// NewFunction returns a function that has the header of c, no BAR and no
// capability.
func NewFunction(c Config) *Function {
	f := &Function{name: c.Name, pin: int(c.InterruptPin)}
	if f.pin > 4 {
		f.fail("interrupt pin %d is not 0 to 4", f.pin)
		f.pin = 0
	}
	for _, r := range header(c) {
		f.define(r)
	}
	f.gates.Store(uint32(f.readGates()))
	return f
}

// Name is the name that the function was given.
func (f *Function) Name() string { return f.name }

// OnConfigWrite registers a hook that learns of register changes: after every
// write of the guest, and for every dword that a reset changed, it gets the
// dword-aligned offset and the value that the register has now. It is called
// with the function's configuration locked: it may use the Interrupt methods
// and the Platform, but not access this function's configuration space, nor
// attach or detach functions.
func (f *Function) OnConfigWrite(hook func(off int, value uint32)) {
	f.onWrite = append(f.onWrite, hook)
}

// OnReset registers a hook that resets the device behind the function. It is
// called on Bus.Reset and on a function level reset, after the configuration
// space has its reset values, under the rules of OnConfigWrite.
func (f *Function) OnReset(hook func()) {
	f.onReset = append(f.onReset, hook)
}

// ReadConfig reads the bytes at off of the configuration space into p. Bytes
// outside of it make the whole access read as ones.
func (f *Function) ReadConfig(off int, p []byte) {
	if !f.cfg.has(off, len(p)) {
		ones(p)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	copy(p, f.cfg.now[off:])
	if i := regStatus - off; i >= 0 && i < len(p) && f.level.Load() {
		p[i] |= statusInterrupt
	}
}

// WriteConfig writes p at off of the configuration space as a guest would:
// read-only bits keep their values, and decoders and interrupts follow. An
// access that is not wholly inside the space is ignored.
func (f *Function) WriteConfig(off int, p []byte) {
	if !f.cfg.has(off, len(p)) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(p) > 0 {
		n := min(len(p), 4-off%4)
		f.writeDword(off, p[:n])
		off, p = off+n, p[n:]
	}
}

// writeDword is a write that does not cross a dword.
//
// Preconditions: f.mu is held.
func (f *Function) writeDword(off int, p []byte) {
	power := f.powerState()
	f.cfg.store(off, p)
	f.fixPowerState(power)
	if f.startsReset(off, p) {
		f.reset()
		return
	}
	f.settle()
	f.changed(off &^ 3)
}

// reset puts everything into its reset state.
//
// Preconditions: f.mu is held.
func (f *Function) reset() {
	old := f.cfg.now
	f.cfg.now = f.cfg.reset
	f.gates.Store(uint32(f.readGates())) // nothing becomes pending from here on
	f.level.Store(false)
	if f.msi != nil {
		f.msi.reset()
	}
	if f.msix != nil {
		f.msix.reset()
	}
	f.settle()
	for off := 0; off < configSize; off += 4 {
		if [4]byte(old[off:]) != [4]byte(f.cfg.now[off:]) {
			f.changed(off)
		}
	}
	for _, hook := range f.onReset {
		hook()
	}
}

// settle makes what depends on the registers follow them.
//
// Preconditions: f.mu is held.
func (f *Function) settle() {
	f.settleSignals()
	if pl := f.place.Load(); pl != nil {
		pl.bus.decoder.update(f.windows())
	}
}

// changed tells the hooks about the dword at off.
//
// Preconditions: f.mu is held.
func (f *Function) changed(off int) {
	for _, hook := range f.onWrite {
		hook(off, f.cfg.uint32At(off))
	}
}

func (f *Function) define(r Register) {
	if err := f.cfg.define(r); err != nil {
		f.fail("%v", err)
	}
}

// fail records a mistake in the description of the function.
func (f *Function) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("pci function %s: "+format, append([]any{f.name}, args...)...)
	}
}

// ones is what an access reads that nothing answers.
func ones(p []byte) {
	for i := range p {
		p[i] = 0xFF
	}
}
