// Command init is the first and only program of a test guest. It mounts what
// Linux programs expect, loads the modules of the initramfs, the controller's
// driver last, and then does what the kernel command line says:
//
//	govmm.mode=agent   answer requests on the second serial port (the default)
//	govmm.mode=demo1   partition the disk, make a file system, write files
//	govmm.mode=demo2   verify the files of an earlier demo1 on the same disk
//	govmm.mode=shell   a shell on the console
//	govmm.disks=N      wait for N disks first (default 1)
//	MODULE.PARAM=VALUE a parameter for one of the modules loaded
//
// In every mode the host hears on the second serial port when user space is up
// and, in the demonstrations, how they went. The guest powers off at the end.
//
// Under the name of a tool, init is that tool: "init io-verify" loads a disk
// and checks it, see package ioverify; "init file-load" writes files and fsyncs them;
// "init await-disks" waits for a number of disks; "init mfi" sends management commands
// to the controller; "init nbd" connects a block device of the kernel's to an NBD server.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	if os.Getpid() == 1 {
		boot()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "io-verify" {
		os.Exit(ioVerify(os.Args[2:], os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == "mfi" {
		os.Exit(mfiTool(os.Args[2:], os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == "await-disks" {
		os.Exit(awaitDiskCount(os.Args[2:], os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == "file-load" {
		os.Exit(fileLoad(os.Args[2:], os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == "nbd" {
		os.Exit(nbdTool(os.Args[2:], os.Stderr))
	}
	fmt.Fprintln(os.Stderr, "usage: init file-load|io-verify|await-disks|mfi|nbd ...")
	os.Exit(2)
}

// boot runs as process 1 and never returns: the kernel panics if it does.
func boot() {
	up := uptime()
	if err := run(up); err != nil {
		fmt.Fprintf(os.Stderr, "init: %v\n", err)
	}
	powerOff(false)
}

func run(up time.Duration) error {
	if err := mountAll(); err != nil {
		return err
	}
	set, err := readSettings("/proc/cmdline")
	if err != nil {
		return err
	}
	server, err := openAgent()
	if err != nil {
		return err
	}
	if err := server.Hello(hello(up)); err != nil {
		return err
	}
	if set.mode == modeAgent {
		// A test reads the kernel's log itself; what is printed costs time.
		if err := loadModules(set.modules, quietProbe); err != nil {
			return err
		}
		if err := awaitDisks(set.disks); err != nil {
			fmt.Fprintf(os.Stderr, "init: %v\n", err)
		}
		return server.Serve()
	}
	if err := loadModules(set.modules, loudProbe); err != nil {
		return err
	}
	if err := awaitDisks(set.disks); err != nil {
		return err
	}
	if set.mode == modeShell {
		return shell()
	}
	return demonstrate(set.mode, server)
}
