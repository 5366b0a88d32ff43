// Command govmm runs virtual machines on KVM whose disks sit behind an emulated
// MegaRAID SAS controller, and works with the qcow2 images of those disks.
//
//	govmm run       run a virtual machine
//	govmm config    print the machine that flags and files describe
//	govmm ctl       control a running virtual machine
//	govmm doctor    say whether and how this host can run one
//	govmm img       create and check disk images
//	govmm nbd       serve disk images to NBD clients
//	govmm version   say what this is
//
// "govmm help COMMAND" is the manual page of a command.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
