package kvm

import (
	"errors"
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// ChipState is the state of the chips that KVM models: the two 8259s, the I/O
// APIC and the 8254.
type ChipState struct {
	controllers [3]gokvm.IRQChip // by number
	timer       gokvm.PITState2
}

// Chips reads the chips.
func (vm *VM) Chips() (*ChipState, error) {
	s := &ChipState{}
	for i := range s.controllers {
		s.controllers[i].ChipID = uint32(i)
		if err := gokvm.GetIRQChip(uintptr(vm.fd), &s.controllers[i]); err != nil {
			return nil, callError("KVM_GET_IRQCHIP", err)
		}
	}
	return s, callError("KVM_GET_PIT2", gokvm.GetPIT2(uintptr(vm.fd), &s.timer))
}

// SetChips writes the chips. No vCPU may be in the guest.
func (vm *VM) SetChips(s *ChipState) error {
	for i := range s.controllers {
		if err := gokvm.SetIRQChip(uintptr(vm.fd), &s.controllers[i]); err != nil {
			return callError("KVM_SET_IRQCHIP", err)
		}
	}
	return callError("KVM_SET_PIT2", gokvm.SetPIT2(uintptr(vm.fd), &s.timer))
}

// Clock reads the guest's paravirtual clock, in nanoseconds.
func (vm *VM) Clock() (uint64, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	err := gokvm.GetClock(uintptr(vm.fd), &vm.clock)
	return vm.clock.Clock, callError("KVM_GET_CLOCK", err)
}

// SetClock sets the guest's paravirtual clock.
func (vm *VM) SetClock(ns uint64) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.clock = gokvm.ClockData{Clock: ns}
	return callError("KVM_SET_CLOCK", gokvm.SetClock(uintptr(vm.fd), &vm.clock))
}

// Model-specific registers that are not part of a vCPU's state here: time goes
// on, and the base of the local APIC is among the segment registers.
const (
	msrTSC      = 0x10
	msrAPICBase = 0x1b
)

// memoryTypeMSRs are the registers of memory types (Intel SDM volume 3,
// 12.11), which kernels do not list.
func memoryTypeMSRs() []uint32 {
	list := []uint32{0x2ff, 0x250, 0x258, 0x259}
	for i := uint32(0x268); i <= 0x26f; i++ { // fixed ranges of 4 KiB
		list = append(list, i)
	}
	for i := uint32(0x200); i <= 0x20f; i++ { // variable ranges
		list = append(list, i)
	}
	return list
}

// StateMSRs lists the model-specific registers that make up a vCPU's state on
// this host.
func (s *System) StateMSRs() ([]uint32, error) {
	list := &s.msrs
	list.NMSRs = uint32(len(list.Indicies))
	if err := gokvm.GetMSRIndexList(uintptr(s.fd), list); err != nil {
		return nil, callError("KVM_GET_MSR_INDEX_LIST", err)
	}
	all := memoryTypeMSRs()
	for _, index := range list.Indicies[:min(int(list.NMSRs), len(list.Indicies))] {
		if index != msrTSC && index != msrAPICBase {
			all = append(all, index)
		}
	}
	return all, nil
}

// VCPUState is all that a vCPU holds, except for its time stamp counter.
type VCPUState struct {
	regs    Regs
	sregs   Sregs
	xsave   []byte
	xcrs    gokvm.XCRS
	debug   gokvm.DebugRegs
	lapic   LAPIC
	events  gokvm.VCPUEvents
	mpState MPState
	msrs    []MSR
}

// State reads the vCPU with those of the given model-specific registers that it
// has.
//
// Preconditions: the vCPU is not in Run.
func (v *VCPU) State(msrs []uint32) (*VCPUState, error) {
	s := &VCPUState{}
	var errs [6]error
	// First, because it carries out an INIT that waits.
	s.mpState, errs[0] = v.MPState()
	s.regs, errs[1] = v.Regs()
	s.sregs, errs[2] = v.Sregs()
	s.lapic, errs[3] = v.LAPIC()
	s.xsave, errs[4] = getXSave(v.fd, v.xsaveSize)
	s.msrs, errs[5] = v.msrValues(msrs)
	return s, errors.Join(append(errs[:],
		callError("KVM_GET_XCRS", gokvm.GetXCRS(uintptr(v.fd), &s.xcrs)),
		callError("KVM_GET_DEBUGREGS", gokvm.GetDebugRegs(uintptr(v.fd), &s.debug)),
		callError("KVM_GET_VCPU_EVENTS", gokvm.GetVCPUEvents(uintptr(v.fd), &s.events)))...)
}

// SetState writes the vCPU.
//
// Preconditions: the vCPU is not in Run, and its last access was completed.
func (v *VCPU) SetState(s *VCPUState) error {
	if _, err := v.MPState(); err != nil { // carries out an INIT that waits
		return err
	}
	lapic := s.lapic
	err := errors.Join(
		v.SetRegs(s.regs),
		v.SetSregs(s.sregs), // has the base of the local APIC
		callError("KVM_SET_XSAVE", setXSave(v.fd, s.xsave)),
		callError("KVM_SET_XCRS", gokvm.SetXCRS(uintptr(v.fd), &s.xcrs)),
		callError("KVM_SET_DEBUGREGS", gokvm.SetDebugRegs(uintptr(v.fd), &s.debug)),
		v.SetLAPIC(&lapic), // before the deadline of its timer, which is a register
		v.setMSRValues(s.msrs),
		callError("KVM_SET_VCPU_EVENTS", gokvm.SetVCPUEvents(uintptr(v.fd), &s.events)),
		v.SetMPState(s.mpState),
	)
	if err != nil {
		return fmt.Errorf("vCPU %d: %w", v.id, err)
	}
	return nil
}

// msrValues reads those of the registers that the vCPU has.
func (v *VCPU) msrValues(indexes []uint32) ([]MSR, error) {
	var known []MSR
	for len(indexes) > 0 {
		some := indexes[:min(len(indexes), maxMSRs)]
		values := make([]MSR, len(some))
		for i, index := range some {
			values[i].Index = index
		}
		n, err := getMSRs(v.fd, values)
		if err != nil {
			return nil, callError("KVM_GET_MSRS", err)
		}
		known = append(known, values[:n]...)
		if n < len(some) {
			n++ // the kernel stopped at one that this vCPU does not have
		}
		indexes = indexes[n:]
	}
	return known, nil
}

// setMSRValues writes registers that were read before. One that the kernel does
// not let anybody write has the value still.
func (v *VCPU) setMSRValues(list []MSR) error {
	for len(list) > 0 {
		some := list[:min(len(list), maxMSRs)]
		n, err := setMSRs(v.fd, some)
		if err != nil {
			return callError("KVM_SET_MSRS", err)
		}
		if n < len(some) {
			n++
		}
		list = list[n:]
	}
	return nil
}

// NotifyPaused tells the guest, if it uses the paravirtual clock, that it was not
// stuck but stopped.
func (v *VCPU) NotifyPaused() { kvmclockControl(v.fd) }

// InjectNMI sends the vCPU a non-maskable interrupt.
//
// Preconditions: called between Enter and Leave.
func (v *VCPU) InjectNMI() { injectNMI(v.fd) }
