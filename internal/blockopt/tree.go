package blockopt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/nbdclient"
)

// Option is a name with its value.
type Option struct{ Name, Value string }

// Split splits name=value,name=value at commas, of which a doubled one stands for
// itself. An option without a value is a switch that is on.
func Split(s string) (list []Option) {
	for _, e := range elements(s) {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			value = "on"
		}
		list = append(list, Option{name, value})
	}
	return list
}

// elements splits at commas, of which a doubled one stands for itself.
func elements(s string) []string {
	if s == "" {
		return nil
	}
	list := block.SplitCommas(s)
	if last := len(list) - 1; list[last] == "" { // behind a last comma
		list = list[:last]
	}
	return list
}

// Tree holds options by their full names, such as file.filename.
type Tree struct {
	text map[string]string
	// spelled has the values that are not strings as JSON spells them.
	spelled map[string]string
}

// NewTree returns a tree of the options in a list, of which the last of a name counts.
func NewTree(list ...Option) *Tree {
	t := &Tree{make(map[string]string), make(map[string]string)}
	for _, o := range list {
		t.Set(o.Name, o.Value)
	}
	return t
}

// ParseOptions reads the argument of --image-opts; its first option may be a value
// alone, that of "file".
func ParseOptions(s string) *Tree {
	list := Split(s)
	if e := elements(s); len(e) > 0 && !strings.Contains(e[0], "=") {
		list[0] = Option{"file", e[0]}
	}
	return NewTree(list...)
}

// ParseJSON reads what stands behind "json:": an object whose strings may have single
// quotes, nested or with dotted names.
func ParseJSON(s string) (*Tree, error) {
	var v any
	d := json.NewDecoder(strings.NewReader(doubleQuotes(s)))
	d.UseNumber()
	const failed = "Could not parse the JSON options"
	switch err := d.Decode(&v); {
	case strings.TrimSpace(s) == "":
		return nil, errors.New(failed + ": Expecting a JSON value")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New(failed + ": JSON parse error, premature EOI")
	case err != nil:
		return nil, errors.New(failed)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New(failed + ": Expecting at most one JSON value")
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, errors.New("Invalid JSON object given")
	}
	t := NewTree()
	t.flatten("", v)
	return t, nil
}

// ParseName reads the name of a file, or what stands in its place: "file:NAME",
// "json:{...}", "blkdebug:CONFIG:NAME", or the name of an export such as
// "nbd://HOST/EXPORT".
func ParseName(name string) (*Tree, error) {
	scheme, rest, ok := strings.Cut(name, ":")
	switch {
	case !ok || !isProtocol(scheme):
		return NewTree(Option{"file.filename", name}), nil
	case scheme == "file":
		if scheme, _, ok := strings.Cut(rest, ":"); ok && isProtocol(scheme) {
			rest = "./" + rest // so it is no protocol's to who sees it again
		}
		return NewTree(Option{"file.filename", rest}), nil
	case nbdclient.IsName(name):
		t := NewTree()
		return t, remoteName(t, name)
	case name == "null-co://" || name == "null-aio://":
		return NewTree(Option{"file.driver", scheme}), nil
	case scheme == "json":
		return ParseJSON(rest)
	case scheme == "blkdebug":
		config, file, ok := strings.Cut(rest, ":")
		if !ok {
			return nil, errors.New("blkdebug requires both config file and image path")
		}
		named, err := ParseName(file)
		if err != nil {
			return nil, err
		}
		t := NewTree(Option{"file.driver", "blkdebug"})
		for _, name := range named.Names() {
			inner := strings.TrimPrefix(name, "file.")
			if strings.HasPrefix(file, "json:") { // which may name a format
				inner = name
			}
			named.rename(name, "file.image."+inner)
		}
		t.Add(named)
		if config != "" {
			t.Set("file.config", config)
		}
		return t, nil
	}
	return nil, fmt.Errorf("Unknown protocol '%s'", scheme)
}

// HasProtocol reports whether a name is none of a file, but of another protocol.
func HasProtocol(name string) bool {
	scheme, _, ok := strings.Cut(name, ":")
	return ok && isProtocol(scheme)
}

// isProtocol reports whether the part of a name before a colon is a protocol's name,
// and not part of a path.
func isProtocol(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789+-_") == ""
}

// Set sets an option.
func (t *Tree) Set(name, value string) {
	t.text[name] = value
	delete(t.spelled, name)
}

// Default sets an option that is not there yet.
func (t *Tree) Default(name, value string) {
	if _, ok := t.text[name]; !ok {
		t.Set(name, value)
	}
}

// Drop removes an option.
func (t *Tree) Drop(name string) {
	delete(t.text, name)
	delete(t.spelled, name)
}

// Has reports whether an option is there.
func (t *Tree) Has(name string) bool { _, ok := t.text[name]; return ok }

// Get returns an option's value, "" if it is not there.
func (t *Tree) Get(name string) string { return t.text[name] }

// Clone returns a copy.
func (t *Tree) Clone() *Tree { return &Tree{maps.Clone(t.text), maps.Clone(t.spelled)} }

// Add sets the options of another tree.
func (t *Tree) Add(other *Tree) {
	maps.Copy(t.text, other.text)
	maps.Copy(t.spelled, other.spelled)
}

func (t *Tree) flatten(prefix string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			t.flatten(join(prefix, k), e)
		}
	case []any:
		for i, e := range v {
			t.flatten(join(prefix, strconv.Itoa(i)), e)
		}
	case bool:
		t.text[prefix] = map[bool]string{true: "on", false: "off"}[v]
		t.spelled[prefix] = strconv.FormatBool(v)
	case nil:
		t.text[prefix], t.spelled[prefix] = "", "null"
	case json.Number:
		t.text[prefix], t.spelled[prefix] = v.String(), v.String()
	default:
		t.text[prefix] = fmt.Sprint(v)
	}
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// doubleQuotes turns strings in single quotes into those that JSON knows.
func doubleQuotes(s string) string {
	var b strings.Builder
	var open byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && open != 0 && i+1 < len(s):
			if s[i+1] != '\'' {
				b.WriteByte(c)
			}
			i++
			b.WriteByte(s[i])
			continue
		case open == 0 && (c == '\'' || c == '"'):
			open, c = c, '"'
		case c == open:
			open, c = 0, '"'
		case c == '"':
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// take removes an option. spelled is its value in JSON: a string, or a json.RawMessage
// where it was not one.
func (t *Tree) take(name string) (value string, spelled any, ok bool) {
	value, ok = t.text[name]
	spelled = value
	if s, literal := t.spelled[name]; literal {
		spelled = json.RawMessage(s)
	}
	delete(t.text, name)
	delete(t.spelled, name)
	return value, spelled, ok
}

// has reports whether there is an option under a branch.
func (t *Tree) has(branch string) bool {
	for name := range t.text {
		if strings.HasPrefix(name, branch+".") {
			return true
		}
	}
	return false
}

// Names of the options, sorted.
func (t *Tree) Names() []string { return slices.Sorted(maps.Keys(t.text)) }

// move gives all options outside a branch names inside it.
func (t *Tree) move(branch string) {
	for _, name := range t.Names() {
		t.rename(name, join(branch, name))
	}
}

func (t *Tree) rename(from, to string) {
	if v, ok := t.text[from]; ok {
		s, literal := t.spelled[from]
		delete(t.text, from)
		delete(t.spelled, from)
		t.text[to] = v
		if literal {
			t.spelled[to] = s
		}
	}
}
