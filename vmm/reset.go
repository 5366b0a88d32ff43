package vmm

import (
	"context"
	"errors"
	"fmt"

	"github.com/govmm/govmm/vmm/kvm"
)

// OnReset says what becomes of a machine that its guest resets.
type OnReset uint8

const (
	// EndOnReset ends the machine with the outcome Reset.
	EndOnReset OnReset = iota
	// RestartOnReset starts it again, as a PC does.
	RestartOnReset
)

// settler is a Device that works on for a while after its function was reset.
type settler interface {
	// AwaitReset waits until the device touches the guest's RAM no more for what
	// it was told before the reset.
	AwaitReset(ctx context.Context) error
}

// powerOnState is what a reset brings the chips and processors back to.
type powerOnState struct {
	chips *kvm.ChipState
	cpus  []*kvm.VCPUState // by processor
}

// keepPowerOn keeps the state in which KVM created its chips and the processors.
//
// Preconditions: nothing has run.
func (m *Machine) keepPowerOn(system *kvm.System) (err error) {
	if m.powerOn.chips, err = m.vm.Chips(); err != nil {
		return err
	}
	msrs, err := system.StateMSRs()
	if err != nil {
		return err
	}
	for _, c := range m.cpus {
		s, err := c.vcpu.State(msrs)
		if err != nil {
			return err
		}
		m.powerOn.cpus = append(m.powerOn.cpus, s)
	}
	return nil
}

// Reset resets the machine, as its reset button does. It does not wait, and does
// nothing to a machine that does not run.
func (m *Machine) Reset() { m.requestReset(HostRequest) }

// guestReset is the reset line as the guest drives it. It is called on a vCPU's
// thread, and that vCPU executes nothing after it.
func (m *Machine) guestReset(c Cause) {
	if m.config.OnReset == EndOnReset {
		m.finish(Reset, c, nil)
		return
	}
	m.requestReset(c)
}

// requestReset has Run reset the machine, and lets nothing run until then.
func (m *Machine) requestReset(c Cause) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ending.Load() || !m.started.Load() {
		return
	}
	select {
	case m.resets <- c:
		m.hold(holdReset)
	default: // there is one to come already
	}
}

// restart resets everything and starts the machine again. A machine that is
// paused stays so.
//
// Preconditions: requestReset was called.
func (m *Machine) restart(c Cause) error {
	if m.lockControl(m.life) != nil {
		return nil // it has ended
	}
	defer m.unlockControl()
	m.mu.Lock()
	m.hold(holdReset) // if a reset before this one has taken it back
	m.mu.Unlock()
	if !m.awaitParked() {
		return nil
	}
	m.log.Info("the machine is reset", "by", c)
	if err := m.resetAll(); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	if err := m.boot(); err != nil {
		return fmt.Errorf("start after a reset: %w", err)
	}
	m.notify(ResetDone{c})
	m.stayPaused()
	m.release(holdReset)
	return nil
}

// stayPaused pauses the devices of a machine that was paused when it was reset. What
// it was paused for is over.
//
// Preconditions: the right to control is held, and all processors are parked.
func (m *Machine) stayPaused() {
	if m.Status() == Running {
		return
	}
	if err := m.pauseDevices(m.life); err != nil {
		m.log.Error("the machine can't stay paused after its reset, and goes on", "err", err)
		m.goOn()
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status = PausedByHost
}

// resetAll brings everything into its power-on state: the PCI bus with its
// functions and the devices behind them, the chips, the kernel's chips, the
// processors. The time stamp counters and the paravirtual clock go on.
//
// A BIOS finds the RAM as the guest left it, as on a PC. A kernel that is started
// directly expects what its loader does not write to be zero.
//
// Preconditions: all processors are parked.
func (m *Machine) resetAll() error {
	m.pciBus.Reset()
	m.resumeDevices() // one that is paused does not get to its reset
	for _, d := range m.devices {
		if s, ok := d.(settler); ok {
			if err := s.AwaitReset(m.life); err != nil {
				return fmt.Errorf("%s: %w", d.Function().Name(), err)
			}
		}
	}
	for _, reset := range m.resetters {
		reset()
	}
	errs := []error{m.vm.SetChips(m.powerOn.chips)}
	for i, c := range m.cpus {
		errs = append(errs, c.vcpu.SetState(m.powerOn.cpus[i]))
	}
	if m.config.BIOS == nil {
		errs = append(errs, m.ram.Clear())
	}
	return errors.Join(errs...)
}

// onReset registers what a chip does when the machine is reset.
func (m *Machine) onReset(f func()) { m.resetters = append(m.resetters, f) }
