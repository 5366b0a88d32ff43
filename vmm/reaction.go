package vmm

import (
	"context"
	"fmt"
	"time"

	"github.com/govmm/govmm/vmm/chipset"
	"github.com/govmm/govmm/vmm/watchdog"
)

// Reaction is what becomes of a machine whose guest panicked or whose watchdog
// expired.
type Reaction uint8

const (
	// Ignore lets it go on.
	Ignore Reaction = iota
	// End ends it, with an outcome that says why.
	End
	// PauseIt pauses it, for somebody to look at.
	PauseIt
	// Restart resets it.
	Restart
	// InterruptIt sends a non-maskable interrupt to all processors, at which
	// most kernels dump their state.
	InterruptIt
)

var reactionNames = [...]string{Ignore: "ignore", End: "exit", PauseIt: "pause", Restart: "restart", InterruptIt: "nmi"}

// String is the word for the reaction.
func (r Reaction) String() string {
	if int(r) < len(reactionNames) {
		return reactionNames[r]
	}
	return fmt.Sprintf("reaction %d", uint8(r))
}

// portExit is where a device takes the guest's wish to end.
const portExit = 0x501

// portPanic is where pvpanic is.
const portPanic = 0x505

// slotWatchdog is the watchdog's place on the PCI bus.
const slotWatchdog = 4

// addReporters creates the devices by which the guest says how it is.
func (m *Machine) addReporters() error {
	ranges := []portRange{{"panic", portPanic, 1, chipset.NewPanicPort(m.guestPanicked)}}
	if m.config.ExitPort {
		ranges = append(ranges, portRange{"exit", portExit, chipset.ExitPortSize, chipset.NewExitPort(m.guestExit)})
	}
	if err := m.mapPorts(ranges); err != nil || m.config.Watchdog == nil {
		return err
	}
	return m.AddDevice(slotWatchdog, watchdog.New(watchdog.Config{Fire: m.watchdogExpired}))
}

// guestPanicked is called with what the guest wrote to the pvpanic port, on a vCPU's
// thread.
func (m *Machine) guestPanicked(e chipset.PanicEvents) {
	if !e.Has(chipset.Panicked) {
		m.warn("the guest crashed and starts a kernel to dump its memory")
		m.notify(GuestCrashLoaded{})
		return
	}
	m.warn("the guest panicked", "reaction", m.config.OnPanic)
	m.notify(GuestPanicked{m.config.OnPanic})
	m.react(m.config.OnPanic, Panicked, GuestPanic, PausedByPanic)
}

// watchdogExpired is called on a goroutine of the watchdog's timer.
func (m *Machine) watchdogExpired() {
	m.warn("the watchdog expired", "reaction", m.config.Watchdog.Reaction)
	m.notify(WatchdogExpired{m.config.Watchdog.Reaction})
	m.react(m.config.Watchdog.Reaction, Expired, GuestWatchdog, PausedByWatchdog)
}

// guestExit ends the machine as the guest wishes.
func (m *Machine) guestExit(value uint32) {
	m.mu.Lock()
	if !m.ending.Load() {
		m.exitValue = value
	}
	m.mu.Unlock()
	m.finish(Exited, GuestExit, nil)
}

// ExitValue is what the guest wrote to the exit port, after the outcome Exited.
func (m *Machine) ExitValue() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exitValue
}

// react does what is to become of the machine. It does not wait.
func (m *Machine) react(r Reaction, o Outcome, c Cause, paused Status) {
	switch r {
	case End:
		m.finish(o, c, nil)
	case PauseIt:
		m.requestPause(paused)
	case Restart:
		m.requestReset(c)
	case InterruptIt:
		m.InjectNMI()
	}
}

// pauseLimit is how long the devices have to end what they are at when the guest
// made the machine pause.
const pauseLimit = 30 * time.Second

// pauseRequest is a pause that somebody who can't wait has asked for.
type pauseRequest struct {
	why     Status
	resumes uint64 // Machine.resumes when it was asked for
}

// outdated reports whether the machine was resumed since, and what failed was tried
// again with that.
//
// Preconditions: m.mu is held.
func (r pauseRequest) outdated(m *Machine) bool {
	return r.why == PausedByIOError && r.resumes != m.resumes
}

// requestPause has Run pause the machine, and lets nothing run until then.
func (m *Machine) requestPause(why Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ending.Load() {
		return
	}
	r := pauseRequest{why, m.resumes}
	select {
	case before := <-m.pauses: // one that is to come already
		r.why = max(r.why, before.why)
	default:
	}
	m.pauses <- r // there is room: nobody else sends
	m.hold(holdReaction)
}

// pauseAsRequested carries out requestPause.
func (m *Machine) pauseAsRequested(ctx context.Context, r pauseRequest) {
	ctx, cancel := context.WithTimeout(ctx, pauseLimit)
	defer cancel()
	if err := m.pause(ctx, r); err != nil {
		m.log.Error("the machine can't be paused, and goes on", "err", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.pauses) == 0 { // else there is another reason by now
		m.drop(holdReaction)
	}
}

// InjectNMI sends a non-maskable interrupt to all processors.
func (m *Machine) InjectNMI() {
	for _, c := range m.cpus {
		c.nmi.Store(true)
		c.vcpu.Kick()
	}
}
