package vmm

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/govmm/govmm/vmm/memory"
)

// Config describes a machine.
type Config struct {
	// Memory is the size of the guest's RAM in bytes, a multiple of 4 KiB.
	Memory uint64
	// RAM says how the host provides it.
	RAM memory.Options
	// CPUs is the number of processors, at least 1.
	CPUs int
	// Topology is how they are put together; the zero value is one socket of cores
	// with one thread each.
	Topology kvm.Topology
	// Kernel is what is started, Initrd its initial RAM disk or nil, Cmdline
	// its command line. Package firmware says which kernels are understood.
	Kernel, Initrd firmware.Source
	Cmdline        string
	// Unpacked is what the firmware.Payload of Kernel unpacks to, or nil. With it the
	// kernel need not unpack itself.
	Unpacked firmware.Source
	// BIOS is what is started if there is no Kernel.
	BIOS *BIOS
	// Serial has up to two serial ports: COM1 and COM2.
	Serial []SerialConfig
	// UUID is what tells the machine from others, to its guest.
	UUID UUID
	// OnReset says what becomes of the machine when its guest resets it.
	OnReset OnReset
	// OnPanic says what becomes of it when its guest reports a panic by pvpanic.
	OnPanic Reaction
	// Watchdog, if not nil, gives the machine a watchdog.
	Watchdog *WatchdogConfig
	// ExitPort gives it a port by which the guest ends it with a value: a write of
	// up to 32 bits to 0x501.
	ExitPort bool
	// Notify, if not nil, is told of what happens to the machine, by any
	// goroutine. It must not wait for the machine.
	Notify func(Event)
	// Logger gets what a person who runs the machine should know; nil discards.
	Logger *slog.Logger
}

// BIOS describes the firmware of a machine that boots from its disks, as a PC
// does.
type BIOS struct {
	// Image is SeaBIOS, as built for virtual machines.
	Image firmware.Source
	// BootOrder lists the devices to boot from, first choice first, by their
	// Open Firmware paths. A device that it does not list comes after those.
	BootOrder []string
	// Debug gets what the firmware has to say to its developers; nil: it says
	// nothing.
	Debug io.Writer
	// VGA is a VGA adapter's BIOS. With one, the machine has an adapter, whose
	// picture Machine.Screen gives; without, the BIOS shows the text screen on
	// COM1.
	VGA firmware.Source
}

// DiskPath is the Open Firmware path of a disk behind a RAID controller or SCSI
// adapter: the unit 0 of a target on function 0 of a PCI slot.
func DiskPath(slot, target int) string {
	return fmt.Sprintf("/pci@i0cf8/raid@%x/channel@0/disk@%x,0", slot, target)
}

// WatchdogConfig describes a watchdog, a 6300ESB.
type WatchdogConfig struct {
	Reaction Reaction // to its expiry
}

// SerialConfig is what is at the other end of a serial line.
type SerialConfig struct {
	In  io.Reader // what the guest receives; nil: nothing
	Out io.Writer // what the guest sends; nil: discarded
}

// topology is the configured one, or that which is usual.
func (c *Config) topology() kvm.Topology {
	if c.Topology == (kvm.Topology{}) {
		return kvm.Topology{Sockets: 1, Cores: c.CPUs, Threads: 1}
	}
	return c.Topology
}

// MaxCPUs is what 8-bit local APIC ids can number: 255 is the broadcast.
const MaxCPUs = 255

// check refuses what package firmware does not check.
func (c *Config) check(s *kvm.System) error {
	if limit := min(MaxCPUs, s.MaxVCPUs()); c.CPUs < 1 || c.CPUs > limit {
		return fmt.Errorf("%d processors: must be 1 to %d", c.CPUs, limit)
	}
	if t := c.topology(); t.Sockets < 1 || t.Cores < 1 || t.Threads < 1 || t.CPUs() != c.CPUs {
		return fmt.Errorf("%d processors: %d sockets of %d cores of %d threads are not as many", c.CPUs, t.Sockets, t.Cores, t.Threads)
	} else if id := t.APICID(c.CPUs - 1); id >= MaxCPUs {
		return fmt.Errorf("%d sockets of %d cores of %d threads: the last one has the number %d, at most %d can be used", t.Sockets, t.Cores, t.Threads, id, MaxCPUs-1)
	}
	if limit := len(serialPorts()); len(c.Serial) > limit {
		return fmt.Errorf("%d serial ports: at most %d", len(c.Serial), limit)
	}
	if c.Kernel != nil && c.BIOS != nil {
		return errors.New("a kernel and a BIOS: only one of them can be started")
	}
	return nil
}
