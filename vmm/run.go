package vmm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Outcome is how a machine ended.
type Outcome uint8

const (
	// Failed is a machine that could not be started or that KVM gave up on.
	Failed Outcome = iota
	// PowerOff is a guest that switched the machine off.
	PowerOff
	// Reset is a guest that reset the machine, or crashed it (triple fault).
	Reset
	// Stopped is a machine that was told to stop.
	Stopped
	// Panicked is a machine whose guest said that its kernel gave up.
	Panicked
	// Expired is a machine whose watchdog expired.
	Expired
	// Exited is a guest that ended the machine through the exit port.
	Exited
)

// String names the outcome in lower case.
func (o Outcome) String() string {
	switch o {
	case Failed:
		return "failed"
	case PowerOff:
		return "power-off"
	case Reset:
		return "reset"
	case Stopped:
		return "stopped"
	case Panicked:
		return "panicked"
	case Expired:
		return "watchdog expired"
	case Exited:
		return "exited"
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// flushLimit is how long the end of a run waits for a slow reader of the guest's
// output.
const flushLimit = 10 * time.Second

// Run starts the guest and returns when it ended, or was ended by ctx or Stop.
// The error is nil but for Failed, and where output of the guest was lost. All
// vCPUs have left the guest then, and Config.Notify was told of the end; devices
// may still be busy until Close. A machine runs once.
func (m *Machine) Run(ctx context.Context) (Outcome, error) {
	if m.started.Swap(true) {
		return Failed, errors.New("the machine ran already")
	}
	m.mu.Lock()
	m.status = Running
	m.mu.Unlock()
	if err := m.boot(); err != nil {
		m.finish(Failed, HostError, err)
		return Failed, err
	}
	var running sync.WaitGroup
	for _, c := range m.cpus {
		running.Go(c.run)
	}
	// Not before: the guest need not wait for it.
	if err := m.vm.DropLateTicks(); err != nil {
		m.finish(Failed, HostError, err)
	}
	m.attend(ctx)
	running.Wait()
	<-m.told

	m.mu.Lock()
	outcome, err := m.outcome, m.failure
	m.mu.Unlock()
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLimit)
	defer cancel()
	return outcome, errors.Join(err, m.flushChips(flush))
}

// attend carries out what vCPUs can't do to themselves, until the machine ends.
func (m *Machine) attend(ctx context.Context) {
	for {
		select {
		case <-m.life.Done():
			return
		case <-ctx.Done():
			m.finish(Stopped, HostEnd, nil)
		case r := <-m.pauses:
			m.pauseAsRequested(ctx, r)
		case <-m.remaps:
			if err := m.remap(); err != nil {
				m.finish(Failed, HostError, err)
			}
		case cause := <-m.resets:
			if err := m.restart(cause); err != nil {
				m.finish(Failed, HostError, err)
			}
		}
	}
}

// Stop makes Run return, as if the plug were pulled. It does not wait.
func (m *Machine) Stop() { m.finish(Stopped, HostRequest, nil) }

// finish ends the machine; only the first call counts. It may be called from a
// handler on a vCPU's thread, and does not wait.
func (m *Machine) finish(o Outcome, c Cause, err error) {
	m.mu.Lock()
	if m.ending.Load() {
		m.mu.Unlock()
		return
	}
	m.outcome, m.failure = o, err
	m.ending.Store(true)
	m.end()
	m.turn.Broadcast()
	m.kickAll()
	m.mu.Unlock()
	m.notify(Ended{o, c})
	close(m.told)
}
