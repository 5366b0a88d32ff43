package main

import (
	"context"
	"errors"
	"strings"

	"github.com/govmm/govmm/internal/qmp"
	"github.com/spf13/cobra"
)

// faultArgs are the arguments of x-controller-fault: a script of faults as
// megasas.Faults.Script takes it, or an end of all that were asked for.
type faultArgs struct {
	Script string `json:"script,omitempty"`
	Clear  bool   `json:"clear,omitempty"`
}

// fault has the controller go wrong with commands that the guest sends from now on.
func (c *control) fault(_ context.Context, a faultArgs) (qmp.None, error) {
	if (a.Script == "") == !a.Clear {
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "Use either 'script' or 'clear', but not both")
	}
	if a.Clear {
		c.m.controller.Faults().Clear()
		return qmp.None{}, nil
	}
	return qmp.None{}, c.m.controller.Faults().Script(strings.NewReader(a.Script))
}

func (c *ctl) faultCommand() *cobra.Command {
	var clearAll bool
	cmd := &cobra.Command{
		Use: "fault LINE... | --clear", Short: "Have the controller go wrong on purpose",
		Long: `fault has the controller go wrong, to see what the guest's driver does about it. A
LINE is one of those of "--controller faults=FILE" (see "govmm run --help"), and
counts the commands that the guest sends from now on. --clear ends all faults that
have not come yet.`,
		Example: `  govmm ctl /tmp/vm fault "1 LD_WRITE: fault 0x123"
  govmm ctl /tmp/vm fault --clear`,
		RunE: func(cmd *cobra.Command, lines []string) error {
			if (len(lines) == 0) == !clearAll {
				return errors.New("either LINE... or --clear must be given")
			}
			return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error {
				return m.Do(ctx, "x-controller-fault", faultArgs{strings.Join(lines, "\n"), clearAll}, nil)
			})
		},
	}
	cmd.Flags().BoolVar(&clearAll, "clear", false, "end all faults that were asked for")
	return cmd
}
