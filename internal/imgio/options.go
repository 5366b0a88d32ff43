package imgio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/internal/block"
)

// refusal is an error whose text is a message of qemu-io.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// openOptions is how to open an image: what the options of the program, of open
// and of reopen say.
type openOptions struct {
	name     string            // of the file; "" if only tree has it
	tree     map[string]string // options of drivers, as driver=qcow2 or file.filename=x
	readOnly bool
	snapshot bool
	share    bool
	cache    cacheMode
	ignore   bool // discard does nothing
	native   bool // asynchronous I/O of the kernel
}

// cacheMode is what the name of a cache mode stands for.
type cacheMode struct{ direct, noFlush, writethrough bool }

// parseCache parses the name of a cache mode.
func parseCache(name string) (cacheMode, bool) {
	m, ok := map[string]cacheMode{
		"none": {direct: true}, "off": {direct: true},
		"directsync":   {direct: true, writethrough: true},
		"writeback":    {},
		"unsafe":       {noFlush: true},
		"writethrough": {writethrough: true},
	}[name]
	return m, ok
}

// set takes an option that the program and open have in common; known is false
// if it is none of these.
func (o *openOptions) set(x flag) (known bool, err error) {
	ok := true
	switch x.letter {
	case 's':
		o.snapshot = true
	case 'n':
		o.cache = cacheMode{direct: true}
	case 'C':
		return true, refuse("copy-on-read is not supported")
	case 'r':
		o.readOnly = true
	case 'U':
		o.share = true
	case 'k':
		o.native = true
	case 't':
		if o.cache, ok = parseCache(x.value); !ok {
			return true, refuse("Invalid cache option: %s", x.value)
		}
	case 'd':
		switch x.value {
		case "off", "ignore":
			o.ignore = true
		case "on", "unmap":
			o.ignore = false
		default:
			return true, refuse("Invalid discard option: %s", x.value)
		}
	case 'i':
		switch x.value {
		case "threads", "io_uring":
			o.native = false
		case "native":
			o.native = true
		default:
			return true, refuse("Invalid aio option: %s", x.value)
		}
	default:
		return false, nil
	}
	return true, nil
}

// parseTree parses key=value pairs separated by commas; implied is the key of a
// first element without one.
func parseTree(list, implied string) (map[string]string, error) {
	tree := make(map[string]string)
	for i, element := range splitCommas(list) {
		key, value, ok := strings.Cut(element, "=")
		switch {
		case ok:
		case i == 0 && implied != "":
			key, value = implied, element
		default:
			key, value = element, "on"
		}
		if key == "" {
			return nil, refuse("Invalid parameter '%s'", element)
		}
		tree[key] = value
	}
	return tree, nil
}

// splitCommas splits at single commas; two stand for one in a value.
func splitCommas(s string) []string {
	const mark = "\x00"
	list := strings.Split(strings.ReplaceAll(s, ",,", mark), ",")
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], mark, ",")
	}
	return list
}

// target is what options come to.
type target struct {
	spec   block.Spec
	rules  []blkdebug.Rule
	debug  bool // there is a blkdebug layer
	unmap  bool
	secret string // name of the passphrase
}

// resolve turns options into what to open.
func (o *openOptions) resolve(name string) (*target, error) {
	t := &target{unmap: !o.ignore}
	t.spec = block.Spec{ReadOnly: o.readOnly, Direct: o.cache.direct, NoFlush: o.cache.noFlush, ForceShare: o.share}
	tree := maps.Clone(o.tree)
	if tree == nil {
		tree = make(map[string]string)
	}
	if err := t.fileName(name, tree); err != nil {
		return nil, err
	}
	if err := t.format(tree); err != nil {
		return nil, err
	}
	if err := t.generic(tree); err != nil {
		return nil, err
	}
	if err := t.storage(tree); err != nil {
		return nil, err
	}
	if keys := slices.Sorted(maps.Keys(tree)); len(keys) > 0 {
		driver := t.spec.Format
		if driver == "" {
			driver = block.FormatQCOW2
		}
		return nil, refuse("Block format '%s' does not support the option '%s'", driver, keys[0])
	}
	switch {
	case t.spec.ReadOnly && !o.readOnly:
		return nil, refuse("Block node is read-only")
	case t.spec.ForceShare && !t.spec.ReadOnly:
		return nil, refuse("force-share=on can only be used with read-only images")
	case o.native && !t.spec.Direct:
		return nil, refuse("aio=native was specified, but it requires cache.direct=on, which was not specified.")
	case t.spec.Path == "" && t.spec.Format != block.FormatNull:
		return nil, refuse("A block device must be specified for \"file\"")
	}
	return t, nil
}

// fileName takes a file name, which may begin with the name of a protocol.
func (t *target) fileName(name string, tree map[string]string) error {
	if name == "" {
		return nil
	}
	if rest, ok := strings.CutPrefix(name, "blkdebug:"); ok {
		config, file, ok := strings.Cut(rest, ":")
		if !ok {
			return refuse("blkdebug requires both config file and image path")
		}
		tree["file.driver"], tree["file.image.filename"] = "blkdebug", file
		if config != "" {
			tree["file.config"] = config
		}
		return nil
	}
	if rest, ok := strings.CutPrefix(name, "file:"); ok {
		name = rest
	} else if i := strings.IndexAny(name, ":/"); i >= 0 && name[i] == ':' {
		return refuse("Unknown protocol '%s'", name[:i])
	}
	tree["file.filename"] = name
	return nil
}

// format takes the driver of the image.
func (t *target) format(tree map[string]string) error {
	driver := tree["driver"]
	delete(tree, "driver")
	switch driver {
	case "", block.FormatQCOW2, block.FormatRaw, block.FormatLUKS:
		t.spec.Format = driver
		return nil
	case "file", "host_device":
		t.spec.Format = block.FormatRaw
		rename(tree, "filename", "file.filename")
		rename(tree, "locking", "file.locking")
		return nil
	case "blkdebug":
		t.spec.Format = block.FormatRaw
		for _, key := range slices.Collect(maps.Keys(tree)) {
			rename(tree, key, "file."+key)
		}
		tree["file.driver"] = driver
		return nil
	case "null-co", "null-aio":
		t.spec.Format = block.FormatNull
		t.spec.Size = 1 << 30
		return nil
	}
	return refuse("Unknown driver '%s'", driver)
}

func rename(tree map[string]string, from, to string) {
	if v, ok := tree[from]; ok {
		delete(tree, from)
		tree[to] = v
	}
}

// generic takes the options that every format has.
func (t *target) generic(tree map[string]string) error {
	for _, b := range []struct {
		key string
		to  *bool
	}{{"read-only", &t.spec.ReadOnly}, {"force-share", &t.spec.ForceShare}, {"cache.direct", &t.spec.Direct}, {"cache.no-flush", &t.spec.NoFlush}} {
		v, ok := tree[b.key]
		delete(tree, b.key)
		switch {
		case !ok:
		case v == "on" || v == "off":
			*b.to = v == "on"
		default:
			return refuse("Parameter '%s' expects 'on' or 'off'", b.key)
		}
	}
	if v, ok := tree["discard"]; ok {
		delete(tree, "discard")
		t.unmap = v == "unmap" || v == "on"
		if !t.unmap && v != "ignore" && v != "off" {
			return refuse("Invalid discard option")
		}
	}
	if t.spec.Format == block.FormatNull {
		if v, ok := tree["size"]; ok {
			delete(tree, "size")
			n, err := parseSize(v)
			if err != nil || n <= 0 || n%512 != 0 {
				return refuse("Parameter 'size' expects a size")
			}
			t.spec.Size = n
		}
	}
	if v, ok := tree["l2-cache-size"]; ok && t.spec.Format != block.FormatRaw {
		delete(tree, "l2-cache-size")
		n, err := parseSize(v)
		if err != nil {
			return refuse("Parameter 'l2-cache-size' expects a size")
		}
		t.spec.L2CacheSize = n
	}
	for _, key := range []string{"key-secret", "encrypt.key-secret"} {
		if v, ok := tree[key]; ok {
			delete(tree, key)
			t.secret = v
		}
	}
	if tree["encrypt.format"] != "" {
		delete(tree, "encrypt.format")
	}
	return nil
}

// storage takes the options of the file, and of faults injected under it.
func (t *target) storage(tree map[string]string) error {
	rename(tree, "file", "file.filename")
	rename(tree, "filename", "file.filename")
	driver := tree["file.driver"]
	delete(tree, "file.driver")
	switch driver {
	case "", "file", "host_device":
	case "blkdebug":
		t.debug = true
		rename(tree, "file.x-image", "file.filename")
		rename(tree, "file.image", "file.filename")
		rename(tree, "file.image.filename", "file.filename")
		if d := tree["file.image.driver"]; d == "file" || d == "host_device" {
			delete(tree, "file.image.driver")
		}
		var err error
		if t.rules, err = blkdebug.TakeOptions(tree, "file."); err != nil {
			return err
		}
	default:
		return refuse("Unknown driver '%s'", driver)
	}
	t.spec.Path = tree["file.filename"]
	delete(tree, "file.filename")
	switch v := tree["file.locking"]; v {
	case "", "auto":
	case "on":
		t.spec.Locking = block.LockingOn
	case "off":
		t.spec.Locking = block.LockingOff
	default:
		return refuse("Parameter 'locking' does not accept value '%s'", v)
	}
	delete(tree, "file.locking")
	return nil
}
