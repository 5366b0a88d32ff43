package main

import (
	"cmp"

	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/vmm"
)

// Data of events (QEMU, qapi/run-state.json and qapi/block-core.json).
type (
	causeData struct {
		Guest  bool   `json:"guest"`
		Reason reason `json:"reason"`
	}
	panicData struct {
		Action panicAction `json:"action"`
	}
	watchdogData struct {
		Action watchdogAction `json:"action"`
	}
	deviceData struct {
		Device string `json:"device,omitempty"`
		Path   string `json:"path"`
	}
	ioErrorData struct {
		Device    string        `json:"device"`
		Node      string        `json:"node-name,omitempty"`
		Operation operation     `json:"operation"`
		Action    ioErrorAction `json:"action"`
		NoSpace   bool          `json:"nospace,omitempty"`
		Reason    string        `json:"reason"`
	}
	// firmwareData is an event of the controller's firmware.
	firmwareData struct {
		Sequence    uint32 `json:"sequence"`
		Time        uint32 `json:"time"` // seconds since 2000, or since boot with the high byte 0xff
		Code        int    `json:"code"`
		Class       int    `json:"class"` // -2 debug to 4 dead
		Locale      int    `json:"locale"`
		Description string `json:"description"`
	}
)

// Words in events.
type (
	reason         string
	panicAction    string
	watchdogAction string
	operation      string
	ioErrorAction  string
)

const (
	reasonError     reason = "host-error"
	reasonQuit      reason = "host-qmp-quit"
	reasonHostReset reason = "host-qmp-system-reset"
	reasonSignal    reason = "host-signal"
	reasonShutdown  reason = "guest-shutdown"
	reasonReset     reason = "guest-reset"
	reasonPanic     reason = "guest-panic"

	panicPause panicAction = "pause"
	panicEnd   panicAction = "poweroff"
	panicRun   panicAction = "run"

	watchdogReset watchdogAction = "reset"
	watchdogEnd   watchdogAction = "poweroff"
	watchdogPause watchdogAction = "pause"
	watchdogNone  watchdogAction = "none"
	watchdogNMI   watchdogAction = "inject-nmi"

	operationRead  operation = "read"
	operationWrite operation = "write"

	ioErrorReport ioErrorAction = "report"
	ioErrorIgnore ioErrorAction = "ignore"
	ioErrorStop   ioErrorAction = "stop"
)

// The types of words implement qmp.Enum.

func (reason) QMPValues() []string {
	return enumeration(reasonError, reasonQuit, reasonHostReset, reasonSignal, reasonShutdown, reasonReset, reasonPanic)
}

func (panicAction) QMPValues() []string { return enumeration(panicPause, panicEnd, panicRun) }

func (watchdogAction) QMPValues() []string {
	return enumeration(watchdogReset, watchdogEnd, watchdogPause, watchdogNone, watchdogNMI)
}

func (operation) QMPValues() []string { return enumeration(operationRead, operationWrite) }

func (ioErrorAction) QMPValues() []string {
	return enumeration(ioErrorIgnore, ioErrorReport, ioErrorStop)
}

// enumeration lists words for qmp.Enum.
func enumeration[T ~string](words ...T) []string {
	var list []string
	for _, w := range words {
		list = append(list, string(w))
	}
	return list
}

// eventTypes are the events that there are.
func eventTypes() map[string]any {
	return map[string]any{
		"SHUTDOWN":          causeData{},
		"RESET":             causeData{},
		"STOP":              qmp.None{},
		"RESUME":            qmp.None{},
		"POWERDOWN":         qmp.None{},
		"GUEST_PANICKED":    panicData{},
		"GUEST_CRASHLOADED": panicData{},
		"WATCHDOG":          watchdogData{},
		"DEVICE_DELETED":    deviceData{},
		"BLOCK_IO_ERROR":    ioErrorData{},
		"MEGASAS_EVENT":     firmwareData{},
	}
}

// shutdownCause is QEMU's word for why a machine ended or was reset.
func shutdownCause(c vmm.Cause, reset bool) causeData {
	words := map[vmm.Cause]reason{
		vmm.HostRequest:      reasonQuit,
		vmm.HostEnd:          reasonSignal,
		vmm.HostError:        reasonError,
		vmm.GuestPowerOff:    reasonShutdown,
		vmm.GuestReset:       reasonReset,
		vmm.GuestTripleFault: reasonReset,
		vmm.GuestPanic:       reasonPanic,
		vmm.GuestWatchdog:    reasonReset,
		vmm.GuestExit:        reasonShutdown,
	}
	if reset && c == vmm.HostRequest {
		return causeData{false, reasonHostReset}
	}
	return causeData{c.Guest(), words[c]}
}

// notify passes on what happens to the machine.
func (c *control) notify(e vmm.Event) {
	switch e := e.(type) {
	case vmm.Ended:
		c.server.Emit("SHUTDOWN", shutdownCause(e.Cause, false))
	case vmm.ResetDone:
		c.server.Emit("RESET", shutdownCause(e.Cause, true))
	case vmm.Paused:
		c.server.Emit("STOP", nil)
		c.sayWhyPaused()
	case vmm.Resumed:
		c.server.Emit("RESUME", nil)
	case vmm.PowerButtonPressed:
		c.server.Emit("POWERDOWN", nil)
	case vmm.GuestPanicked:
		actions := map[vmm.Reaction]panicAction{vmm.End: panicEnd, vmm.PauseIt: panicPause}
		c.server.Emit("GUEST_PANICKED", panicData{cmp.Or(actions[e.Reaction], panicRun)})
	case vmm.GuestCrashLoaded:
		c.server.Emit("GUEST_CRASHLOADED", panicData{panicRun})
	case vmm.WatchdogExpired:
		actions := map[vmm.Reaction]watchdogAction{
			vmm.End: watchdogEnd, vmm.PauseIt: watchdogPause, vmm.Restart: watchdogReset,
			vmm.InterruptIt: watchdogNMI, vmm.Ignore: watchdogNone,
		}
		c.server.Emit("WATCHDOG", watchdogData{actions[e.Reaction]})
	}
}

// Logged implements megasas.Listener.
func (c *control) Logged(e mfi.Event) {
	c.server.Emit("MEGASAS_EVENT", firmwareData{
		Sequence: e.Sequence, Time: e.Time, Code: int(e.Code),
		Class: int(e.Filter.Class()), Locale: int(e.Filter.Locale()),
		Description: e.Description,
	})
}

// IOFailed implements megasas.Listener.
func (c *control) IOFailed(x megasas.IOFailure) {
	data := ioErrorData{Operation: operationRead, Action: ioErrorAction(x.Action.String()), NoSpace: x.NoSpace, Reason: x.Cause.Error()}
	if x.Write {
		data.Operation = operationWrite
	}
	if d, ok := c.m.disks.of(x.Drive); ok {
		data.Device, data.Node = d.device, d.name
	}
	c.server.Emit("BLOCK_IO_ERROR", data)
	if x.Action == megasas.StopOnError {
		c.m.vm.PauseOnIOError()
	}
}

// sayWhyPaused tells who started the machine why it stands still, if a disk's I/O made
// it: there may be nobody who listens by QMP.
func (c *control) sayWhyPaused() {
	failures := c.m.controller.Stalled()
	if len(failures) == 0 {
		return
	}
	x := failures[0]
	d, _ := c.m.disks.of(x.Drive)
	c.log.Error(`the machine is paused: I/O failed; SIGCONT, or "cont" by QMP, lets it go on and tries again`,
		"disk", d.device, "file", d.spec.medium.Path, "write", x.Write, "err", x.Cause)
}

// driveRemoved tells of a drive that was taken out.
func (c *control) driveRemoved(device string, err error) {
	if err != nil {
		c.log.Error("a drive was taken out with errors", "device", device, "err", err)
	}
	c.server.Emit("DEVICE_DELETED", deviceData{Device: device, Path: "/machine/peripheral/" + device})
}
