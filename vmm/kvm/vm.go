package kvm

import (
	"fmt"
	"sync"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// VM is a virtual machine.
type VM struct {
	fd        int
	runSize   int
	xsaveSize int

	mu     sync.Mutex
	region gokvm.UserspaceMemoryRegion // argument of the call in flight; guarded by mu
	clock  gokvm.ClockData             // argument of the call in flight; guarded by mu
}

// ReservedPages is the number of 4 KiB pages that SetReservedPages takes.
const ReservedPages = 4

// SetReservedPages gives KVM the four guest-physical pages at base that some
// Intel processors need to run real mode (an identity page table and a task
// state segment). Nothing else may be there; the guest's memory map has to call
// it reserved. It must come before the first vCPU.
func (vm *VM) SetReservedPages(base uint64) error {
	if err := setIdentityMapAddr(vm.fd, base); err != nil {
		return callError("KVM_SET_IDENTITY_MAP_ADDR", err)
	}
	tss := base + pageSize
	if tss>>32 != 0 {
		return fmt.Errorf("reserved pages at %#x: must lie below 4 GiB", base)
	}
	return callError("KVM_SET_TSS_ADDR", gokvm.SetTSSAddr(uintptr(vm.fd), uint32(tss)))
}

// CreateIRQChip creates the two 8259 controllers, the I/O APIC and a local APIC
// in every vCPU created afterwards.
func (vm *VM) CreateIRQChip() error {
	return callError("KVM_CREATE_IRQCHIP", gokvm.CreateIRQChip(uintptr(vm.fd)))
}

// CreatePIT creates the 8254 timer, which answers ports 0x40 to 0x43 and 0x61.
// Ticks that the guest is too slow to take come later, until DropLateTicks.
func (vm *VM) CreatePIT() error {
	return callError("KVM_CREATE_PIT2", createPIT2(vm.fd, pitSpeakerDummy))
}

// DropLateTicks has the 8254 timer drop the ticks that the guest was too slow to
// take, instead of making up for them: guests that count ticks are rare, guests that
// are flooded by them suffer, and KVM uses no interrupt controller of the processor's
// as long as it makes up for ticks. The guest may be running. The kernel lets those
// wait who call it: for tens of milliseconds, most of them asleep.
func (vm *VM) DropLateTicks() error {
	return callError("KVM_REINJECT_CONTROL", gokvm.ReinjectControl(uintptr(vm.fd), 0))
}

// MemoryFlags describes a memory slot.
type MemoryFlags uint32

// Values of the kernel's struct kvm_userspace_memory_region.
const (
	MemoryLogDirty MemoryFlags = 1 << 0
	MemoryReadOnly MemoryFlags = 1 << 1 // guest writes become MMIO exits
)

// SetMemory enters mem as the guest's memory at guest-physical address gpa.
// Both must be page aligned, and mem must not be Go heap memory and must stay
// mapped for as long as the slot is there. An empty mem deletes the slot.
func (vm *VM) SetMemory(slot int, gpa uint64, mem []byte, flags MemoryFlags) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.region = gokvm.UserspaceMemoryRegion{
		Slot:          uint32(slot),
		Flags:         uint32(flags),
		GuestPhysAddr: gpa,
		MemorySize:    uint64(len(mem)),
		UserspaceAddr: addressOf(mem),
	}
	if err := gokvm.SetUserMemoryRegion(uintptr(vm.fd), &vm.region); err != nil {
		return fmt.Errorf("KVM_SET_USER_MEMORY_REGION: slot %d, %#x bytes at %#x: %w", slot, len(mem), gpa, err)
	}
	return nil
}

// SetIRQ drives the line of a global system interrupt. It does not allocate and
// does not wait.
func (vm *VM) SetIRQ(gsi int, asserted bool) error {
	return irqLine(vm.fd, uint32(gsi), asserted)
}

// SignalMSI sends a message-signalled interrupt. It reports false where the
// guest blocked it (its local APIC is disabled). It does not allocate and does
// not wait.
func (vm *VM) SignalMSI(addr uint64, data uint32) (delivered bool, err error) {
	return signalMSI(vm.fd, addr, data)
}

// SetRouting replaces the routes of all global system interrupts.
func (vm *VM) SetRouting(routes []Route) error {
	return callError("KVM_SET_GSI_ROUTING", setGSIRouting(vm.fd, routes))
}

// CreateVCPU creates the vCPU whose local APIC has the given id. The one with id
// 0 is the boot processor; the others wait for INIT and start-up interrupts.
func (vm *VM) CreateVCPU(id int) (*VCPU, error) {
	fd, err := gokvm.CreateVCPU(uintptr(vm.fd), id)
	if err != nil {
		return nil, fmt.Errorf("KVM_CREATE_VCPU %d: %w", id, err)
	}
	run, err := unix.Mmap(int(fd), 0, vm.runSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(int(fd))
		return nil, fmt.Errorf("map the shared page of vCPU %d: %w", id, err)
	}
	return newVCPU(id, int(fd), run, vm.xsaveSize), nil
}

// Close closes the machine. The kernel keeps it until its vCPUs are closed too.
func (vm *VM) Close() error { return unix.Close(vm.fd) }
