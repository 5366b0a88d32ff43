package vmm

import (
	"context"
	"errors"
	"fmt"
)

// Status is what a machine is doing.
type Status uint8

const (
	NotStarted Status = iota
	Running
	// PausedByHost is a machine that Pause stopped.
	PausedByHost
	// PausedByIOError is a machine that stands still because of PauseOnIOError.
	PausedByIOError
	// PausedByPanic is a machine that stands still because its guest panicked.
	PausedByPanic
	// PausedByWatchdog is a machine that stands still because its watchdog expired.
	PausedByWatchdog
	HasEnded
)

var statusNames = [...]string{
	NotStarted:       "not started",
	Running:          "running",
	PausedByHost:     "paused",
	PausedByIOError:  "paused after an I/O error",
	PausedByPanic:    "paused after a panic",
	PausedByWatchdog: "paused by the watchdog",
	HasEnded:         "ended",
}

// String names the status in words.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Status returns what the machine is doing now. One that is being reset runs.
func (m *Machine) Status() Status {
	switch {
	case m.ending.Load():
		return HasEnded
	case !m.started.Load():
		return NotStarted
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

// ErrNotRunning means that a machine has not started, or has ended.
var ErrNotRunning = errors.New("the machine does not run")

// pauser is a Device whose work can be stopped and taken up again.
type pauser interface {
	// Pause ends what is under way and makes it durable. From then on the device
	// touches the guest's RAM no more, and signals nothing, until Resume. If ctx
	// ends first it returns an error, and the device goes on. Resume may be called
	// for a device that is not paused.
	Pause(ctx context.Context) error
	Resume()
}

// lockControl waits for its turn to pause, resume or reset the machine.
func (m *Machine) lockControl(ctx context.Context) error {
	select {
	case m.control <- struct{}{}:
		return nil
	case <-m.life.Done():
		return ErrNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (m *Machine) unlockControl() { <-m.control }

// Pause stops processors and devices. When it returns without an error, the guest
// does not run, its RAM does not change, and what its disks have completed is
// durable. The guest's paravirtual clock stands still as well; its timers do not,
// but what they missed is made up for at once. A machine that is paused already
// stays so.
func (m *Machine) Pause(ctx context.Context) error {
	return m.pause(ctx, pauseRequest{why: PausedByHost})
}

func (m *Machine) pause(ctx context.Context, r pauseRequest) error {
	if !m.started.Load() {
		return ErrNotRunning
	}
	if err := m.lockControl(ctx); err != nil {
		return err
	}
	defer m.unlockControl()
	m.mu.Lock()
	if m.status != Running || r.outdated(m) {
		if m.status != Running {
			m.status = max(m.status, r.why)
		}
		m.mu.Unlock()
		return nil
	}
	m.hold(holdPause)
	m.mu.Unlock()
	if !m.awaitParked() {
		return ErrNotRunning
	}
	if err := m.pauseDevices(ctx); err != nil {
		m.release(holdPause)
		return err
	}
	clock, err := m.vm.Clock()
	if err != nil {
		m.log.Warn("the guest's clock goes on while it is paused", "err", err)
	}
	m.mu.Lock()
	m.status, m.clock = r.why, clock
	m.mu.Unlock()
	m.notify(Paused{})
	return nil
}

// PauseOnIOError has the machine pause because of a transfer of a device's that nobody
// but the host can help, and that the device tries again when it is resumed. It may be
// called by any goroutine, and does not wait.
func (m *Machine) PauseOnIOError() { m.requestPause(PausedByIOError) }

// pauseDevices pauses all devices, or none.
func (m *Machine) pauseDevices(ctx context.Context) error {
	for _, d := range m.devices {
		p, ok := d.(pauser)
		if !ok {
			continue
		}
		if err := p.Pause(ctx); err != nil {
			m.resumeDevices() // also those that were to pause for PauseOnIOError
			return fmt.Errorf("pause %s: %w", d.Function().Name(), err)
		}
	}
	return nil
}

func (m *Machine) resumeDevices() {
	for _, d := range m.devices {
		if p, ok := d.(pauser); ok {
			p.Resume()
		}
	}
}

// Resume lets a machine that was paused go on. One that runs is left alone.
func (m *Machine) Resume(ctx context.Context) error {
	if !m.started.Load() {
		return ErrNotRunning
	}
	if err := m.lockControl(ctx); err != nil {
		return err
	}
	defer m.unlockControl()
	m.mu.Lock()
	paused, clock := m.status != Running, m.clock
	m.mu.Unlock()
	if !paused {
		return nil
	}
	if clock != 0 {
		if err := m.vm.SetClock(clock); err != nil {
			m.log.Warn("the guest's clock was not stopped while it was paused", "err", err)
		}
	}
	for _, c := range m.cpus {
		c.vcpu.NotifyPaused()
	}
	m.goOn()
	return nil
}

// goOn ends a pause. A device that has to stop the machine at once does so after it
// was told that the machine goes on.
//
// Preconditions: the right to control is held.
func (m *Machine) goOn() {
	m.mu.Lock()
	m.status = Running
	m.resumes++
	m.mu.Unlock()
	m.notify(Resumed{})
	m.resumeDevices()
	m.release(holdPause)
}
