package vmm

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/vmm/kvm"
)

// Config describes a machine.
type Config struct {
	// Memory is the size of the guest's RAM in bytes, a multiple of 4 KiB.
	Memory uint64
	// HugePages backs the RAM with the host's transparent huge pages.
	HugePages bool
	// CPUs is the number of processors, at least 1.
	CPUs int
	// Kernel is what is started, Initrd its initial RAM disk or nil, Cmdline
	// its command line. Package firmware says which kernels are understood.
	Kernel, Initrd firmware.Source
	Cmdline        string
	// Serial has up to two serial ports: COM1 and COM2.
	Serial []SerialConfig
	// Logger gets what a person who runs the machine should know; nil discards.
	Logger *slog.Logger
}

// SerialConfig is what is at the other end of a serial line.
type SerialConfig struct {
	In  io.Reader // what the guest receives; nil: nothing
	Out io.Writer // what the guest sends; nil: discarded
}

// maxCPUs is what 8-bit local APIC ids can number: 255 is the broadcast.
const maxCPUs = 255

// check refuses what package firmware does not check.
func (c *Config) check(s *kvm.System) error {
	if limit := min(maxCPUs, s.MaxVCPUs()); c.CPUs < 1 || c.CPUs > limit {
		return fmt.Errorf("%d processors: must be 1 to %d", c.CPUs, limit)
	}
	if limit := len(serialPorts()); len(c.Serial) > limit {
		return fmt.Errorf("%d serial ports: at most %d", len(c.Serial), limit)
	}
	return nil
}
