package vmm

import (
	"encoding/binary"
	"io"
	"strings"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/firmware/acpi"
	"github.com/govmm/govmm/firmware/fwcfg"
	"github.com/govmm/govmm/vmm/chipset"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/govmm/govmm/vmm/memory"
)

// portFirmwareDebug takes SeaBIOS's debug messages.
const portFirmwareDebug = 0x402

// Files of the firmware configuration device beside those of package fwcfg.
const (
	fileE820      = "etc/e820"
	fileBootOrder = "bootorder"
	fileConsole   = "etc/sercon-port" // u16: the serial port that shows the text screen
)

// addBIOS gives the machine what its firmware works with.
func (m *Machine) addBIOS(b *BIOS) error {
	if b.VGA != nil {
		if err := m.addVGA(); err != nil {
			return err
		}
	}
	return m.addFirmwarePorts(b.Debug)
}

// addROM puts the BIOS below 4 GiB, where the guest can read it only, and its end
// below 1 MiB.
func (m *Machine) addROM(image firmware.Source) error {
	var err error
	if m.rom, err = firmware.OpenROM(image); err != nil {
		return err
	}
	rom, err := memory.New([]memory.Range{memory.Range(m.rom.Range())}, memory.Options{})
	if err != nil {
		return err
	}
	m.onRelease(ignoring(rom.Close))
	if err := m.rom.Load(rom); err != nil {
		return err
	}
	slots := rom.Slots()
	if err := m.showMemory(slots, kvm.MemoryReadOnly); err != nil {
		return err
	}
	return m.addShadow(slots[0].Mem)
}

// addFirmwarePorts creates the devices that only firmware talks to.
func (m *Machine) addFirmwarePorts(debug io.Writer) error {
	contents, err := m.firmwareConfig()
	if err != nil {
		return err
	}
	config, err := fwcfg.New(m.ram, contents)
	if err != nil {
		return err
	}
	m.onReset(config.Reset)
	ranges := []portRange{{"firmware configuration", fwcfg.Base, fwcfg.Size, config}}
	if debug != nil {
		m.chips.debug = chipset.NewDebugPort(debug)
		m.onRelease(m.chips.debug.Close)
		ranges = append(ranges, portRange{"firmware messages", portFirmwareDebug, 1, m.chips.debug})
	}
	return m.mapPorts(ranges)
}

// firmwareConfig is what the BIOS is told about the machine.
func (m *Machine) firmwareConfig() (fwcfg.Config, error) {
	tables, err := acpi.Build(m.acpiConfig())
	if err != nil {
		return fwcfg.Config{}, err
	}
	files, err := fwcfg.ACPI(tables)
	if err != nil {
		return fwcfg.Config{}, err
	}
	smbios, err := m.smbiosFiles()
	if err != nil {
		return fwcfg.Config{}, err
	}
	files = append(files, smbios...)
	files = append(files, fwcfg.File{Name: fileE820, Data: firmware.EncodeE820(m.layout.BIOSMap())})
	if order := m.config.BIOS.BootOrder; len(order) > 0 {
		files = append(files, fwcfg.File{Name: fileBootOrder, Data: []byte(strings.Join(order, "\n") + "\x00")})
	}
	if image := m.config.BIOS.VGA; image != nil {
		file, err := vgaFile(image)
		if err != nil {
			return fwcfg.Config{}, err
		}
		files = append(files, file)
	} else if len(m.config.Serial) > 0 {
		files = append(files, fwcfg.File{Name: fileConsole, Data: word(serialPorts()[0].base)})
	}
	cpus := word(uint16(m.config.CPUs))
	return fwcfg.Config{
		Items: map[fwcfg.Key][]byte{
			fwcfg.KeyCPUs:         cpus,
			fwcfg.KeyMaxCPUs:      word(uint16(m.config.topology().APICID(m.config.CPUs-1) + 1)),
			fwcfg.KeyIRQ0Override: {1}, // as kvm.PCRoutes wires it
		},
		Files: files,
	}, nil
}

func word(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
