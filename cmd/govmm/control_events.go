package main

import (
	"errors"

	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/vmm"
	"golang.org/x/sys/unix"
)

// Data of events (QEMU, qapi/run-state.json and qapi/block-core.json).
type (
	causeData struct {
		Guest  bool   `json:"guest"`
		Reason string `json:"reason"`
	}
	actionData struct {
		Action string `json:"action"`
	}
	deviceData struct {
		Device string `json:"device,omitempty"`
		Path   string `json:"path"`
	}
	ioErrorData struct {
		Device    string `json:"device"`
		Node      string `json:"node-name,omitempty"`
		Operation string `json:"operation"`
		Action    string `json:"action"`
		NoSpace   bool   `json:"nospace,omitempty"`
		Reason    string `json:"reason"`
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

// eventTypes are the events that there are.
func eventTypes() map[string]any {
	return map[string]any{
		"SHUTDOWN":          causeData{},
		"RESET":             causeData{},
		"STOP":              qmp.None{},
		"RESUME":            qmp.None{},
		"POWERDOWN":         qmp.None{},
		"GUEST_PANICKED":    actionData{},
		"GUEST_CRASHLOADED": actionData{},
		"WATCHDOG":          actionData{},
		"DEVICE_DELETED":    deviceData{},
		"BLOCK_IO_ERROR":    ioErrorData{},
		"MEGASAS_EVENT":     firmwareData{},
	}
}

// shutdownCause is QEMU's word for why a machine ended or was reset.
func shutdownCause(c vmm.Cause, reset bool) causeData {
	words := map[vmm.Cause]string{
		vmm.HostRequest:      "host-qmp-quit",
		vmm.HostEnd:          "host-signal",
		vmm.HostError:        "host-error",
		vmm.GuestPowerOff:    "guest-shutdown",
		vmm.GuestReset:       "guest-reset",
		vmm.GuestTripleFault: "guest-reset",
		vmm.GuestPanic:       "guest-panic",
		vmm.GuestWatchdog:    "guest-reset",
		vmm.GuestExit:        "guest-shutdown",
	}
	if reset && c == vmm.HostRequest {
		return causeData{false, "host-qmp-system-reset"}
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
	case vmm.Resumed:
		c.server.Emit("RESUME", nil)
	case vmm.PowerButtonPressed:
		c.server.Emit("POWERDOWN", nil)
	case vmm.GuestPanicked:
		action := map[vmm.Reaction]string{vmm.End: "poweroff", vmm.PauseIt: "pause"}[e.Reaction]
		if action == "" {
			action = "run"
		}
		c.server.Emit("GUEST_PANICKED", actionData{action})
	case vmm.GuestCrashLoaded:
		c.server.Emit("GUEST_CRASHLOADED", actionData{"run"})
	case vmm.WatchdogExpired:
		c.server.Emit("WATCHDOG", actionData{map[vmm.Reaction]string{
			vmm.End: "poweroff", vmm.PauseIt: "pause", vmm.Restart: "reset", vmm.InterruptIt: "inject-nmi", vmm.Ignore: "none",
		}[e.Reaction]})
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
func (c *control) IOFailed(drive uint16, cmd mfi.Cmd, cause error) {
	data := ioErrorData{Operation: "read", Action: "report", NoSpace: errors.Is(cause, unix.ENOSPC), Reason: cause.Error()}
	if cmd == mfi.CmdLDWrite {
		data.Operation = "write"
	}
	for _, x := range c.m.disks.snapshot() {
		if x.device != "" && x.id == drive {
			data.Device, data.Node = x.device, x.name
		}
	}
	c.server.Emit("BLOCK_IO_ERROR", data)
}

// driveRemoved tells of a drive that was taken out.
func (c *control) driveRemoved(device string, err error) {
	if err != nil {
		c.log.Error("a drive was taken out with errors", "device", device, "err", err)
	}
	c.server.Emit("DEVICE_DELETED", deviceData{Device: device, Path: "/machine/peripheral/" + device})
}
