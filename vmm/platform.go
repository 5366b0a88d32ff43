package vmm

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/vmm/bus"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/govmm/govmm/vmm/memory"
)

// platform is the machine as the PCI bus and the chipset see it. It implements
// pci.Platform.
type platform struct {
	vm    *kvm.VM
	ram   *memory.Memory
	ports *bus.Space
	mmio  *bus.Space
	log   *slog.Logger

	mirrors mirrors

	isa [isaIRQs]isaLine

	lineChanges atomic.Uint64
	messages    atomic.Uint64
	undelivered atomic.Uint64 // messages that the guest blocks, or that go nowhere
	lineFailed  atomic.Bool
}

// Interrupt lines.
const (
	isaIRQs     = 16
	pciFirstGSI = 16
	pciGSIs     = 8
)

// pciRoute is the wiring of the interrupt pins of PCI slots: each pin of a slot
// and each slot begins at another line, so that few devices share one.
func pciRoute(slot, pin int) int { return pciFirstGSI + (slot+pin)%pciGSIs }

// Messages are writes to this range of addresses (Intel SDM volume 3, 11.11.1).
const (
	messageBase = 0xfee00000
	messageSize = 1 << 20
)

// isaLine is an ISA interrupt. A PCI function may share it with a chip: it is
// asserted while either asserts it.
type isaLine struct {
	mu        sync.Mutex // held while the line is driven, so that levels keep their order
	pci, chip bool       // guarded by mu
}

// Preconditions: l.mu is held.
func (l *isaLine) level() bool { return l.pci || l.chip }

// SetIRQ implements pci.Platform.
func (p *platform) SetIRQ(gsi int, asserted bool) {
	if gsi < 0 || gsi >= len(p.isa) {
		p.drive(gsi, asserted)
		return
	}
	l := &p.isa[gsi]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pci = asserted
	p.drive(gsi, l.level())
}

// line is the handle of an ISA interrupt for the one chip that has it.
func (p *platform) line(irq int) func(asserted bool) {
	l := &p.isa[irq]
	return func(asserted bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.chip = asserted
		p.drive(irq, l.level())
	}
}

// drive sets the level of a line.
func (p *platform) drive(gsi int, asserted bool) {
	p.lineChanges.Add(1)
	if err := p.vm.SetIRQ(gsi, asserted); err != nil && !p.lineFailed.Swap(true) {
		p.log.Error("an interrupt line can't be driven", "gsi", gsi, "err", err)
	}
}

var errBlocked = errors.New("vmm: the guest's local APIC takes no messages")

// SendMSI implements pci.Platform. A message is a write to memory: one that a
// guest addressed to its RAM goes there.
func (p *platform) SendMSI(addr uint64, data uint32) error {
	p.messages.Add(1)
	err := p.deliver(addr, data)
	if err != nil {
		p.undelivered.Add(1)
	}
	return err
}

func (p *platform) deliver(addr uint64, data uint32) error {
	if addr/messageSize != messageBase/messageSize {
		return p.ram.Store32(addr, data)
	}
	delivered, err := p.vm.SignalMSI(addr, data)
	if err == nil && !delivered {
		err = errBlocked
	}
	return err
}

// MapMMIO implements pci.Platform.
func (p *platform) MapMMIO(base, size uint64, h pci.Region) error {
	x := p.mirrors.of(h)
	if err := p.mmio.Map(base, size, x); err != nil {
		return err
	}
	x.place(base)
	return nil
}

// UnmapMMIO implements pci.Platform.
func (p *platform) UnmapMMIO(base, size uint64) {
	p.mirrors.leave(base)
	p.mmio.Unmap(base, size)
}

// MapPort implements pci.Platform.
func (p *platform) MapPort(base, size uint64, h pci.Region) error { return p.ports.Map(base, size, h) }

// UnmapPort implements pci.Platform.
func (p *platform) UnmapPort(base, size uint64) { p.ports.Unmap(base, size) }
