package main

import (
	"errors"
	"slices"
	"time"

	"github.com/govmm/govmm/vmm"
	"github.com/spf13/cobra"
)

// Exit statuses that say how a guest ended.
const (
	exitReset    = 2
	exitPanic    = 3
	exitWatchdog = 4
	// exitByGuest is the status for the guest's wish 0.
	exitByGuest = 64
	// maxGuestExit is the highest wish that has a status of its own.
	maxGuestExit = 63
)

// outcomeStatus turns the end of a machine into the error that gives its status.
// cause is why it was stopped, if it was.
func outcomeStatus(o vmm.Outcome, exitValue uint32, cause error) error {
	switch o {
	case vmm.PowerOff:
		return nil
	case vmm.Reset:
		return &exitError{exitReset, errors.New("the guest reset the machine")}
	case vmm.Panicked:
		return &exitError{exitPanic, errors.New("the guest's kernel panicked")}
	case vmm.Expired:
		return &exitError{exitWatchdog, errors.New("the watchdog expired")}
	case vmm.Exited:
		return &exitError{code: exitByGuest + int(min(exitValue, maxGuestExit))}
	}
	return stopStatus(cause)
}

// Values of --on-reboot.
const (
	rebootAuto    = "auto"
	rebootRestart = "restart"
	rebootExit    = "exit"
)

// reactionFlags say what becomes of the machine when its guest does something
// special.
type reactionFlags struct {
	onReboot, onPanic, watchdog choice
	exitPort                    bool
	shutdownTimeout             time.Duration
}

func (f *reactionFlags) register(cmd *cobra.Command) {
	f.onReboot = choice{value: rebootAuto, allowed: []string{rebootAuto, rebootRestart, rebootExit}}
	f.onPanic = choice{value: vmm.End.String(), allowed: words(panicReactions())}
	f.watchdog = choice{value: watchdogOff, allowed: append([]string{watchdogOff}, words(watchdogReactions())...)}
	fl := cmd.Flags()
	fl.Var(&f.onReboot, "on-reboot", "what becomes of a guest that resets the machine; auto is restart with a BIOS and exit with a kernel")
	fl.Var(&f.onPanic, "on-panic", "what becomes of a guest whose kernel panics")
	fl.Var(&f.watchdog, "watchdog", "watchdog timer, and what becomes of a guest that does not reload it")
	fl.BoolVar(&f.exitPort, "exit-port", false, "let the guest end the machine through port 0x501")
	fl.DurationVar(&f.shutdownTimeout, "shutdown-timeout", time.Minute, "how long SIGTERM waits for the guest to shut down")
	f.onReboot.complete(cmd, "on-reboot")
	f.onPanic.complete(cmd, "on-panic")
	f.watchdog.complete(cmd, "watchdog")
}

// watchdogOff is a machine without a watchdog.
const watchdogOff = "off"

func panicReactions() []vmm.Reaction {
	return []vmm.Reaction{vmm.End, vmm.PauseIt, vmm.Restart, vmm.Ignore}
}

func watchdogReactions() []vmm.Reaction {
	return []vmm.Reaction{vmm.Restart, vmm.End, vmm.PauseIt, vmm.InterruptIt}
}

// words are the reactions as flags have them.
func words(reactions []vmm.Reaction) []string {
	var list []string
	for _, r := range reactions {
		list = append(list, r.String())
	}
	return list
}

// reactionOf finds the reaction for a word.
func reactionOf(word string, among []vmm.Reaction) (vmm.Reaction, bool) {
	i := slices.IndexFunc(among, func(r vmm.Reaction) bool { return r.String() == word })
	if i < 0 {
		return 0, false
	}
	return among[i], true
}

// reactions is what the flags say.
type reactions struct {
	onReset         vmm.OnReset
	onPanic         vmm.Reaction
	watchdog        *vmm.WatchdogConfig // nil: there is none
	exitPort        bool
	shutdownTimeout time.Duration
}

// reactions resolves auto: a kernel that was given to the machine is a program to
// its user, who wants to know how it ended.
func (f *reactionFlags) reactions(hasKernel bool) reactions {
	r := reactions{onReset: vmm.RestartOnReset, exitPort: f.exitPort, shutdownTimeout: f.shutdownTimeout}
	if f.onReboot.value == rebootExit || f.onReboot.value == rebootAuto && hasKernel {
		r.onReset = vmm.EndOnReset
	}
	r.onPanic, _ = reactionOf(f.onPanic.value, panicReactions())
	if x, ok := reactionOf(f.watchdog.value, watchdogReactions()); ok {
		r.watchdog = &vmm.WatchdogConfig{Reaction: x}
	}
	return r
}

// args are the flags that say so.
func (r reactions) args() []string {
	reboot := rebootRestart
	if r.onReset == vmm.EndOnReset {
		reboot = rebootExit
	}
	args := []string{"--on-reboot", reboot, "--on-panic", r.onPanic.String(), "--shutdown-timeout", r.shutdownTimeout.String()}
	if r.watchdog != nil {
		args = append(args, "--watchdog", r.watchdog.Reaction.String())
	}
	if r.exitPort {
		args = append(args, "--exit-port")
	}
	return args
}

// apply enters the reactions into the machine's configuration.
func (r reactions) apply(c *vmm.Config) {
	c.OnReset, c.OnPanic, c.Watchdog, c.ExitPort = r.onReset, r.onPanic, r.watchdog, r.exitPort
}
