package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/govmm/govmm/internal/nest"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/spf13/cobra"
)

// doctorReport says whether and how this host can run virtual machines.
type doctorReport struct {
	// Accel is what "--accel auto" takes, or "none".
	Accel  string       `json:"accel"`
	KVM    kvmReport    `json:"kvm"`
	Nested nestedReport `json:"nested"`
	// BIOS is the file that boots disks, VGA the one that shows a text screen;
	// empty where there is none.
	BIOS    string `json:"bios"`
	VGA     string `json:"vga"`
	Missing []lack `json:"missing"`
}

// kvmReport is about the host's own KVM.
type kvmReport struct {
	Device     string `json:"device"`
	Present    bool   `json:"present"`    // the device is there
	Accessible bool   `json:"accessible"` // and may be opened
	kvm.Report
}

// nestedReport is about the nested machine.
type nestedReport struct {
	Possible bool     `json:"possible"`
	Dir      string   `json:"dir"` // where its kernel was looked for
	Problems []string `json:"problems"`
}

// lack is something that is missing, and how to get it.
type lack struct {
	What string `json:"what"`
	Do   string `json:"do"` // a command, or words where there is none
}

func (a *app) doctorCommand() *cobra.Command {
	var flags nestFlags
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say whether and how this host can run virtual machines",
		Long: `doctor finds out by experiment whether this host can run virtual machines, and
says what is missing and how to get it.

A host's KVM may run guest code on the processor, or interpret it, which is good
for tests of a few thousand instructions only. Where there is no KVM that runs a
stock operating system, a nested machine can: QEMU emulates a processor with
virtualization, and govmm runs on that, some ten times slower.

Exit status: 0 if a stock operating system can be run in one of these ways, else 1.`,
		Example: `  govmm doctor
  govmm doctor --output json`,
		Args: arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			cfg := flags.config()
			present, accessible := deviceAccess(kvm.DevicePath)
			k := kvmReport{kvm.DevicePath, present, accessible, kvm.Probe()}
			r := diagnose(k, cfg.Dir, nest.Check(cfg))
			r.findBIOS(biosPaths(), vgaPaths())
			if err := output.print(a.stdout, r, r.write); err != nil {
				return err
			}
			if r.Accel == accelNone {
				return &exitError{code: exitFailure}
			}
			return nil
		},
	}
	flags.register(cmd)
	output.register(cmd)
	return cmd
}

// accelNone is the verdict on a host that cannot run a stock kernel.
const accelNone = "none"

// deviceAccess tells whether a device is there and may be opened.
func deviceAccess(path string) (present, accessible bool) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist), false
	}
	f.Close()
	return true, true
}

// diagnose draws the conclusions.
func diagnose(k kvmReport, dir string, problems []nest.Problem) doctorReport {
	r := doctorReport{
		Accel:   accelNone,
		KVM:     k,
		Nested:  nestedReport{Possible: len(problems) == 0, Dir: dir, Problems: []string{}},
		Missing: []lack{},
	}
	for _, p := range problems {
		r.Nested.Problems = append(r.Nested.Problems, p.What.Error())
	}
	if accel, _, err := chooseAccel(k.Report, problems); err == nil {
		r.Accel = accel
	}
	// On a good KVM nothing of QEMU is needed.
	if r.Accel != accelKVM {
		for _, p := range problems {
			r.Missing = append(r.Missing, lack{p.What.Error(), remedy(p.Kind)})
		}
	}
	return r
}

// findBIOS looks for what boots disks and shows text screens. A host can do without.
func (r *doctorReport) findBIOS(bios, vga []string) {
	// No file is no error here: the report says so.
	r.BIOS, _ = firstFile(bios, "")
	r.VGA, _ = firstFile(vga, "")
	if r.BIOS == "" || r.VGA == "" {
		r.Missing = append(r.Missing, lack{"SeaBIOS, for machines that boot from their disks", "sudo apt-get install seabios"})
	}
}

// remedy is how to get what the nested machine lacks.
func remedy(l nest.Lack) string {
	switch l {
	case nest.LackQEMU:
		return "sudo apt-get install qemu-system-x86"
	case nest.LackKernel:
		return "make setup (in the source tree of govmm), or set " + nestDirEnv + " to a directory with vmlinux and modules"
	}
	return "CGO_ENABLED=0 go build ./cmd/govmm (in the source tree of govmm)"
}

// orNo is the name of a file, if there is one.
func orNo(path string) string {
	if path == "" {
		return "no"
	}
	return "yes: " + path
}

func (r doctorReport) write(w io.Writer) {
	yes := map[bool]string{true: "yes", false: "no"}
	row := func(what, answer string) { fmt.Fprintf(w, "%-34s %s\n", what, answer) }
	row("Is there "+r.KVM.Device+"?", yes[r.KVM.Present])
	if r.KVM.Present {
		row("May I open it?", yes[r.KVM.Accessible])
	}
	row("Can KVM run a stock kernel?", yes[r.KVM.CanBoot()]+": "+kvmInWords(r.KVM.Report))
	row("Is the nested machine possible?", yes[r.Nested.Possible])
	row("Is there a BIOS to boot disks with?", orNo(r.BIOS))
	row("And one for --display text?", orNo(r.VGA))
	for _, l := range r.Missing {
		fmt.Fprintf(w, "\nMissing: %s\n  Do:    %s\n", l.What, l.Do)
	}
	fmt.Fprintln(w)
	switch r.Accel {
	case accelKVM:
		fmt.Fprintln(w, "govmm run will use KVM.")
	case accelNested:
		fmt.Fprintln(w, "govmm run will use the nested machine.")
	default:
		fmt.Fprintln(w, "govmm run cannot run a stock kernel here.")
	}
}
