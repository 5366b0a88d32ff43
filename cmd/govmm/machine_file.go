package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

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
// that were given on the command line prevail. The lines of those that did not are
// returned.
func readMachineFile(cmd *cobra.Command, path string) (lines map[string]int, err error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, parseError(path, err)
	}
	r := machineReader{path: path, flags: cmd.Flags(), given: map[string]bool{}, lines: map[string]int{}}
	cmd.Flags().Visit(func(f *pflag.Flag) { r.given[f.Name] = true })
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if err := r.words(doc.Body); err != nil {
			return nil, err
		}
	}
	return r.lines, nil
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

// place is how the parser says where it met an error, before it says what; what
// follows in further lines shows the text around.
var place = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\[(\d+):\d+\] (.*)`) })

// parseError is a parser's error in one line.
func parseError(path string, err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if m := place().FindStringSubmatch(line); m != nil {
		return fmt.Errorf("%s:%s: %s", path, m[1], m[2])
	}
	return fmt.Errorf("%s: %s", path, line)
}

// machineReader applies YAML to flags.
type machineReader struct {
	path  string
	flags *pflag.FlagSet
	given map[string]bool // on the command line
	seen  []string
	lines map[string]int // of the words that count
}

// wrong is an error at a place in the file.
func (r *machineReader) wrong(t *token.Token, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", r.path, lineOf(t), fmt.Errorf(format, args...))
}

func lineOf(t *token.Token) int {
	if t == nil || t.Position == nil {
		return 0
	}
	return t.Position.Line
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
		if !r.given[name] {
			r.lines[name] = lineOf(e.Key.GetToken())
		}
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
		if f.Name == "disk" { // the flag itself takes anything
			if _, err := parseDisk(text); err != nil {
				return r.wrong(v.GetToken(), "%s", strings.TrimPrefix(err.Error(), "--disk: "))
			}
		}
		if err := r.flags.Set(f.Name, text); err != nil {
			return r.wrong(v.GetToken(), "%s %q: %s", f.Name, text, flagReason(err))
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
