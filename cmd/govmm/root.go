package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// app is what the commands share.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// exitError ends the program with a status of its own. Err may be nil if all
// that there is to say has been said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitFailure is the status after bad input or a failure of the host.
const exitFailure = 1

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	// Scripts call these often, and they take their arguments as they are: the tree of
	// commands would be made for nothing.
	if len(args) > 0 {
		switch args[0] {
		case qemuImgName:
			return a.status(a.img(qemuImgName, block.FormatRaw, args[1:]))
		case "img":
			return a.status(a.img("govmm img", block.FormatQCOW2, args[1:]))
		case "io":
			return runIO("govmm io", args[1:], stdin, stdout, stderr)
		}
	}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return a.status(root.ExecuteContext(ctx))
}

// status says what went wrong, if anything did, and returns the exit status.
func (a *app) status(err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		a.complain(err)
		return exitFailure
	case exit.err != nil:
		a.complain(exit.err)
	}
	return exit.code
}

// complain prints an error as the program's own. Of several, those that an earlier one has in
// it are not said again: a disk that is full is so for each step of closing an image.
func (a *app) complain(err error) {
	said := ""
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimRight(line, " \n"); line != "" && !strings.Contains(said, line) {
			said += line + "\n"
		}
	}
	fmt.Fprint(a.stderr, "govmm: ", said)
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "govmm",
		Short: "Virtual machines with a MegaRAID controller on qcow2 disks",
		Long: `govmm runs virtual machines on Linux KVM. Their disks are qcow2 images behind an
emulated MegaRAID SAS 9260-8i, for which every common operating system has a
driver.`,
		Example: `  govmm doctor                         can this machine run virtual machines?
  govmm img create disk.qcow2 20G      make a disk
  govmm run --kernel host --disk path=disk.qcow2
                                       boot the kernel of this machine with it`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q (\"govmm help\" lists them)", args[0])
			}
			return nil
		},
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand())
	root.AddCommand(
		a.runCommand(),
		a.ctlCommand(),
		a.configCommand(),
		a.imgCommand(),
		a.ioCommand(), a.nbdCommand(),
		a.doctorCommand(),
		a.versionCommand(),
		a.manCommand(),
		a.nestInitCommand(),
		a.nestExecCommand(),
		a.terminalGuardCommand(),
		a.kernelUnpackCommand(),
	)
	return root
}

// flagError says what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		err = fmt.Errorf("--%s %q: %s", bad.GetFlag().Name, bad.GetValue(), flagReason(err))
	}
	return fmt.Errorf("%w (see \"%s --help\")", err, cmd.CommandPath())
}

// flagReason is why a flag refuses a value, without flag and value.
func flagReason(err error) string {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err.Error()
	}
	switch kind := bad.GetFlag().Value.Type(); kind {
	case "bool":
		return "must be true or false"
	case "duration":
		return "must be a time, as in 30s or 2m"
	case "int":
		return "must be a number"
	case "uint16":
		return "must be a number from 0 to 65535"
	}
	return bad.Unwrap().Error()
}

// arguments checks the number of a command's arguments: no fewer than least, and no
// more than most unless that is negative.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("an argument is missing: %s", cmd.UseLine())
		case most >= 0 && len(args) > most:
			return fmt.Errorf("unexpected argument %q: %s", args[most], cmd.UseLine())
		}
		return nil
	}
}

// group is a command that only has others below it.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q (\"%s --help\" lists them)", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// helpCommand is "govmm help", which knows what is no command.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
			return completeTree(cmd.Root(), args, text), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return fmt.Errorf("unknown command %q (\"govmm help\" lists them)", strings.Join(args, " "))
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}
