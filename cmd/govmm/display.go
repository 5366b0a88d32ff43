package main

import (
	"errors"
	"slices"

	"github.com/govmm/govmm/internal/textscreen"
	"github.com/govmm/govmm/vmm"
	"github.com/spf13/cobra"
)

// Values of --display.
const (
	displayNone = "none"
	displayText = "text"
)

// displayFlag is the --display flag.
type displayFlag struct{ choice }

func (f *displayFlag) register(cmd *cobra.Command) {
	f.choice = choice{value: displayNone, allowed: []string{displayNone, displayText}}
	cmd.Flags().Var(f, "display", "show the machine's text screen on this terminal")
	f.complete(cmd, "display")
}

// vgaPaths are the places where distributions install SeaBIOS's BIOS for a VGA
// adapter that is not on a bus.
func vgaPaths() []string {
	return []string{
		"/usr/share/seabios/vgabios-isavga.bin",
		"/usr/share/qemu/vgabios.bin",
		"/usr/local/share/qemu/vgabios.bin",
	}
}

// findDisplay checks --display, and finds the BIOS of its adapter.
func (s *machineSpec) findDisplay(f *runFlags) error {
	if f.display.value == displayNone {
		return nil
	}
	if s.kernel != "" {
		return errors.New("--display text: a kernel that is started directly finds no screen; leave out --kernel to boot from the disks")
	}
	if !f.serial.given {
		s.serials = []serialSpec{{kind: serialNone}} // the terminal is taken
	}
	if slices.ContainsFunc(s.serials, func(s serialSpec) bool { return s.kind == serialStdio }) {
		return errors.New("--display text and --serial stdio: only one of them can have the terminal")
	}
	var err error
	s.vga, err = firstFile(vgaPaths(), "--display text: there is no BIOS for the VGA adapter: install the package seabios")
	return err
}

// openVGA opens the BIOS of the VGA adapter.
func (c *closers) openVGA(bios *vmm.BIOS, spec machineSpec) error {
	if spec.vga == "" {
		return nil
	}
	var err error
	bios.VGA, err = c.openSource(spec.vga)
	return err
}

// openDisplay shows the machine's screen on the terminal.
func (m *machine) openDisplay(a *app, spec machineSpec, quit func()) error {
	if spec.vga == "" {
		return nil
	}
	end, err := a.openStdio(quit)
	if err != nil {
		return err
	}
	m.host.add(end.close)
	m.display = textscreen.Start(m.vm, end.in, end.out)
	return nil
}

// closeDisplay leaves the last screen on the terminal.
func (m *machine) closeDisplay() error {
	if m.display == nil {
		return nil
	}
	return m.display.Close()
}
