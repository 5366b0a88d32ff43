package vmm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/govmm/govmm/vmm/kvm"
)

// cpu is a virtual processor and the loop that runs it.
type cpu struct {
	m     *Machine
	vcpu  *kvm.VCPU
	nmi   atomic.Bool                 // a non-maskable interrupt is to be delivered
	exits [kvm.NumExits]atomic.Uint64 // by kind; written by the loop only
}

// addCPUs creates the processors.
func (m *Machine) addCPUs(system *kvm.System, supported []kvm.CPUIDEntry) error {
	t := m.config.topology()
	for n := range m.config.CPUs {
		id := t.APICID(n)
		v, err := m.vm.CreateVCPU(id)
		if err != nil {
			return err
		}
		m.onRelease(ignoring(v.Close))
		m.cpus = append(m.cpus, &cpu{m: m, vcpu: v})
		leaves := kvm.GuestCPUID(supported, kvm.CPU{
			ID:          id,
			Topology:    t,
			TSCDeadline: system.HasTSCDeadline(),
			TSCKHz:      v.TSCKHz(),
		})
		if id == 0 {
			m.leaves = leaves
		}
		if err := v.SetCPUID(leaves); err != nil {
			return fmt.Errorf("vCPU %d: %w", id, err)
		}
		if err := powerOn(v, kvm.ExtendedStates(supported)); err != nil {
			return fmt.Errorf("vCPU %d: %w", id, err)
		}
	}
	return nil
}

// run executes the guest until the machine ends.
func (c *cpu) run() {
	c.vcpu.Enter()
	defer c.vcpu.Leave()
	if !c.m.park() {
		return
	}
	for !c.m.ending.Load() {
		exit, err := c.vcpu.Run()
		if int(exit) < len(c.exits) {
			c.exits[exit].Add(1)
		}
		switch {
		case err == nil:
			c.dispatch(exit)
		case errors.Is(err, kvm.ErrInterrupted):
			// A kick, or the Go runtime's own signal: what kicks are for is looked
			// at after the kick is taken back.
			c.vcpu.ClearKick()
			if c.nmi.Swap(false) {
				c.vcpu.InjectNMI()
			}
			c.m.park()
		case errors.Is(err, kvm.ErrNotReady):
			// A secondary processor took an INIT.
		default:
			c.m.finish(Failed, HostError, err)
		}
	}
}

// dispatch does what an exit asks for. The two kinds of device access do not
// allocate.
func (c *cpu) dispatch(exit kvm.Exit) {
	switch exit {
	case kvm.ExitIO:
		c.portAccess(c.vcpu.IO())
	case kvm.ExitMMIO:
		c.memoryAccess(c.vcpu.MMIO())
	case kvm.ExitShutdown: // a triple fault resets a PC
		c.tripleFault()
	case kvm.ExitSystemEvent:
		c.systemEvent(c.vcpu.SystemEvent())
	case kvm.ExitInternalError:
		c.m.finish(Failed, HostError, c.internalError(c.vcpu.InternalError()))
	case kvm.ExitFailEntry:
		c.m.finish(Failed, HostError, fmt.Errorf("vCPU %d: the processor refused to enter the guest (reason %#x)", c.vcpu.ID(), c.vcpu.FailEntryReason()))
	default:
		c.m.finish(Failed, HostError, fmt.Errorf("vCPU %d: unexpected exit %q", c.vcpu.ID(), exit))
	}
}

// portAccess answers an IN or OUT, or each unit of an INS or OUTS, all of which
// go to the same port.
func (c *cpu) portAccess(io kvm.IO) {
	for data := io.Data; len(data) >= io.Size && io.Size > 0; data = data[io.Size:] {
		if io.Out {
			c.m.ports.Write(uint64(io.Port), data[:io.Size])
		} else {
			c.m.ports.Read(uint64(io.Port), data[:io.Size])
		}
	}
}

// memoryAccess answers an access to an address without memory.
func (c *cpu) memoryAccess(m kvm.MMIO) {
	if m.Write {
		c.m.mmio.Write(m.Addr, m.Data)
	} else {
		c.m.mmio.Read(m.Addr, m.Data)
	}
}

func (c *cpu) systemEvent(e kvm.SystemEvent) {
	switch e {
	case kvm.SystemShutdown:
		c.m.finish(PowerOff, GuestPowerOff, nil)
	case kvm.SystemReset:
		c.m.guestReset(GuestReset)
	default:
		c.m.finish(Failed, HostError, fmt.Errorf("vCPU %d: the guest crashed (system event %d)", c.vcpu.ID(), e))
	}
}

// tripleFault resets the machine. What the log gets of the processor's state is what KVM
// left of it: on AMD that of a processor after INIT.
func (c *cpu) tripleFault() {
	if c.m.log.Enabled(context.Background(), slog.LevelDebug) {
		log := c.m.log.With("by", "triple fault", "vcpu", c.vcpu.ID())
		regs, err := c.vcpu.Regs()
		sregs, failed := c.vcpu.Sregs()
		if err = errors.Join(err, failed); err != nil {
			log = log.With("err", err)
		} else {
			hex := func(v uint64) string { return fmt.Sprintf("%#x", v) }
			log = log.With("rip", hex(regs.RIP), "rsp", hex(regs.RSP), "rflags", hex(regs.RFLAGS),
				"cr0", hex(sregs.CR0), "cr2", hex(sregs.CR2), "cr3", hex(sregs.CR3), "cr4", hex(sregs.CR4), "efer", hex(sregs.EFER))
		}
		log.Debug("the guest resets the machine")
	}
	c.m.guestReset(GuestTripleFault)
}

// internalError says in one line what KVM could not do, and where.
func (c *cpu) internalError(e kvm.InternalError) error {
	regs, err := c.vcpu.Regs()
	if err != nil {
		return fmt.Errorf("vCPU %d: KVM %s; %w", c.vcpu.ID(), e.Reason(), err)
	}
	insn := e.Insn
	if len(insn) == 0 {
		insn = c.instruction(regs.RIP)
	}
	return fmt.Errorf("vCPU %d: KVM %s at rip %#x (bytes % x)", c.vcpu.ID(), e.Reason(), regs.RIP, insn)
}

// instruction reads the bytes at the instruction pointer, as far as they are in
// one page of RAM.
func (c *cpu) instruction(rip uint64) []byte {
	const longest, pageSize = 15, 4096
	sregs, err := c.vcpu.Sregs()
	if err != nil {
		return nil
	}
	linear := sregs.CS.Base + rip
	addr, ok := c.vcpu.Translate(linear)
	if !ok {
		return nil
	}
	insn := make([]byte, min(longest, pageSize-linear%pageSize))
	if c.m.ram.ReadAt(insn, addr) != nil {
		return nil
	}
	return insn
}
