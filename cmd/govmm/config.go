package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

// configCommand prints the machine that the flags of "govmm run" describe.
func (a *app) configCommand() *cobra.Command {
	var f runFlags
	output := choice{value: "yaml", allowed: []string{"yaml", "json"}}
	cmd := &cobra.Command{
		Use:   "config [flags of run]",
		Short: "Print the machine that flags and files describe",
		Long: `config takes the flags of "govmm run", checks them, and prints the machine that
they describe, with everything that they leave open filled in. "govmm run -f" runs
what was printed.`,
		Example: `  govmm config --disk path=debian.qcow2 --memory 1G > machine.yaml
  govmm run -f machine.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.readFile(cmd); err != nil {
				return err
			}
			spec, err := f.machine()
			if err != nil {
				return err
			}
			words := describeMachine(cmd, append([]string{"--accel", f.accel.value}, spec.args()...))
			if output.value == "json" {
				return writeJSON(a, words)
			}
			text, err := yaml.Marshal(words)
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(text)
			return err
		},
	}
	f.register(cmd)
	cmd.Flags().Var(&output, "output", "how to print")
	output.complete(cmd, "output")
	return cmd
}

// readFile applies the file that was named, if one was.
func (f *runFlags) readFile(cmd *cobra.Command) error {
	if f.file == "" {
		return nil
	}
	return readMachineFile(cmd, f.file)
}

// describeMachine turns arguments into words and values, in their order. A flag that
// comes several times has a list.
func describeMachine(cmd *cobra.Command, args []string) yaml.MapSlice {
	var words yaml.MapSlice
	at := map[string]int{}
	for i := 0; i < len(args); i++ {
		name := strings.TrimPrefix(args[i], "--")
		var value any = true
		if f := cmd.Flags().Lookup(name); f == nil || f.NoOptDefVal == "" {
			i++
			value = args[i]
		}
		j, again := at[name]
		if !again {
			at[name] = len(words)
			words = append(words, yaml.MapItem{Key: name, Value: value})
			continue
		}
		list, ok := words[j].Value.([]any)
		if !ok {
			list = []any{words[j].Value}
		}
		words[j].Value = append(list, value)
	}
	return words
}

// writeJSON prints words as a JSON object, in their order.
func writeJSON(a *app, words yaml.MapSlice) error {
	var b strings.Builder
	b.WriteString("{")
	for i, w := range words {
		value, err := json.Marshal(w.Value)
		if err != nil {
			return err
		}
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "\n    %q: %s", w.Key, value)
	}
	_, err := fmt.Fprintln(a.stdout, b.String()+"\n}")
	return err
}
