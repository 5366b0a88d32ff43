package vmm

import (
	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/vmm/kvm"
)

// PCI lists the functions on the PCI bus.
func (m *Machine) PCI() []pci.Place { return m.pciBus.Places() }

// CPU describes a processor of a machine.
type CPU struct {
	ID     int // of its local APIC
	Place  kvm.Place
	Thread int // of this process, that runs it; 0: none
}

// CPUs lists the processors.
func (m *Machine) CPUs() []CPU {
	var list []CPU
	t := m.config.topology()
	for i, c := range m.cpus {
		list = append(list, CPU{c.vcpu.ID(), t.Place(i), c.vcpu.Thread()})
	}
	return list
}

// MemorySize is the size of the guest's RAM in bytes.
func (m *Machine) MemorySize() uint64 { return m.config.Memory }
