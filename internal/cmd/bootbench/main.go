// Command bootbench measures how govmm starts guests beside QEMU, each in a process
// of its own, in turn, and prints a table of medians:
//
//   - from the start of the process to the first instructions of a guest, and through
//     SeaBIOS to those of a boot sector, on this host's KVM;
//   - from the start of the process to the user space of Debian's kernel and to its
//     disk, with the exits from the guest until then by kind, the memory that the
//     process takes beside the guest's, and the CPU time that an idle guest costs,
//     where KVM executes guests: on this host, or else in the nested machine.
//
// Usage:
//
//	bootbench [-govmm FILE] [-rounds N] [-image bzImage|vmlinux]
//
// With the bzImage that Debian ships, QEMU has the guest unpack it. So does govmm at
// the first start, or without its cache ("uncached"); otherwise it has it unpacked in
// its cache. With vmlinux, nobody has to unpack anything.
//
// It needs qemu-system-x86_64, what `make setup` fetches, and to count exits
// the right to mount debugfs.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/govmm/govmm/internal/nest"
	"github.com/govmm/govmm/vmm/kvm"
)

// Words by which the program starts itself in another role.
const (
	roleNestInit = "nest-init" // process 1 of the nested machine
	roleKernels  = "kernels"   // measures kernels, and answers in JSON
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == roleNestInit {
		fmt.Fprintln(os.Stderr, "bootbench:", nest.Init())
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "bootbench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 2 && args[0] == roleKernels {
		return kernelsRole(ctx, args[1], out)
	}
	flags := flag.NewFlagSet("bootbench", flag.ContinueOnError)
	govmm := flags.String("govmm", "bin/govmm", "the program to measure")
	rounds := flags.Int("rounds", 3, "how often each side boots the kernel; other starts are measured five times as often")
	image := flags.String("image", imageBz, "form of Debian's kernel: "+imageBz+", as it is shipped, which govmm also starts from its cache of unpacked kernels; or "+imageVMLinux)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *rounds < 1 {
		return fmt.Errorf("no arguments, and at least one round are allowed")
	}
	program, err := filepath.Abs(*govmm)
	if err != nil {
		return err
	}
	if *image != imageBz && *image != imageVMLinux {
		return fmt.Errorf("-image %s: must be %s or %s", *image, imageBz, imageVMLinux)
	}
	if _, err := os.Stat(kvm.DevicePath); err == nil {
		fmt.Fprintln(out, "KVM of this host")
		if err := benchStarts(ctx, [sideCount][]string{{program}, {qemuProgram}}, 5**rounds, out); err != nil {
			return err
		}
	}
	return benchKernels(ctx, program, *image, *rounds, out)
}
