package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/pci"
)

type pciInfo struct {
	Bus     int         `json:"bus"`
	Devices []pciDevice `json:"devices"`
}

type pciDevice struct {
	Bus      int         `json:"bus"`
	Slot     int         `json:"slot"`
	Function int         `json:"function"`
	Class    pciClass    `json:"class_info"`
	ID       pciID       `json:"id"`
	IRQ      int         `json:"irq,omitempty"`
	Pin      int         `json:"irq_pin"`
	Name     string      `json:"qdev_id"`
	Regions  []pciRegion `json:"regions"`
}

type pciClass struct {
	Desc  string `json:"desc,omitempty"`
	Class int    `json:"class"`
}

type pciID struct {
	Device    int `json:"device"`
	Vendor    int `json:"vendor"`
	Subsystem int `json:"subsystem"`
	SubVendor int `json:"subsystem-vendor"`
}

type pciRegion struct {
	BAR     int    `json:"bar"`
	Type    string `json:"type"` // io or memory
	Address uint64 `json:"address"`
	Size    uint64 `json:"size"`
	// Of memory.
	Prefetch *bool `json:"prefetch,omitempty"`
	Is64     *bool `json:"mem_type_64,omitempty"`
}

func (c *control) queryPCI(context.Context, qmp.None) ([]pciInfo, error) {
	bus := pciInfo{Devices: []pciDevice{}}
	for _, p := range c.m.vm.PCI() {
		bus.Devices = append(bus.Devices, describeFunction(p))
	}
	return []pciInfo{bus}, nil
}

// describeFunction reads what a function tells the guest.
func describeFunction(p pci.Place) pciDevice {
	const (
		headerSize  = 64
		regClass    = 0x0a
		regSubsys   = 0x2c
		regIRQ      = 0x3c
		noInterrupt = 0xff
	)
	var header [headerSize]byte
	p.Function.ReadConfig(0, header[:])
	word := func(off int) int { return int(binary.LittleEndian.Uint16(header[off:])) }
	d := pciDevice{
		Slot: p.Slot, Function: p.Fn, Name: p.Function.Name(),
		Class:   pciClass{Desc: className(word(regClass)), Class: word(regClass)},
		ID:      pciID{Vendor: word(0), Device: word(2), SubVendor: word(regSubsys), Subsystem: word(regSubsys + 2)},
		Pin:     int(header[regIRQ+1]),
		Regions: []pciRegion{},
	}
	if irq := int(header[regIRQ]); d.Pin > 0 && irq != noInterrupt {
		d.IRQ = irq
	}
	for _, r := range p.Function.Regions() {
		region := pciRegion{BAR: r.Index, Type: "io", Address: r.Address, Size: r.Size}
		if !r.IO {
			region.Type, region.Prefetch, region.Is64 = "memory", &r.Prefetchable, &r.Is64
		}
		d.Regions = append(d.Regions, region)
	}
	return d
}

// className is what people call a class of functions.
func className(class int) string {
	names := map[int]string{
		0x0100: "SCSI controller", 0x0104: "RAID controller", 0x0200: "Ethernet controller",
		0x0300: "VGA controller", 0x0600: "Host bridge", 0x0601: "ISA bridge", 0x0680: "Bridge",
		0x0880: "System peripheral",
	}
	if name, ok := names[class]; ok {
		return name
	}
	return fmt.Sprintf("Class %04x", class)
}
