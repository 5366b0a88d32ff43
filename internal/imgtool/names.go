package imgtool

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/internal/block"
)

// optionTree is a tree of options by dotted names, as of --image-opts or a json:
// name, flattened: "file.filename" and so on.
type optionTree map[string]string

// parseList splits k=v,k=v at commas, of which a doubled one stands for itself.
// An element without a value is a switch that is on.
func parseList(s string) (list []option) {
	for len(s) > 0 {
		var b strings.Builder
		for len(s) > 0 {
			if s[0] == ',' {
				if len(s) < 2 || s[1] != ',' {
					break
				}
				s = s[1:]
			}
			b.WriteByte(s[0])
			s = s[1:]
		}
		s = strings.TrimPrefix(s, ",")
		name, value, ok := strings.Cut(b.String(), "=")
		if !ok {
			value = "on"
		}
		list = append(list, option{name, value})
	}
	return list
}

// parseImageOpts reads the argument of --image-opts.
func parseImageOpts(s string) optionTree {
	tree := make(optionTree)
	for _, o := range parseList(s) {
		tree[o.name] = o.value
	}
	return tree
}

// parseJSONName reads what stands behind "json:", in which strings may have
// single quotes.
func parseJSONName(s string) (optionTree, error) {
	var v map[string]any
	d := json.NewDecoder(strings.NewReader(doubleQuotes(s)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("Could not parse the JSON options")
	}
	tree := make(optionTree)
	tree.flatten("", v)
	return tree, nil
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

func (t optionTree) flatten(prefix string, v any) {
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
		t[prefix] = map[bool]string{true: "on", false: "off"}[v]
	case nil:
		t[prefix] = ""
	default:
		t[prefix] = fmt.Sprint(v)
	}
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// take removes an option from the tree.
func (t optionTree) take(name string) (value string, ok bool) {
	value, ok = t[name]
	delete(t, name)
	return value, ok
}

// takeSwitch removes an option that is on or off.
func (t optionTree) takeSwitch(name string) (on bool, err error) {
	switch v, ok := t.take(name); {
	case !ok || v == "off":
		return false, nil
	case v == "on":
		return true, nil
	}
	return false, fmt.Errorf("Parameter '%s' expects 'on' or 'off'", name)
}

// spec turns a tree into what block opens. What is not known is an error.
func (t *Tool) spec(tree optionTree) (block.Spec, error) {
	var s block.Spec
	tree = maps.Clone(tree)
	driver, _ := tree.take("driver")
	if driver == "blkdebug" {
		tree = tree.under("file")
		tree["file.driver"], driver = driver, block.FormatRaw
	}
	protocol, nested := tree.take("file.driver")
	name, _ := tree.take("file.filename")
	switch driver {
	case "file", "host_device":
		if nested || name != "" {
			return s, fmt.Errorf("Block protocol '%s' doesn't support the option 'file.filename'", driver)
		}
		name, _ = tree.take("filename")
		s.Format = block.FormatRaw
	case "null-co", "null-aio":
		s.Format = block.FormatNull
		s.Size = 1 << 30
		if v, ok := tree.take("size"); ok {
			n, err := parseSize(v)
			if err != nil {
				return s, fmt.Errorf("Parameter 'size' expects a non-negative number below 2^64")
			}
			s.Size = n
		}
		tree.take("read-zeroes")
	case "", "qcow2", "raw", "luks":
		s.Format = driver
	default:
		return s, fmt.Errorf("Unknown driver '%s'", driver)
	}
	switch protocol {
	case "", "file", "host_device":
	case "blkdebug":
		rules, err := blkdebug.TakeOptions(tree, "file.")
		if err != nil {
			return s, err
		}
		s.Debug = blkdebug.New(rules, nil)
		for _, key := range []string{"file.image.filename", "file.x-image"} {
			if v, ok := tree.take(key); ok {
				name = v
			}
		}
		if d := tree["file.image.driver"]; d == "file" || d == "host_device" {
			delete(tree, "file.image.driver")
		}
	default:
		return s, fmt.Errorf("Unknown driver '%s'", protocol)
	}
	s.Path = strings.TrimPrefix(name, "file:")
	if s.Path == "" && s.Format != block.FormatNull {
		return s, fmt.Errorf("A block device must be specified for \"file\"")
	}
	if err := t.common(&s, tree); err != nil {
		return s, err
	}
	if rest := slices.Sorted(maps.Keys(tree)); len(rest) > 0 {
		return s, fmt.Errorf("Block format '%s' does not support the option '%s'", driverName(driver), rest[0])
	}
	return s, nil
}

// under returns the tree as a branch of another.
func (t optionTree) under(branch string) optionTree {
	all := make(optionTree)
	for name, value := range t {
		all[join(branch, name)] = value
	}
	return all
}

// debugName reads what stands behind "blkdebug:", a file with rules, which may
// be empty, and the file that they are for.
func debugName(name string) (optionTree, error) {
	config, file, ok := strings.Cut(name, ":")
	if !ok {
		return nil, errors.New("blkdebug requires both config file and image path")
	}
	tree := optionTree{"file.driver": "blkdebug", "file.image.filename": file}
	if config != "" {
		tree["file.config"] = config
	}
	return tree, nil
}

func driverName(driver string) string {
	if driver == "" {
		return block.FormatRaw
	}
	return driver
}

// runtimeOptions are those of qcow2 images, in use, that change nothing about
// what a tool reads and writes.
var runtimeOptions = []string{
	"encrypt.format", "lazy-refcounts", "overlap-check", "overlap-check.template", "cache-size", "refcount-cache-size",
	"l2-cache-entry-size", "cache-clean-interval", "pass-discard-request", "pass-discard-snapshot", "pass-discard-other",
}

// common takes the options that all drivers have, and those of qcow2.
func (t *Tool) common(s *block.Spec, tree optionTree) error {
	var err error
	for _, prefix := range []string{"", "file."} {
		for name, to := range map[string]*bool{
			"read-only": &s.ReadOnly, "force-share": &s.ForceShare, "cache.direct": &s.Direct, "cache.no-flush": &s.NoFlush,
		} {
			on, e := tree.takeSwitch(prefix + name)
			if e != nil {
				err = e
			}
			*to = *to || on
		}
		// Hints whose effect is not visible in what is read or written.
		for _, name := range []string{"node-name", "discard", "auto-read-only", "aio", "locking"} {
			tree.take(prefix + name)
		}
	}
	for _, name := range []string{"encrypt.key-secret", "key-secret"} {
		if id, ok := tree.take(name); ok {
			if s.Secret, ok = t.secrets[id]; !ok {
				return fmt.Errorf("No secret with id '%s'", id)
			}
		}
	}
	for _, name := range runtimeOptions {
		tree.take(name)
	}
	if v, ok := tree.take("l2-cache-size"); ok {
		if s.L2CacheSize, err = parseSize(v); err != nil {
			return fmt.Errorf("Parameter 'l2-cache-size' expects a non-negative number below 2^64")
		}
	}
	if v, ok := tree.take("backing"); ok {
		if v != "" {
			return fmt.Errorf("Cannot find device='%s' nor node-name='%s'", v, v)
		}
		s.NoBacking = true
	}
	return err
}
