package vmm

import (
	"encoding/binary"
	"errors"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/vmm/kvm"
)

// Model-specific registers that differ from their reset values when a kernel
// starts (Intel SDM volume 4).
const (
	msrMiscEnable   = 0x1a0
	msrMTRRDefType  = 0x2ff
	fastStrings     = 1 << 0
	mtrrEnable      = 1 << 11
	mtrrWriteBack   = 6
	fpuControlReset = 0x37f
	mxcsrReset      = 0x1f80
)

// Local vector table of the local APIC (Intel SDM volume 3, 11.5.1).
const (
	lapicLINT0     = 0x350
	lapicLINT1     = 0x360
	deliverNMI     = 4 << 8
	deliverExtInt  = 7 << 8
	lvtRegisterLen = 4
)

// powerOn prepares a fresh vCPU, which is in its architectural reset state, for
// its first instruction.
//
// All extended states are enabled, as some firmware does, for the sake of KVM on
// processors whose virtualization extension is emulated without the XSETBV
// intercept: there KVM never learns what the guest enables, and would report
// sizes of the state that the guest finds inconsistent.
func powerOn(v *kvm.VCPU, extendedStates uint64) error {
	if extendedStates == 0 {
		return nil
	}
	return v.SetXCR0(extendedStates)
}

// afterBIOS brings a vCPU from its reset state to the one in which a BIOS leaves
// a processor: floating point usable, all memory write-back, the 8259's
// interrupts let through by the local APIC.
func afterBIOS(v *kvm.VCPU) error {
	lapic, err := v.LAPIC()
	if err != nil {
		return err
	}
	for reg, value := range map[int]uint32{lapicLINT0: deliverExtInt, lapicLINT1: deliverNMI} {
		binary.LittleEndian.PutUint32(lapic.Regs[reg:reg+lvtRegisterLen], value)
	}
	return errors.Join(
		v.SetFPU(fpuControlReset, mxcsrReset),
		v.SetMSRs([]kvm.MSR{
			{Index: msrMiscEnable, Value: fastStrings},
			{Index: msrMTRRDefType, Value: mtrrEnable | mtrrWriteBack},
		}),
		v.SetLAPIC(&lapic),
	)
}

// enter puts the processor at the first instruction of a kernel.
func (c *cpu) enter(e firmware.Entry) error {
	sregs, err := c.vcpu.Sregs()
	if err != nil {
		return err
	}
	sregs.CS = segment(e.Code)
	data := segment(e.Data)
	sregs.DS, sregs.ES, sregs.FS, sregs.GS, sregs.SS = data, data, data, data, data
	sregs.TR = segment(e.Task)
	sregs.LDT = kvm.Segment{Unusable: 1}
	sregs.GDT = table(e.GDT)
	sregs.IDT = table(e.IDT)
	sregs.CR0, sregs.CR3, sregs.CR4, sregs.EFER = e.CR0, e.CR3, e.CR4, e.EFER
	return errors.Join(
		c.vcpu.SetSregs(sregs),
		c.vcpu.SetRegs(kvm.Regs{
			RIP: e.RIP, RSP: e.RSP, RBX: e.RBX, RSI: e.RSI, RFLAGS: e.RFLAGS,
		}),
	)
}

func segment(s firmware.Segment) kvm.Segment {
	return kvm.Segment{
		Selector: s.Selector,
		Base:     s.Base,
		Limit:    s.Limit,
		Typ:      s.Type,
		DPL:      s.DPL,
		Present:  flag(s.Present),
		S:        flag(s.S),
		L:        flag(s.Long),
		DB:       flag(s.Default),
		G:        flag(s.Granular),
	}
}

func table(t firmware.DescriptorTable) kvm.Descriptor {
	return kvm.Descriptor{Base: t.Base, Limit: t.Limit}
}

func flag(set bool) uint8 {
	if set {
		return 1
	}
	return 0
}
