package vmm

import (
	"errors"
	"log/slog"
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

	lineChanges atomic.Uint64
	messages    atomic.Uint64
	undelivered atomic.Uint64 // messages that the guest blocks, or that go nowhere
	lineFailed  atomic.Bool
}

// Interrupt lines.
const (
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

// SetIRQ implements pci.Platform.
func (p *platform) SetIRQ(gsi int, asserted bool) {
	p.lineChanges.Add(1)
	if err := p.vm.SetIRQ(gsi, asserted); err != nil && !p.lineFailed.Swap(true) {
		p.log.Error("an interrupt line can't be driven", "gsi", gsi, "err", err)
	}
}

// line is the handle of an ISA interrupt for a chip.
func (p *platform) line(irq int) func(asserted bool) {
	return func(asserted bool) { p.SetIRQ(irq, asserted) }
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
func (p *platform) MapMMIO(base, size uint64, h pci.Region) error { return p.mmio.Map(base, size, h) }

// UnmapMMIO implements pci.Platform.
func (p *platform) UnmapMMIO(base, size uint64) { p.mmio.Unmap(base, size) }

// MapPort implements pci.Platform.
func (p *platform) MapPort(base, size uint64, h pci.Region) error { return p.ports.Map(base, size, h) }

// UnmapPort implements pci.Platform.
func (p *platform) UnmapPort(base, size uint64) { p.ports.Unmap(base, size) }
