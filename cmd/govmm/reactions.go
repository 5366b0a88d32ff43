package main

import (
	"github.com/govmm/govmm/vmm"
	"github.com/spf13/cobra"
)

// Values of --on-reboot.
const (
	rebootAuto    = "auto"
	rebootRestart = "restart"
	rebootExit    = "exit"
)

// reactionFlags say what becomes of the machine when its guest does something
// special.
type reactionFlags struct {
	onReboot choice
}

func (f *reactionFlags) register(cmd *cobra.Command) {
	f.onReboot = choice{value: rebootAuto, allowed: []string{rebootAuto, rebootRestart, rebootExit}}
	cmd.Flags().Var(&f.onReboot, "on-reboot", "what a guest that resets the machine gets: auto restarts a machine with a BIOS and ends one with a kernel")
	f.onReboot.complete(cmd, "on-reboot")
}

// reactions is what the flags say.
type reactions struct {
	onReset vmm.OnReset
}

// reactions resolves auto: a kernel that was given to the machine is a program to
// its user, who wants to know how it ended.
func (f *reactionFlags) reactions(hasKernel bool) reactions {
	r := reactions{onReset: vmm.RestartOnReset}
	if f.onReboot.value == rebootExit || f.onReboot.value == rebootAuto && hasKernel {
		r.onReset = vmm.EndOnReset
	}
	return r
}

// args are the flags that say so.
func (r reactions) args() []string {
	reboot := rebootRestart
	if r.onReset == vmm.EndOnReset {
		reboot = rebootExit
	}
	return []string{"--on-reboot", reboot}
}

// apply enters the reactions into the machine's configuration.
func (r reactions) apply(c *vmm.Config) { c.OnReset = r.onReset }
