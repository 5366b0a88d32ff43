package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/govmm/govmm/internal/imgio"
	"github.com/spf13/cobra"
)

// qemuIO is the name under which the program is "govmm io".
const qemuIO = "qemu-io"

func (a *app) ioCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "io [options] [-c COMMAND]... [FILE]",
		Short: "Exercise a disk image by commands",
		Long: `Exercise a disk image by commands: read, write, map and check ranges, alone or
many at a time, with faults injected. Commands come from -c or from the standard
input, and options, messages and exit status are those of qemu-io; under that
name the program is this command alone.

"govmm io --help" lists the options, "govmm io -c help" the commands. The exit
status is 1 if any command failed or found another pattern than it was to find.`,
		Example: `  govmm io -f qcow2 -c "write -P 7 0 64k" -c "read -P 7 0 64k" disk.qcow2
  govmm io -f qcow2 blkdebug:faults.conf:disk.qcow2`,
		DisableFlagParsing: true, // it has rules of its own
		RunE: func(_ *cobra.Command, args []string) error {
			if code := runIO("govmm io", args, a.stdin, a.stdout, a.stderr); code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
}

// runIO is the tester under the name that it was called by.
func runIO(name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	v := buildVersion(debug.ReadBuildInfo())
	out, flush := streamed(stdout)
	code := imgio.Main(name, fmt.Sprintf("%s (govmm)", v.Version), args, stdin, out, stderr)
	if err := flush(); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
	return code
}
