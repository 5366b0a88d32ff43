package main

import (
	"github.com/govmm/govmm/internal/console"
	"github.com/govmm/govmm/internal/nest"
	"github.com/spf13/cobra"
)

// Sub-commands by which the program starts itself in another role.
const (
	nestInitName      = "nest-init"
	terminalGuardName = "terminal-guard"
)

func (a *app) nestInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:    nestInitName,
		Short:  "Be process 1 of the nested machine",
		Hidden: true,
		Args:   arguments(0, 0),
		RunE:   func(*cobra.Command, []string) error { return nest.Init() },
	}
}

func (a *app) terminalGuardCommand() *cobra.Command {
	return &cobra.Command{
		Use:    terminalGuardName,
		Short:  "Restore the terminal when the parent process has died",
		Hidden: true,
		Args:   arguments(0, 0),
		RunE:   func(*cobra.Command, []string) error { return console.Guard() },
	}
}

// nestExecCommand runs any command in the nested machine: to look around in
// it, and for tests.
func (a *app) nestExecCommand() *cobra.Command {
	flags := nestFlags{memory: byteSize{bytes: 512 << 20, unit: 1 << 20}, cpus: 1}
	cmd := &cobra.Command{
		Use:   "nest-exec [flags] -- COMMAND [ARGUMENT]...",
		Short: "Run a command of the host in the nested machine",
		Long: `nest-exec runs a command in the machine that "govmm run --accel nested" uses: on
an emulated processor with virtualization, as root, on the files of this host.
COMMAND is a path, or "govmm" for this program. Its exit status is that of the
command. A signal that asks to stop goes to the command; a second one ends the
machine at once.`,
		Example: `  govmm nest-exec -- govmm doctor
  govmm nest-exec -- /bin/sh`,
		Hidden: true,
		Args:   arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "govmm" {
				args[0] = nest.Self
			}
			return a.inNest(cmd.Context(), flags.config(), nest.Command{Args: args, Stdin: a.stdin, Stdout: a.stdout}, false)
		},
	}
	flags.register(cmd)
	cmd.Flags().Var(&flags.memory, "memory", "memory for the command")
	cmd.Flags().IntVar(&flags.cpus, "cpus", flags.cpus, "processors of the nested machine")
	return cmd
}
