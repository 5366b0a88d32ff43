package vmm

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/vmm/bus"
	"github.com/govmm/govmm/vmm/chipset"
)

// chips are the devices of the south bridge.
type chips struct {
	serial   []*chipset.Serial
	keyboard *chipset.Keyboard
	rtc      *chipset.RTC
	pm       *chipset.PM
	debug    *chipset.DebugPort // of the firmware, or nil
	vga      *chipset.VGA       // or nil
	pmBase   uint64             // where the PM block is decoded, 0 if it is not; changed under the lock of the PIIX4 function
}

// ISA interrupts.
const (
	irqKeyboard = 1
	irqRTC      = 8
	irqSCI      = 9
	irqAux      = 12
)

// Ports of the chips.
const (
	portKeyboardData    = 0x60
	portKeyboardCommand = 0x64
	portRTC             = 0x70
	portSystemControlA  = 0x92
	portPCIConfig       = 0xcf8
)

// serialPort is where a PC has a serial port.
type serialPort struct {
	name string
	base uint16
	irq  uint8
}

const serialSize = 8

func serialPorts() []serialPort {
	return []serialPort{{"COM1", 0x3f8, 4}, {"COM2", 0x2f8, 3}}
}

// Places on the PCI bus.
const (
	slotHostBridge = 0
	slotISA        = 1
	functionISA    = 0
	functionPM     = 3
)

// sleepTypeOff is the value of SLP_TYP that means soft-off.
const sleepTypeOff = 0

// portRange is a chip's place among the ports.
type portRange struct {
	name    string
	base    uint64
	size    uint64
	handler bus.Handler
}

// addChips creates the chips and puts them at their ports and on the PCI bus.
func (m *Machine) addChips() error {
	resetBy := func(way string) func() {
		return func() {
			m.log.Debug("the guest resets the machine", "by", way)
			m.guestReset(GuestReset)
		}
	}
	c := &m.chips
	c.keyboard = chipset.NewKeyboard(chipset.KeyboardConfig{
		KeyboardIRQ: m.platform.line(irqKeyboard),
		AuxIRQ:      m.platform.line(irqAux),
		Reset:       resetBy("keyboard controller"),
	})
	c.rtc = chipset.NewRTC(chipset.RTCConfig{
		IRQ:        m.platform.line(irqRTC),
		LowMemory:  m.layout.LowRAM().Size,
		HighMemory: m.layout.HighRAM().Size,
		CPUs:       m.config.CPUs,
	})
	m.onRelease(func(context.Context) error { c.rtc.Close(); return nil })
	c.pm = chipset.NewPM(chipset.PMConfig{
		SCI:      m.platform.line(irqSCI),
		S5:       sleepTypeOff,
		PowerOff: func() { m.finish(PowerOff, GuestPowerOff, nil) },
		ACPI:     m.config.BIOS == nil, // else the guest asks for it
	})
	m.onRelease(func(context.Context) error { c.pm.Close(); return nil })
	port92, control := chipset.NewPort92(resetBy("port 0x92")), chipset.NewResetControl(resetBy("reset control register"))
	for _, f := range []func(){c.keyboard.Reset, c.rtc.Reset, c.pm.Reset, port92.Reset, control.Reset} {
		m.onReset(f)
	}
	ranges := []portRange{
		{"keyboard data", portKeyboardData, 1, c.keyboard.Data()},
		{"keyboard command", portKeyboardCommand, 1, c.keyboard.Command()},
		{"RTC", portRTC, 4, c.rtc},
		{"system control A", portSystemControlA, 1, port92},
		{"SMI command", chipset.APMBase, chipset.APMSize, c.pm.APM()},
		{"GPE0", chipset.GPE0Base, chipset.GPE0Size, c.pm.GPE0()},
		{"PCI configuration", portPCIConfig, 8, m.pciBus.ConfigMechanism1(control)},
	}
	ranges = append(ranges, m.addSerial()...)
	if err := m.mapPorts(ranges); err != nil {
		return err
	}
	return m.addBridges()
}

// mapPorts puts chips at their ports.
func (m *Machine) mapPorts(ranges []portRange) error {
	for _, r := range ranges {
		if err := m.ports.MapNamed(r.name, r.base, r.size, r.handler); err != nil {
			return err
		}
	}
	return nil
}

// addSerial creates the serial ports of the configuration.
func (m *Machine) addSerial() []portRange {
	var ranges []portRange
	for i, config := range m.config.Serial {
		at := serialPorts()[i]
		uart := chipset.NewSerial(chipset.SerialConfig{
			IRQ: m.platform.line(int(at.irq)),
			Out: config.Out,
			In:  config.In,
		})
		m.onRelease(uart.Close)
		m.onReset(uart.Reset)
		m.chips.serial = append(m.chips.serial, uart)
		ranges = append(ranges, portRange{at.name, uint64(at.base), serialSize, uart})
	}
	return ranges
}

// addBridges puts the chipset's own functions on the PCI bus.
func (m *Machine) addBridges() error {
	for _, p := range []struct {
		slot, fn int
		f        *pci.Function
	}{
		{slotHostBridge, 0, pci.NewHostBridge(m.movePAM)},
		{slotISA, functionISA, pci.NewPIIX3(m.moveLinks)},
		{slotISA, functionPM, pci.NewPIIX4PM(m.movePM)},
	} {
		if err := m.pciBus.Attach(p.slot, p.fn, p.f); err != nil {
			return err
		}
	}
	return nil
}

// movePM decodes the PM block where the PIIX4's registers say.
func (m *Machine) movePM(base uint16, enabled bool) {
	c := &m.chips
	if c.pmBase != 0 {
		m.ports.Unmap(c.pmBase, chipset.PMSize)
		c.pmBase = 0
	}
	if !enabled || base == 0 {
		return
	}
	if err := m.ports.MapNamed("PM", uint64(base), chipset.PMSize, c.pm.Block()); err != nil {
		m.warn("the power management ports can't be decoded", "err", err)
		return
	}
	c.pmBase = uint64(base)
}

// programBridges does to the bridges' registers what a BIOS would have done
// before it starts an operating system.
func (m *Machine) programBridges(pmBase uint16) error {
	const (
		regPMBase   = 0x40
		regPMEnable = 0x80
		pmEnable    = 1
	)
	f := m.pciBus.Function(slotISA, functionPM)
	f.WriteConfig(regPMBase, binary.LittleEndian.AppendUint32(nil, uint32(pmBase)))
	f.WriteConfig(regPMEnable, []byte{pmEnable})
	if m.chips.pmBase != uint64(pmBase) {
		return fmt.Errorf("the power management ports are not at %#x", pmBase)
	}
	return nil
}

// flushChips waits until what the guest sent has left the machine.
func (m *Machine) flushChips(ctx context.Context) error {
	for i, s := range m.chips.serial {
		if err := s.Flush(ctx); err != nil {
			return fmt.Errorf("%s: %w", serialPorts()[i].name, err)
		}
	}
	if m.chips.debug == nil {
		return nil
	}
	if err := m.chips.debug.Flush(ctx); err != nil {
		return fmt.Errorf("debug port: %w", err)
	}
	return nil
}
