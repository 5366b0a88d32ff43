package vmm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/firmware/fwcfg"
	"github.com/govmm/govmm/firmware/smbios"
	"github.com/govmm/govmm/vmm/kvm"
)

// Files from which SeaBIOS makes the machine's SMBIOS tables.
const (
	fileSMBIOSEntry  = "etc/smbios/smbios-anchor"
	fileSMBIOSTables = "etc/smbios/smbios-tables"
)

// smbiosConfig tells of this machine.
func (m *Machine) smbiosConfig() smbios.Config {
	c := smbios.Config{
		Manufacturer: "GOVMM",
		Product:      "GOVMM PC",
		Version:      "i440FX",
		UUID:         m.config.UUID.smbios(),
		CPUs:         m.config.CPUs,
		Processor:    processorName(m.leaves),
	}
	for _, l := range m.leaves {
		if l.Function == 1 {
			c.CPUID = [2]uint32{l.Eax, l.Edx}
		}
	}
	for _, r := range []firmware.Range{m.layout.LowRAM(), m.layout.HighRAM()} {
		if r.Size > 0 {
			c.Memory = append(c.Memory, smbios.Range(r))
		}
	}
	return c
}

// processorName is what CPUID calls the processor.
func processorName(leaves []kvm.CPUIDEntry) string {
	const first, last = 0x80000002, 0x80000004
	var name []byte
	for leaf := uint32(first); leaf <= last; leaf++ {
		for _, l := range leaves {
			if l.Function == leaf {
				for _, r := range []uint32{l.Eax, l.Ebx, l.Ecx, l.Edx} {
					name = binary.LittleEndian.AppendUint32(name, r)
				}
			}
		}
	}
	name, _, _ = bytes.Cut(name, []byte{0})
	return string(bytes.TrimSpace(name))
}

// smbiosFiles are the tables for a BIOS, which adds the structure about itself and
// puts them where it likes.
func (m *Machine) smbiosFiles() ([]fwcfg.File, error) {
	t, err := smbios.Build(m.smbiosConfig(), 0)
	if err != nil {
		return nil, err
	}
	return []fwcfg.File{{Name: fileSMBIOSEntry, Data: t.Entry}, {Name: fileSMBIOSTables, Data: t.Structures}}, nil
}

// putSMBIOS puts the tables where a kernel looks for them on a machine without a
// BIOS.
func (m *Machine) putSMBIOS() error {
	const structures = firmware.SMBIOSBase + 32
	c := m.smbiosConfig()
	c.Firmware = "GOVMM"
	t, err := smbios.Build(c, structures)
	if err != nil {
		return err
	}
	if n := len(t.Structures); n > firmware.SMBIOSEnd-structures {
		return fmt.Errorf("smbios: %d bytes of structures, there is room for %d", n, firmware.SMBIOSEnd-structures)
	}
	if err := m.ram.WriteAt(t.Entry, firmware.SMBIOSBase); err != nil {
		return err
	}
	return m.ram.WriteAt(t.Structures, structures)
}
