package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/govmm/govmm/internal/qmp"
	"github.com/spf13/cobra"
)

// ctlLimit is how long a command may take that is not one of those that wait.
const ctlLimit = 60 * time.Second

// ctl is a run of govmm ctl.
type ctl struct {
	*app
	path    string
	output  choice
	printed bool // the command's result
}

// ctlCommand is "govmm ctl PATH COMMAND": the path comes first, so that a command
// can be changed at the end of a line. What follows the path is parsed by a command
// tree of its own.
func (a *app) ctlCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ctl PATH COMMAND [flags]",
		Short: "Control a running virtual machine",
		Long: `ctl controls a machine that was started with "govmm run --qmp unix:PATH".

` + commandTable((&ctl{app: a}).tree()) + `
"govmm ctl PATH COMMAND --help" tells more. With --output json what a command
prints is JSON, as QMP has it: {} if there is nothing to tell. Programs can also speak QMP at the socket themselves.`,
		Example: `  govmm run --qmp unix:/tmp/vm --disk path=a.qcow2 &
  govmm ctl /tmp/vm status
  govmm ctl /tmp/vm disk add data path=b.qcow2
  govmm ctl /tmp/vm shutdown --wait`,
		DisableFlagParsing: true, // the flags are those of the other tree
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "--help" || args[0] == "-h" {
				return cmd.Help()
			}
			c := &ctl{app: a, path: args[0]}
			tree := c.tree()
			tree.SetArgs(args[1:])
			tree.SetIn(a.stdin)
			tree.SetOut(a.stdout)
			tree.SetErr(a.stderr)
			return tree.ExecuteContext(cmd.Context())
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveDefault // files
			}
			return completeTree((&ctl{app: a}).tree(), args[1:], text), cobra.ShellCompDirectiveNoFileComp
		},
	}
	return cmd
}

// tree are the commands after the path.
func (c *ctl) tree() *cobra.Command {
	c.output = choice{value: "text", allowed: []string{"text", "json"}}
	root := group("ctl", "")
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "govmm ctl " + orPath(c.path)}
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions = cobra.CompletionOptions{DisableDefaultCmd: true}
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.PersistentFlags().Var(&c.output, "output", "how to print")
	root.AddCommand(
		c.statusCommand(), c.shutdownCommand(),
		c.plainCommand("reset", "Reset the machine, as its reset button does", "system_reset"),
		c.plainCommand("stop", "Pause the machine", "stop"),
		c.plainCommand("cont", "Let a paused machine go on", "cont", "resume"),
		c.plainCommand("nmi", "Send all processors a non-maskable interrupt", "inject-nmi"),
		c.plainCommand("quit", "End the machine at once, as if its plug were pulled", "quit"),
		c.diskCommand(), c.snapshotCommand(), c.eventsCommand(), c.statsCommand(), c.faultCommand(), c.qmpCommand(),
	)
	return root
}

func orPath(path string) string {
	if path == "" {
		return "PATH"
	}
	return path
}

// commandTable lists commands and what they are for.
func commandTable(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("Commands:\n")
	for _, cmd := range root.Commands() {
		if cmd.Hidden {
			continue
		}
		if !cmd.HasSubCommands() {
			fmt.Fprintf(&b, "  %-40s %s\n", cmd.Use, cmd.Short)
		}
		for _, sub := range cmd.Commands() {
			fmt.Fprintf(&b, "  %-40s %s\n", cmd.Name()+" "+sub.Use, sub.Short)
		}
	}
	return b.String()
}

// completeTree lists the commands that may come next.
func completeTree(root *cobra.Command, args []string, text string) []string {
	cmd, rest, err := root.Find(args)
	if err != nil || len(rest) > 0 {
		return nil
	}
	var words []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && strings.HasPrefix(sub.Name(), text) {
			words = append(words, sub.Name()+"\t"+sub.Short)
		}
	}
	return words
}

// do connects to the machine and has f talk to it.
func (c *ctl) do(ctx context.Context, f func(ctx context.Context, m *qmp.Client) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, ctlLimit, fmt.Errorf("no answer within %v", ctlLimit))
	defer cancel()
	m, err := qmp.Dial(ctx, c.path)
	if err != nil {
		return fmt.Errorf("the machine at %s does not answer: %w", c.path, err)
	}
	defer m.Close()
	if err := f(ctx, m); err != nil || c.printed || c.output.value != "json" {
		return err
	}
	return c.print(qmp.None{}, nil) // for programs, which want to parse something
}

// print prints a result: as JSON, or by text.
func (c *ctl) print(v any, text func(w io.Writer)) error {
	c.printed = true
	if c.output.value != "json" {
		text(c.stdout)
		return nil
	}
	out := json.NewEncoder(c.stdout)
	out.SetIndent("", "    ")
	return out.Encode(v)
}

// plainCommand has one command carried out that takes and returns nothing.
func (c *ctl) plainCommand(name, short, command string, aliases ...string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Aliases: aliases, Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error {
				return m.Do(ctx, command, nil, nil)
			})
		},
	}
}

func (c *ctl) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say what the machine is doing", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error {
				var s struct {
					statusInfo
					Name   string `json:"name,omitempty"`
					CPUs   int    `json:"cpus"`
					Memory uint64 `json:"memory"`
					Disks  int    `json:"disks"`
				}
				var name nameInfo
				var cpus []cpuInfo
				var memory memorySizeInfo
				var disks []blockInfo
				for _, q := range []struct {
					command string
					result  any
				}{
					{"query-status", &s.statusInfo}, {"query-name", &name}, {"query-cpus-fast", &cpus},
					{"query-memory-size-summary", &memory}, {"query-block", &disks},
				} {
					if err := m.Do(ctx, q.command, nil, q.result); err != nil {
						return err
					}
				}
				s.Name, s.CPUs, s.Memory, s.Disks = name.Name, len(cpus), memory.Base, len(disks)
				return c.print(s, func(w io.Writer) {
					fmt.Fprintf(w, "%s: %s, %s memory, %s", s.Status, count(s.CPUs, "processor"), formatSize(s.Memory), count(s.Disks, "disk"))
					if s.Name != "" {
						fmt.Fprintf(w, " (%s)", s.Name)
					}
					fmt.Fprintln(w)
				})
			})
		},
	}
}

// count says how many of something there are.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (c *ctl) shutdownCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "shutdown [--wait]", Short: "Press the power button, for the guest to shut down", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error {
				if err := m.Do(ctx, "system_powerdown", nil, nil); err != nil || !wait {
					return err
				}
				for {
					select {
					case e, ok := <-m.Events():
						if !ok || e.Name == "SHUTDOWN" {
							return nil
						}
					case <-ctx.Done():
						return fmt.Errorf("the guest has not shut down: %w", context.Cause(ctx))
					}
				}
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the machine has ended, a minute at most")
	return cmd
}

func (c *ctl) qmpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "qmp COMMAND [JSON]", Short: "Have any QMP command carried out", Args: arguments(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var arguments json.RawMessage
			if len(args) == 2 {
				arguments = json.RawMessage(args[1])
				if !json.Valid(arguments) {
					return fmt.Errorf("%q: not a JSON object with arguments", args[1])
				}
			}
			return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error {
				var result json.RawMessage // numbers stay as they are
				var given any
				if arguments != nil {
					given = arguments
				}
				if err := m.Do(ctx, args[0], given, &result); err != nil {
					return err
				}
				c.output.value = "json"
				return c.print(result, nil)
			})
		},
	}
}

func (c *ctl) eventsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "events", Short: "Print what happens, until the machine ends", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			m, err := qmp.Dial(ctx, c.path)
			if err != nil {
				return fmt.Errorf("the machine at %s does not answer: %w", c.path, err)
			}
			defer m.Close()
			for {
				select {
				case e, ok := <-m.Events():
					if !ok {
						return nil
					}
					c.printEvent(e)
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		},
	}
}

// printEvent prints an event in a line.
func (c *ctl) printEvent(e qmp.Event) {
	if c.output.value == "json" {
		_ = json.NewEncoder(c.stdout).Encode(struct {
			qmp.Event
			Time time.Time `json:"time"`
		}{e, e.Time})
		return
	}
	text := string(e.Data)
	var firmware firmwareData
	if e.Name == "MEGASAS_EVENT" && json.Unmarshal(e.Data, &firmware) == nil {
		text = fmt.Sprintf("%d: %s", firmware.Sequence, firmware.Description)
	}
	fmt.Fprintf(c.stdout, "%s %s %s\n", e.Time.Format("15:04:05.000"), e.Name, text)
}

func (c *ctl) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stats", Short: "Print counters of the machine, its controller, and its process", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error {
				var s statsInfo
				if err := m.Do(ctx, "x-query-stats", nil, &s); err != nil {
					return err
				}
				return c.print(s, s.write)
			})
		},
	}
}

// inPlace resolves a path, as the machine may run in another directory.
func inPlace(path string) (string, error) {
	if path == "" || strings.HasPrefix(path, "/") {
		return path, nil
	}
	dir, err := os.Getwd()
	return dir + "/" + path, err
}
