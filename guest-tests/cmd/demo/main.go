// Command demo is what `make run` and `make shell` show: a stock Debian kernel
// boots twice on a disk behind the emulated MegaRAID controller, writes files
// in the first boot and verifies them in the second.
//
//	demo          the demonstration; exit status 0 only if all of it held
//	demo shell    a shell in the guest; its disk is kept from run to run
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/govmm/govmm/guest-tests/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(os.Args) == 1:
		err = demonstrate(ctx)
	case len(os.Args) == 2 && os.Args[1] == "shell":
		err = shell(ctx)
	default:
		err = errors.New("usage: demo [shell]")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: FAILED: %v\n", err)
		os.Exit(1)
	}
}

// diskSize is that of the disks, as govmm img create takes it.
const diskSize = "256M"

// stage is all that a guest is started with.
type stage struct {
	vmm   harness.Govmm
	guest harness.Guest
	disk  string
}

// prepare finds and builds what is needed. The disk is build/run/NAME.
func prepare(ctx context.Context, disk string) (stage, error) {
	artefacts, err := harness.FindArtefacts()
	if err != nil {
		return stage{}, err
	}
	tree, err := artefacts.Kernel(harness.Debian12)
	if err != nil {
		return stage{}, err
	}
	initrd, err := artefacts.Initrd(ctx, tree)
	if err != nil {
		return stage{}, err
	}
	vmm, err := artefacts.Govmm(ctx)
	if err != nil {
		return stage{}, err
	}
	path := artefacts.Build("run", disk)
	if err := os.MkdirAll(artefacts.Build("run"), 0o755); err != nil {
		return stage{}, err
	}
	return stage{
		vmm:   vmm,
		guest: harness.Guest{Kernel: tree.VMLinux(), Initrd: initrd, Disks: []harness.Disk{{Path: path}}},
		disk:  path,
	}, nil
}

// terminal connects the guest's console with the caller's terminal.
func terminal() harness.Terminal {
	return harness.Terminal{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
}

// shell boots a guest for a person to use.
func shell(ctx context.Context) error {
	s, err := prepare(ctx, "shell.qcow2")
	if err != nil {
		return err
	}
	if _, err := os.Stat(s.disk); errors.Is(err, fs.ErrNotExist) {
		if err := s.createDisk(ctx); err != nil {
			return err
		}
	}
	fmt.Printf("Booting. The disk is %s and is kept. Ctrl-A X ends the guest at once.\n", s.disk)
	s.guest.Append = "govmm.mode=shell"
	m, err := harness.Start(s.vmm, s.guest, terminal())
	if err != nil {
		return err
	}
	defer m.Stop()
	return m.Wait(ctx)
}

func (s stage) createDisk(ctx context.Context) error {
	if err := os.Remove(s.disk); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.run(ctx, "img", "create", "-f", "qcow2", s.disk, diskSize)
}

// run runs a govmm command whose output the user sees.
func (s stage) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.vmm.Path, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("govmm %s: %w", args[0], err)
	}
	return nil
}
