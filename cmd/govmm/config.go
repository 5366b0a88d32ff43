package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

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
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.readFile(cmd); err != nil {
				return err
			}
			spec, err := f.machine()
			if err != nil {
				return err
			}
			here := []string{"--accel", f.accel.value} // what the nested machine need not know
			if f.nest.dir != "" {
				here = append(here, "--nest-dir", f.nest.dir)
			}
			words := describeMachine(cmd, append(here, spec.args()...))
			if output.value == "json" {
				return writeJSON(a, words)
			}
			return writeYAML(a, words)
		},
	}
	f.register(cmd)
	cmd.Flags().Var(&output, "output", "how to print")
	output.complete(cmd, "output")
	return cmd
}

// readFile applies the file that was named, if one was.
func (f *runFlags) readFile(cmd *cobra.Command) (err error) {
	if f.file != "" {
		f.lines, err = readMachineFile(cmd, f.file)
	}
	return err
}

// locate adds the place in the file to an error about a flag that came from there.
func (f *runFlags) locate(err error) error {
	if err == nil {
		return nil
	}
	word, _, _ := strings.Cut(strings.TrimLeft(err.Error(), "-"), " ")
	if line, ok := f.lines[strings.TrimSuffix(word, ":")]; ok {
		return fmt.Errorf("%s:%d: %w", f.file, line, err)
	}
	return err
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

// writeYAML prints words as a file of YAML.
func writeYAML(a *app, words yaml.MapSlice) error {
	var b strings.Builder
	for _, w := range words {
		list, ok := w.Value.([]any)
		if !ok {
			fmt.Fprintf(&b, "%s: %s\n", w.Key, yamlScalar(w.Value))
			continue
		}
		fmt.Fprintf(&b, "%s:\n", w.Key)
		for _, v := range list {
			fmt.Fprintf(&b, "  - %s\n", yamlScalar(v))
		}
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// plainYAML is text that YAML takes for text without quotes around it.
var plainYAML = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([A-Za-z/][A-Za-z0-9/._=,+-]*|[0-9]+[KMGTPE])$`)
})

// yamlScalar writes text, or true. JSON's strings are YAML's, and no word in them is
// taken for something else.
func yamlScalar(v any) string {
	text, ok := v.(string)
	switch {
	case !ok:
		return fmt.Sprint(v)
	case plainYAML().MatchString(text) && !slices.Contains([]string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}, strings.ToLower(text)):
		return text
	}
	quoted, _ := json.Marshal(text)
	return string(quoted)
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
