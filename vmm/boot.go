package vmm

import (
	"crypto/rand"
	"fmt"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/firmware/acpi"
	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/vmm/kvm"
)

// seedSize is how many bytes of entropy the guest starts with.
const seedSize = 64

// pciPorts is where I/O BARs go, clear of the ports of the chipset.
var pciPorts = pci.Space{Base: 0xC000, Size: 0x4000}

// boot makes the machine ready for its first instruction. For a BIOS there is nothing
// to do: the processors are at its first instruction, where a reset puts them.
//
// Preconditions: RAM, devices and processors are in their reset state.
func (m *Machine) boot() error {
	if m.config.BIOS != nil {
		return nil
	}
	return m.bootKernel()
}

// bootKernel puts tables and kernel into the guest's RAM and the boot processor
// at the kernel's first instruction.
//
// Preconditions: RAM, devices and processors are in their reset state.
func (m *Machine) bootKernel() error {
	for _, c := range m.cpus {
		if err := afterBIOS(c.vcpu); err != nil {
			return fmt.Errorf("vCPU %d: %w", c.vcpu.ID(), err)
		}
	}
	config := m.acpiConfig()
	if err := m.programBridges(config.Power.PM1Event); err != nil {
		return err
	}
	if err := m.pciBus.Assign(pciPorts, pci.Space(m.layout.MMIO32())); err != nil {
		return err
	}
	tables, err := acpi.Build(config)
	if err != nil {
		return err
	}
	if n := len(tables.Blob); n > firmware.TablesEnd-firmware.TablesBase {
		return fmt.Errorf("acpi: %d bytes of tables, there is room for %d", n, firmware.TablesEnd-firmware.TablesBase)
	}
	if err := m.ram.WriteAt(tables.Blob, tables.Base); err != nil {
		return err
	}
	if err := m.putSMBIOS(); err != nil {
		return err
	}
	seed := make([]byte, seedSize)
	rand.Read(seed) // never fails
	entry, err := firmware.Load(m.ram, firmware.LoadConfig{
		Layout:   m.layout,
		Kernel:   m.config.Kernel,
		Unpacked: m.config.Unpacked,
		LA57:     kvm.HasLA57(m.leaves),
		Initrd:   m.config.Initrd,
		Cmdline:  m.config.Cmdline,
		RSDP:     tables.RSDP,
		Seed:     seed,
	})
	if err != nil {
		return err
	}
	if entry.Declined != nil {
		m.log.Debug("the kernel unpacks itself", "because", entry.Declined)
	}
	m.log.Debug("kernel loaded", "format", entry.Format, "version", entry.Version, "mode", entry.Mode,
		"entry", fmt.Sprintf("%#x", entry.RIP), "kernel", entry.Kernel, "initrd", entry.Initrd)
	return m.cpus[0].enter(entry)
}

// acpiConfig describes this machine to its guest.
func (m *Machine) acpiConfig() acpi.Config {
	c := acpi.I440FX()
	c.Base = firmware.TablesBase
	for _, cpu := range m.cpus {
		c.CPUs = append(c.CPUs, uint32(cpu.vcpu.ID()))
	}
	c.TimerOverride = true // as kvm.PCRoutes wires it
	c.Power.SCI = irqSCI
	c.Power.S5 = sleepTypeOff
	c.PCI.MMIO32 = acpi.Window(m.layout.MMIO32())
	c.PCI.MMIO64 = acpi.Window(m.layout.MMIO64())
	c.PCI.ISASlot = slotISA
	c.PCI.Route = pciRoute
	if m.config.BIOS != nil {
		c.PCI.Route = biosRoute
		c.LevelIRQs = biosIRQs()
	}
	// Nobody types where there is no screen. A guest that is not told of a keyboard
	// spares two hundred accesses to look for one.
	screen := m.chips.vga != nil
	c.Keyboard, c.Mouse, c.VGA = screen, screen, screen
	c.PanicPort = portPanic
	c.Serial = nil
	for _, p := range serialPorts()[:len(m.config.Serial)] {
		c.Serial = append(c.Serial, acpi.Serial{Port: p.base, IRQ: p.irq})
	}
	return c
}
