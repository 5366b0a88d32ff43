package pci

import "math/bits"

// Express describes a PCI Express capability of version 2.
type Express struct {
	// Type is the device/port type.
	Type ExpressType
	// MaxPayload is the largest payload supported in bytes: 128 to 4096.
	MaxPayload int
	// LinkSpeed is 1 for 2.5 GT/s, 2 for 5 GT/s; LinkWidth is the lane count.
	// A root complex endpoint has no link.
	LinkSpeed, LinkWidth uint8
	// FunctionReset offers function level reset.
	FunctionReset bool
}

// ExpressType is the device/port type of a PCI Express capability.
type ExpressType uint8

const (
	// ExpressEndpoint is an endpoint at the end of a link.
	ExpressEndpoint ExpressType = 0x0
	// ExpressRootComplexEndpoint is an endpoint inside the root complex.
	ExpressRootComplexEndpoint ExpressType = 0x9
)

// Registers and bits of the PCI Express capability (PCIe 7.8), offsets from its
// start.
const (
	expressSize = 0x3C

	expressDeviceCap   = 0x04
	deviceRoleErrors   = 1 << 15 // role-based error reporting, required since 1.1
	deviceResetCapable = 1 << 28

	expressDeviceControl  = 0x08
	deviceControlReset    = 0x2810 // relaxed ordering, no snoop, 512-byte reads
	deviceControlWritable = 0x78FF
	deviceInitiateReset   = 1 << 15

	expressDeviceStatus = 0x0A
	deviceStatusErrors  = 0x000F

	expressLinkCap      = 0x0C
	expressLinkControl  = 0x10
	linkControlWritable = 0x00CB
	expressLinkStatus   = 0x12

	expressDeviceCap2     = 0x24
	expressDeviceControl2 = 0x28
	completionTimeoutOff  = 1 << 4 // can be, and is, disabled
)

// AddExpress appends a PCI Express endpoint capability.
func (f *Function) AddExpress(off int, e Express) {
	payload := bits.TrailingZeros(uint(e.MaxPayload)) - 7
	if e.MaxPayload&(e.MaxPayload-1) != 0 || payload < 0 || payload > 5 {
		f.fail("payload size %d is not a power of two from 128 to 4096", e.MaxPayload)
		return
	}
	f.AddCapability(off, capExpress, make([]byte, expressSize-2), nil)
	if f.err != nil {
		return
	}
	f.express = off
	deviceCap := uint32(payload) | deviceRoleErrors
	if e.FunctionReset {
		deviceCap |= deviceResetCapable
	}
	rows := []Register{
		{Offset: 2, Size: 2, Reset: 2 | uint32(e.Type)<<4},
		{Offset: expressDeviceCap, Size: 4, Reset: deviceCap},
		{Offset: expressDeviceControl, Size: 2, Reset: deviceControlReset, Write: deviceControlWritable},
		{Offset: expressDeviceStatus, Size: 2, Clear: deviceStatusErrors},
		{Offset: expressDeviceCap2, Size: 4, Reset: completionTimeoutOff},
		{Offset: expressDeviceControl2, Size: 2, Write: completionTimeoutOff},
	}
	if e.Type != ExpressRootComplexEndpoint {
		link := uint32(e.LinkSpeed) | uint32(e.LinkWidth)<<4
		rows = append(rows,
			Register{Offset: expressLinkCap, Size: 4, Reset: link},
			Register{Offset: expressLinkControl, Size: 2, Write: linkControlWritable},
			Register{Offset: expressLinkStatus, Size: 2, Reset: link})
	}
	for _, r := range rows {
		r.Offset += off
		f.define(r)
	}
}

// startsReset reports whether a write of p at off initiates a function level
// reset (PCIe 7.8.4).
func (f *Function) startsReset(off int, p []byte) bool {
	if f.express == 0 || f.cfg.uint32At(f.express+expressDeviceCap)&deviceResetCapable == 0 {
		return false
	}
	high := f.express + expressDeviceControl + 1
	return off <= high && high < off+len(p) && p[high-off]&(deviceInitiateReset>>8) != 0
}
