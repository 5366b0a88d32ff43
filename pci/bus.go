package pci

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Sizes of a bus.
const (
	slots        = 32
	slotFunction = 8 // functions in a slot
)

// Bus is PCI bus 0 with its 32 slots of 8 functions.
type Bus struct {
	platform Platform
	decoder  decoder
	lines    lines
	address  atomic.Uint32 // the CONFIG_ADDRESS register of mechanism 1

	mu        sync.Mutex                                     // serialises changes of functions
	functions [slots * slotFunction]atomic.Pointer[Function] // stored under mu
}

// Routing says which global system interrupt a pin of a slot drives; pin is 0
// for INTA# to 3 for INTD#, as in ACPI's _PRT. A negative number is none. It must
// not call into this package.
type Routing func(slot, pin int) (gsi int)

// NewBus returns an empty bus in the machine p.
func NewBus(p Platform, routing Routing) *Bus {
	return &Bus{
		platform: p,
		decoder:  decoder{platform: p},
		lines:    lines{platform: p, routing: routing, asserting: make(map[int]int)},
	}
}

// Attach puts f into a free place. It fails if the place is taken or does not
// exist, if f is on a bus already, and if f was described wrongly.
func (b *Bus) Attach(slot, fn int, f *Function) error {
	if f.err != nil {
		return f.err
	}
	if slot < 0 || slot >= slots || fn < 0 || fn >= slotFunction {
		return fmt.Errorf("pci function %s: place %#x.%d does not exist", f.name, slot, fn)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := &b.functions[slot*slotFunction+fn]
	if other := at.Load(); other != nil {
		return fmt.Errorf("pci function %s: place %#x.%d is taken by %s", f.name, slot, fn, other.name)
	}
	pl := &place{bus: b, slot: slot, fn: fn, gsi: noLine}

	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.place.CompareAndSwap(nil, pl) {
		return fmt.Errorf("pci function %s: is on a bus already", f.name)
	}
	at.Store(f)
	b.lines.connect(f, pl)
	f.settle()
	return nil
}

// Detach takes the function of a place off the bus: its ranges are unmapped and
// its interrupt pin is released. It returns the function, or nil.
func (b *Bus) Detach(slot, fn int) *Function {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.Function(slot, fn)
	if f == nil {
		return nil
	}
	b.functions[slot*slotFunction+fn].Store(nil)

	f.mu.Lock()
	defer f.mu.Unlock()
	wishes := f.windows()
	for i := range wishes {
		wishes[i].wanted = false
	}
	b.decoder.update(wishes)
	b.lines.disconnect(f.place.Swap(nil))
	return f
}

// Function is the function at a place, or nil.
func (b *Bus) Function(slot, fn int) *Function {
	if slot < 0 || slot >= slots || fn < 0 || fn >= slotFunction {
		return nil
	}
	return b.functions[slot*slotFunction+fn].Load()
}

// Reset is the RST# signal: every function goes to its reset state.
func (b *Bus) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.address.Store(0)
	for i := range b.functions {
		if f := b.functions[i].Load(); f != nil {
			f.mu.Lock()
			f.reset()
			f.mu.Unlock()
		}
	}
}

// Reroute asks the Routing again for every pin: call it when its answers
// change, from where a hook is allowed to or from outside.
func (b *Bus) Reroute() {
	for i := range b.functions {
		f := b.functions[i].Load()
		if f == nil {
			continue
		}
		if pl := f.place.Load(); pl != nil {
			b.lines.connect(f, pl)
		}
	}
}

// RetryDecode maps BARs that were refused because of a collision, as far as
// they fit now. The bus does that itself when one of its own ranges moves; call
// it when the platform took away another.
func (b *Bus) RetryDecode() { b.decoder.retry() }
