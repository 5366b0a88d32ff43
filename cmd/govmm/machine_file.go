package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// machineFile is the flag that names a file with the words of the others.
const machineFile = "file"

// maxMachineFile is the largest file that is read, in bytes.
const maxMachineFile = 1 << 20

// readMachineFile applies a file of YAML (or JSON, which is YAML) to the flags of a
// command: its words are the names of flags, its values theirs. A list gives a flag
// several times; a map in place of a value of the form KEY=VALUE,... is that. Flags
// that were given on the command line prevail.
func readMachineFile(cmd *cobra.Command, path string) error {
	text, err := readSmall(path)
	if err != nil {
		return err
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", path, oneLine(err))
	}
	r := machineReader{path: path, flags: cmd.Flags(), given: map[string]bool{}}
	cmd.Flags().Visit(func(f *pflag.Flag) { r.given[f.Name] = true })
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if err := r.words(doc.Body); err != nil {
			return err
		}
	}
	return nil
}

// readSmall reads a file that is not huge.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMachineFile+1))
	if err == nil && len(text) > maxMachineFile {
		err = fmt.Errorf("%s: larger than %s", path, formatSize(maxMachineFile))
	}
	return text, err
}

// oneLine is the first line of a parser's error, which has the place in it. The rest
// shows the text around.
func oneLine(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

// machineReader applies YAML to flags.
type machineReader struct {
	path  string
	flags *pflag.FlagSet
	given map[string]bool // on the command line
	seen  []string
}

// wrong is an error at a place in the file.
func (r *machineReader) wrong(t *token.Token, format string, args ...any) error {
	line := 0
	if t != nil && t.Position != nil {
		line = t.Position.Line
	}
	return fmt.Errorf("%s:%d: %w", r.path, line, fmt.Errorf(format, args...))
}

// words applies the outermost map.
func (r *machineReader) words(n ast.Node) error {
	entries, ok := mapEntries(n)
	if !ok {
		return r.wrong(n.GetToken(), "not a map of words and values")
	}
	for _, e := range entries {
		name := e.Key.GetToken().Value
		f := r.flags.Lookup(name)
		switch {
		case f == nil || name == machineFile || name == "help":
			return r.wrong(e.Key.GetToken(), "unknown word %q", name)
		case slices.Contains(r.seen, name):
			return r.wrong(e.Key.GetToken(), "%s is there twice", name)
		}
		r.seen = append(r.seen, name)
		if err := r.apply(f, e.Value); err != nil {
			return err
		}
	}
	return nil
}

// mapEntries returns the entries of a map.
func mapEntries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// apply gives a flag its value or values.
func (r *machineReader) apply(f *pflag.Flag, n ast.Node) error {
	values := []ast.Node{n}
	if list, ok := n.(*ast.SequenceNode); ok {
		values = list.Values
	}
	if len(values) != 1 && !repeatable(f) {
		return r.wrong(n.GetToken(), "%s takes one value, not a list of %d", f.Name, len(values))
	}
	for _, v := range values {
		text, err := r.value(f.Name, v)
		if err != nil {
			return err
		}
		if r.given[f.Name] {
			continue
		}
		if err := r.flags.Set(f.Name, text); err != nil {
			// pflag says which flag it was; that is in the file.
			_, reason, ok := strings.Cut(err.Error(), " flag: ")
			if !ok {
				reason = err.Error()
			}
			return r.wrong(v.GetToken(), "%s %q: %s", f.Name, text, reason)
		}
	}
	return nil
}

// repeatable reports whether a flag may be given several times.
func repeatable(f *pflag.Flag) bool {
	_, list := f.Value.(pflag.SliceValue)
	_, serial := f.Value.(*serialFlag)
	return list || serial
}

// value is a value as a flag takes it.
func (r *machineReader) value(name string, n ast.Node) (string, error) {
	if entries, ok := mapEntries(n); ok {
		var words []string
		for _, e := range entries {
			text, err := r.scalar(name, e.Value)
			if err != nil {
				return "", err
			}
			words = append(words, e.Key.GetToken().Value+"="+strings.ReplaceAll(text, ",", ",,"))
		}
		return strings.Join(words, ","), nil
	}
	return r.scalar(name, n)
}

// scalar is a single value. Words such as on and off stay what they are, whatever
// YAML takes them for.
func (r *machineReader) scalar(name string, n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	}
	return "", r.wrong(n.GetToken(), "%s: must be text or a number", name)
}
