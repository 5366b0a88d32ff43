package vmm

import (
	"github.com/govmm/govmm/vmm/bus"
	"github.com/govmm/govmm/vmm/kvm"
)

// Stats is what a machine did so far. Taken while it runs, the figures may be an
// exit or two apart.
type Stats struct {
	// Exits counts the times that vCPUs came back from the guest, by kind.
	// "interrupted" are signals, most of them the Go runtime's.
	Exits map[string]uint64 `json:"exits"`
	// Ports and Memory say which devices the "io" and "mmio" exits went to,
	// busiest first. A range without a name is all that nobody has mapped.
	Ports  []bus.RangeStats `json:"ports"`
	Memory []bus.RangeStats `json:"memory"`
	// LineChanges counts rising and falling interrupt lines, Messages
	// message-signalled interrupts, Undelivered those of them that the guest
	// did not take.
	LineChanges uint64 `json:"line_changes"`
	Messages    uint64 `json:"messages"`
	Undelivered uint64 `json:"undelivered"`
}

// Accesses is the number of exits in which the guest accessed a device.
func (s Stats) Accesses() uint64 {
	return s.Exits[kvm.ExitIO.String()] + s.Exits[kvm.ExitMMIO.String()]
}

// Stats returns the machine's counters.
func (m *Machine) Stats() Stats {
	s := Stats{
		Exits:       make(map[string]uint64),
		Ports:       m.ports.Stats(),
		Memory:      m.mmio.Stats(),
		LineChanges: m.platform.lineChanges.Load(),
		Messages:    m.platform.messages.Load(),
		Undelivered: m.platform.undelivered.Load(),
	}
	for _, c := range m.cpus {
		for kind := range c.exits {
			if n := c.exits[kind].Load(); n > 0 {
				s.Exits[kvm.Exit(kind).String()] += n
			}
		}
	}
	return s
}

// KernelStatistics returns what KVM has counted of the machine as a whole, and of each
// processor. Kernels that count nothing to be read give kvm.ErrNoStatistics.
func (m *Machine) KernelStatistics() (machine []kvm.Statistic, cpus [][]kvm.Statistic, err error) {
	if machine, err = m.vm.Statistics(); err != nil {
		return nil, nil, err
	}
	for _, c := range m.cpus {
		s, err := c.vcpu.Statistics()
		if err != nil {
			return nil, nil, err
		}
		cpus = append(cpus, s)
	}
	return machine, cpus, nil
}
