package blockopt

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/nbdclient"
)

// Option is a name with its value.
type Option struct {
	Name, Value string
	Short       bool // the value was not given
}

// Split splits name=value,name=value at commas, of which a doubled one stands for
// itself. An option without a value is a switch that is on, or off where its name has "no" in
// front.
func Split(s string) (list []Option) {
	for _, e := range elements(s) {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			value = "on"
			if rest, off := strings.CutPrefix(name, "no"); off {
				name, value = rest, "off"
			}
		}
		list = append(list, Option{name, value, !ok})
	}
	return list
}

// Help reports whether the option asks which ones there are.
func (o Option) Help() bool { return o.Short && o.Value == "on" && (o.Name == "help" || o.Name == "?") }

// Warn hands what there is to say against the option's form to warn, which prints it.
func (o Option) Warn(warn func(text string)) {
	if !o.Short || o.Help() || warn == nil {
		return
	}
	no, instead := "", fmt.Sprintf("%s=%s", o.Name, o.Value)
	if o.Value == "off" {
		no = "no"
	}
	if o.Name == "delay" { // it was always called so
		instead = "nodelay=" + map[string]string{"on": "off", "off": "on"}[o.Value]
	}
	warn(fmt.Sprintf("short-form boolean option '%s%s' deprecated\nPlease use %s instead", no, o.Name, instead))
}

// ParseSwitch reads the value of a switch.
func ParseSwitch(value string) (on, ok bool) {
	switch value {
	case "on", "yes", "true", "y":
		return true, true
	case "off", "no", "false", "n":
		return false, true
	}
	return false, false
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

// NodeName is what messages call an image that was given no node-name, in place of the one that
// QEMU makes up at random.
const NodeName = "#block100"

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
// alone, that of "file". warn, if set, prints what there is to say against their form.
func ParseOptions(s string, warn func(text string)) *Tree {
	list := Split(s)
	if e := elements(s); len(e) > 0 && !strings.Contains(e[0], "=") {
		list[0] = Option{Name: "file", Value: e[0]}
	}
	return OptionTree(list, warn)
}

// OptionTree is NewTree of options that a user gave; see [ParseOptions].
func OptionTree(list []Option, warn func(text string)) *Tree {
	for _, o := range list {
		o.Warn(warn)
	}
	return NewTree(list...)
}

// ParseJSON reads what stands behind "json:": an object whose strings may have single
// quotes, nested or with dotted names.
func ParseJSON(s string) (*Tree, error) {
	v, err := decodeJSON(s)
	if err != nil {
		return nil, fmt.Errorf("Could not parse the JSON options: %w", err)
	}
	members, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("Invalid JSON object given")
	}
	t := NewTree()
	for name, e := range members {
		t.flatten(name, e)
	}
	return t, nil
}

// ParseName reads the name of a file, or what stands in its place: "file:NAME",
// "json:{...}", "blkdebug:CONFIG:NAME", or the name of an export such as
// "nbd://HOST/EXPORT".
func ParseName(name string) (*Tree, error) {
	scheme, rest, ok := strings.Cut(name, ":")
	switch {
	case !ok || !isProtocol(scheme):
		return NewTree(Option{Name: "file.filename", Value: name}), nil
	case scheme == "file":
		if scheme, _, ok := strings.Cut(rest, ":"); ok && isProtocol(scheme) {
			rest = "./" + rest // so it is no protocol's to who sees it again
		}
		return NewTree(Option{Name: "file.filename", Value: rest}), nil
	case nbdclient.IsName(name):
		t := NewTree()
		return t, remoteName(t, name)
	case name == "null-co://" || name == "null-aio://":
		return NewTree(Option{Name: "file.driver", Value: scheme}), nil
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
		t := NewTree(Option{Name: "file.driver", Value: "blkdebug"})
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

// Denies reports whether a switch is there, and not on.
func (t *Tree) Denies(name string) bool {
	on, _ := ParseSwitch(t.Get(name))
	return t.Has(name) && !on
}

// Get returns an option's value, "" if it is not there.
func (t *Tree) Get(name string) string { return t.text[name] }

// Clone returns a copy.
func (t *Tree) Clone() *Tree { return &Tree{maps.Clone(t.text), maps.Clone(t.spelled)} }

// Add sets the options of another tree.
func (t *Tree) Add(other *Tree) {
	maps.Copy(t.text, other.text)
	maps.Copy(t.spelled, other.spelled)
}

// flatten sets the options that a value holds, or is. What is empty is one as well, but no string.
func (t *Tree) flatten(prefix string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			t.text[prefix], t.spelled[prefix] = "", "{}"
		}
		for k, e := range v {
			t.flatten(prefix+"."+k, e)
		}
	case []any:
		if len(v) == 0 {
			t.text[prefix], t.spelled[prefix] = "", "[]"
		}
		for i, e := range v {
			t.flatten(prefix+"."+strconv.Itoa(i), e)
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

// takeText removes an option; one that is no string counts as though it were not there.
func (t *Tree) takeText(name string) (value string, ok bool) {
	_, literal := t.spelled[name]
	value, _, ok = t.take(name)
	if literal {
		return "", false
	}
	return value, ok
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
