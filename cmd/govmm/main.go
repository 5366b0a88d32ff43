// Command govmm runs virtual machines on KVM whose disks sit behind an emulated
// MegaRAID SAS controller, and works with the qcow2 images of those disks.
//
//	govmm run       run a virtual machine
//	govmm config    print the machine that flags and files describe
//	govmm ctl       control a running virtual machine
//	govmm doctor    say whether and how this host can run one
//	govmm img       create, copy, check and change disk images
//	govmm io        exercise a disk image by commands
//	govmm nbd       serve disk images to NBD clients
//	govmm version   say what this is
//
// Called by the name qemu-img it is "govmm img" with that tool's defaults, by qemu-io
// "govmm io", and by qemu-nbd a server of one disk with that tool's options.
//
// "govmm help COMMAND" is the manual page of a command.
package main

import (
	"context"
	"os"
	"path/filepath"
)

func main() {
	ctx, args := context.Background(), os.Args[1:]
	switch name := filepath.Base(os.Args[0]); name {
	case qemuImgName:
		args = append([]string{name}, args...)
	case qemuIO:
		os.Exit(runIO(qemuIO, args, os.Stdin, os.Stdout, os.Stderr))
	case qemuNBD:
		os.Exit(runQEMUNBD(args))
	}
	os.Exit(run(ctx, args, os.Stdin, os.Stdout, os.Stderr))
}
