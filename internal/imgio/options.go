package imgio

import (
	"fmt"

	"github.com/govmm/govmm/internal/blockopt"
)

// refusal is an error whose text is a message of qemu-io.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// openOptions is how to open an image: what the options of the program, of open
// and of reopen say.
type openOptions struct {
	name     string         // of the file
	named    bool           // it was given; else only tree has it
	tree     *blockopt.Tree // options of drivers, as driver=qcow2 or file.filename=x; may be nil
	readOnly bool
	snapshot bool
	share    bool
	cache    cacheMode
	ignore   bool // discard does nothing
	native   bool // asynchronous I/O of the kernel
	copy     bool // what is read of backing files is kept
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
		o.copy = true
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

// target is what options come to.
type target struct {
	*blockopt.Source
	unmap bool
}

// resolve turns options into what to open.
func (o *openOptions) resolve(objects *blockopt.Objects) (*target, error) {
	tree := blockopt.NewTree()
	if o.named {
		named, err := blockopt.ParseName(o.name)
		if err != nil {
			return nil, err
		}
		tree = named
	}
	if o.tree != nil {
		tree.Add(o.tree)
	}
	for name, on := range map[string]bool{
		"read-only": o.readOnly, "force-share": o.share, "cache.direct": o.cache.direct, "cache.no-flush": o.cache.noFlush,
	} {
		if on {
			tree.Default(name, "on")
		}
	}
	s, err := tree.Resolve(objects)
	if err != nil {
		return nil, err
	}
	t := &target{s, !o.ignore && !s.KeepDiscarded || s.Discard}
	s.Spec.CopyOnRead = s.Spec.CopyOnRead || o.copy
	switch {
	case o.copy && o.readOnly:
		return nil, refuse("Can't use copy-on-read on read-only device")
	case s.Spec.ReadOnly && !o.readOnly:
		return nil, refuse("Block node is read-only")
	case s.Spec.ForceShare && !s.Spec.ReadOnly && !o.snapshot:
		return nil, refuse("force-share=on can only be used with read-only images")
	case s.DetectZeroes == "unmap" && !t.unmap:
		return nil, blockopt.ErrDetectUnmap
	case o.native && !s.Spec.Direct:
		return nil, refuse("aio=native was specified, but it requires cache.direct=on, which was not specified.")
	}
	return t, nil
}
