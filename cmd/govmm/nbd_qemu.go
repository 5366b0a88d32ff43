package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/govmm/govmm/internal/nbdtool"
)

// qemuNBD is the name under which the program serves one disk by the options of that
// tool.
const qemuNBD = "qemu-nbd"

// runQEMUNBD is the server under that name. It returns the exit status.
func runQEMUNBD(args []string) int {
	v := buildVersion(debug.ReadBuildInfo())
	t := nbdtool.Tool{
		Program: os.Args[0], Version: fmt.Sprintf("7.2 (govmm %s)", v.Version), Args: args, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	return t.Run()
}
