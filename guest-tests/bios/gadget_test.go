package bios

import (
	"context"

	"github.com/govmm/govmm/pci"
)

// gadget is a PCI function with an interrupt pin, which follows the first of its
// four ports.
type gadget struct{ f *pci.Function }

const gadgetSlot = 6

func newGadget() *gadget {
	g := &gadget{f: pci.NewFunction(pci.Config{Name: "gadget", Vendor: 0x1234, Device: 0x5678, Class: 0xff0000, InterruptPin: 1})}
	g.f.AddBAR(0, pci.IO, 4, g)
	return g
}

func (g *gadget) Function() *pci.Function     { return g.f }
func (g *gadget) Attach(pci.DMA)              {}
func (g *gadget) Close(context.Context) error { return nil }
func (g *gadget) Read(_ uint64, p []byte)     { clear(p) }

func (g *gadget) Write(off uint64, p []byte) {
	if off == 0 {
		g.f.SetINTx(p[0] != 0)
	}
}
