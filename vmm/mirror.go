package vmm

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/govmm/govmm/vmm/memory"
)

// mirrors lets guests read registers without an exit: the first page of a PCI
// function's memory BAR is a slot of KVM's that can only be read, and the function
// keeps there what a read would answer (pci.Mirrored). Writes are exits as ever.
//
// A slot costs the guest a fraction of a millisecond when it comes, and when it goes
// all that KVM knows of the guest's memory. So a BAR gets its slot once it has been
// read a few times where it is, and loses it when it is moved or not decoded any more:
// one that the guest only sizes never has any.
type mirrors struct {
	vm  *kvm.VM
	log *slog.Logger

	mu   sync.Mutex
	list []*mirror // guarded by mu
}

const (
	// mirrorAfter is how many reads come before a slot: about what it costs.
	mirrorAfter = 32
	// mirrorSlots is the number of the first slot; those below are the RAM's and the
	// BIOS's.
	mirrorSlots = 64
)

// mirror is a Region on the memory bus, perhaps with a slot of KVM's over its first
// page. It implements bus.Handler.
type mirror struct {
	pci.Region
	m     *mirrors
	slot  int
	reads atomic.Uint32 // of the first page, since it was placed, up to mirrorAfter

	making sync.Mutex   // held while the region is called; never with mu
	page   *memory.Page // guarded by making: what the region keeps; nil before the first slot

	mu     sync.Mutex // a leaf
	placed bool       // guarded by mu: it is on the bus, at base
	base   uint64     // guarded by mu
	shown  bool       // guarded by mu: KVM has the slot
}

// of returns the mirror of a region, made at its first use.
func (m *mirrors) of(r pci.Region) *mirror {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.list {
		if x.Region == r {
			return x
		}
	}
	x := &mirror{Region: r, m: m, slot: mirrorSlots + len(m.list)}
	m.list = append(m.list, x)
	return x
}

// leave takes the mirror away that is placed at base.
func (m *mirrors) leave(base uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.list {
		x.leave(base)
	}
}

// close gives the memory back. Nothing may run any more.
func (m *mirrors) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, x := range m.list {
		errs = append(errs, x.close())
	}
	m.list = nil
	return errors.Join(errs...)
}

// Name is the region's.
func (x *mirror) Name() string {
	if r, ok := x.Region.(interface{ Name() string }); ok {
		return r.Name()
	}
	return fmt.Sprintf("%T", x.Region)
}

// Read implements bus.Handler.
func (x *mirror) Read(off uint64, p []byte) {
	x.Region.Read(off, p)
	if off < pci.MirrorSize && x.reads.Load() < mirrorAfter && x.reads.Add(1) == mirrorAfter {
		x.show()
	}
}

// place tells where the region is on the bus.
func (x *mirror) place(base uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.placed, x.base = true, base
	x.reads.Store(0)
}

// show makes the slot, if it can be had.
func (x *mirror) show() {
	page := x.reflection()
	if page == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.placed || x.shown || firmware.MMIO32End <= x.base && x.base < firmware.HighRAMBase {
		return // KVM's own chips are up there, and would not be seen below a slot
	}
	if err := x.m.vm.SetMemory(x.slot, x.base, page.Bytes(), kvm.MemoryReadOnly); err != nil {
		// There is RAM already, or the host has no such slots.
		x.m.log.Debug("registers go on to be read by exits", "name", x.Name(), "err", err)
		return
	}
	x.shown = true
}

// reflection is the page that the region keeps, or nil if it does not.
func (x *mirror) reflection() *memory.Page {
	x.making.Lock()
	defer x.making.Unlock()
	r, ok := x.Region.(pci.Mirrored)
	if x.page != nil || !ok {
		return x.page
	}
	page, err := memory.NewPage()
	if err != nil {
		return nil
	}
	if !r.Mirror((*pci.Mirror)(page.Words())) {
		_ = page.Close() // nobody has used it
		return nil
	}
	x.page = page
	return page
}

// leave takes the slot away, if the region is placed at base: it is not there any more.
func (x *mirror) leave(base uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.placed || x.base != base {
		return
	}
	x.placed = false
	if !x.shown {
		return
	}
	x.shown = false
	if err := x.m.vm.SetMemory(x.slot, 0, nil, 0); err != nil {
		x.m.log.Error("registers are still read where they were", "address", base, "err", err)
	}
}

// close gives the page back.
func (x *mirror) close() error {
	x.making.Lock()
	defer x.making.Unlock()
	if x.page == nil {
		return nil
	}
	x.Region.(pci.Mirrored).Mirror(nil)
	err := x.page.Close()
	x.page = nil
	return err
}
