package vmm

import "fmt"

// Cause says what made a machine do something, and on whose side.
type Cause uint8

const (
	// HostRequest is a call of the machine's own methods.
	HostRequest Cause = iota
	// HostEnd is the end of the context that the machine runs in.
	HostEnd
	// HostError is what the host or KVM could not do.
	HostError
	// GuestPowerOff is a guest that entered the soft-off state.
	GuestPowerOff
	// GuestReset is a guest that used one of a PC's ways to reset it.
	GuestReset
	// GuestTripleFault is a guest's processor that shut down.
	GuestTripleFault
	// GuestPanic is a guest's kernel that said that it gave up.
	GuestPanic
	// GuestWatchdog is a guest that did not reload its watchdog.
	GuestWatchdog
	// GuestExit is a guest that wrote to the exit port.
	GuestExit
)

var causeNames = [...]string{
	HostRequest:      "host request",
	HostEnd:          "host end",
	HostError:        "host error",
	GuestPowerOff:    "guest power-off",
	GuestReset:       "guest reset",
	GuestTripleFault: "guest triple fault",
	GuestPanic:       "guest panic",
	GuestWatchdog:    "watchdog",
	GuestExit:        "guest exit",
}

// String names the cause in words.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// Guest reports whether the guest did it.
func (c Cause) Guest() bool { return c >= GuestPowerOff }

// Event is something that happened to a machine: one of the types below.
type Event interface{ event() }

// Ended is the end of the machine's run. It comes once, after which there is no
// other event.
type Ended struct {
	Outcome Outcome
	Cause   Cause
}

// ResetDone is a machine that was reset and starts again.
type ResetDone struct{ Cause Cause }

// Paused is a machine whose processors and devices stand still.
type Paused struct{}

// Resumed is a machine that goes on after it was paused.
type Resumed struct{}

// PowerButtonPressed is a guest that was asked to switch itself off.
type PowerButtonPressed struct{}

// GuestPanicked is a guest whose kernel gave up, and what becomes of it.
type GuestPanicked struct{ Reaction Reaction }

// GuestCrashLoaded is a guest whose kernel crashed and starts another, that dumps
// the memory.
type GuestCrashLoaded struct{}

// WatchdogExpired is a guest that did not reload its watchdog in time, and what
// becomes of it.
type WatchdogExpired struct{ Reaction Reaction }

func (Ended) event()              {}
func (GuestPanicked) event()      {}
func (GuestCrashLoaded) event()   {}
func (WatchdogExpired) event()    {}
func (ResetDone) event()          {}
func (Paused) event()             {}
func (Resumed) event()            {}
func (PowerButtonPressed) event() {}

// notify tells whoever wants to know.
func (m *Machine) notify(e Event) {
	if m.config.Notify != nil {
		m.config.Notify(e)
	}
}
