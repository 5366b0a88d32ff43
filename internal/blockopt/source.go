package blockopt

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

// Source is a disk as options describe it.
type Source struct {
	// Spec is what to open. Its Debug is not set.
	Spec block.Spec
	// Inject says that faults are injected into the file, by Rules.
	Inject bool
	Rules  []blkdebug.Rule
	Limits blkdebug.Limits
	// Protocol is the driver where the options name no format but the storage itself:
	// file, host_device, nbd, null-co, null-aio or blkdebug; compress where that stands
	// over a disk.
	Protocol string
	// KeepDiscarded says that the option discard forbids to give storage back, Discard
	// that it allows that. Neither is set where it is not given.
	KeepDiscarded, Discard bool
	// DetectZeroes is on or unmap where zeroes that are written are to be stored as such, with
	// unmap without storage; off, or empty where it is not said.
	DetectZeroes string
	// Name is what QEMU calls the disk where a name can be said without options, else
	// empty; Full then has the options that make it up.
	Name string
	Full map[string]any

	options map[string]any // all that make it up
}

// NewDebug makes what injects the faults, if any are injected. log, if set, is given a
// line for each request that is suspended or resumed.
func (s *Source) NewDebug(log func(string)) *blkdebug.Debug {
	if !s.Inject {
		return nil
	}
	d := blkdebug.New(s.Rules, log)
	d.SetLimits(s.Limits)
	return d
}

// Resolve says what the options open; a format that they do not name is guessed by
// the file's first bytes. What is not known is an error; but without objects (nil), or
// where they are locked, ids of passphrases are not looked up.
func (t *Tree) Resolve(objects *Objects) (*Source, error) {
	r := &resolver{rest: t.Clone(), objects: objects}
	s, err := r.disk("")
	if err != nil {
		return nil, err
	}
	s.Spec.Names = &names{objects}
	if s.Spec.Format != "" {
		return s, nil
	}
	if s.Spec.Format, err = s.Spec.Guess(); err != nil {
		return nil, err
	}
	s.Spec.Guessed = true
	if s.Full != nil {
		s.Full["driver"] = s.Spec.Format
	}
	return s, nil
}

// Driver is what QEMU calls the disk's format, or its storage if it has none.
func (s *Source) Driver() string {
	if s.Protocol != "" {
		return s.Protocol
	}
	return s.Spec.Format
}

// resolver takes what it knows out of a tree.
type resolver struct {
	named   string // QEMU's name for the last disk that another one is in
	rest    *Tree
	objects *Objects
}

// warn prints a warning, if somebody does that.
func (r *resolver) warn(text string) {
	if r.objects != nil && r.objects.Warn != nil {
		r.objects.Warn(text)
	}
}

// disk takes the options of a disk, whose names begin with branch and a dot. What is
// left of them is an error.
func (r *resolver) disk(branch string) (*Source, error) {
	at := func(name string) string { return join(branch, name) }
	s := new(Source)
	driver, named := r.rest.takeText(at("driver"))
	if named && driver == "" {
		return nil, errNoDriver
	}
	strong := make(map[string]any)
	switch driver {
	case "file", "host_device", "host_cdrom":
		s.Spec.Format, s.Protocol, s.Spec.FileDriver = block.FormatRaw, driver, driver
		r.rest.rename(at("filename"), at("file.filename"))
		r.rest.rename(at("locking"), at("file.locking"))
	case "null-co", "null-aio":
		s.Spec.Format, s.Protocol = block.FormatNull, driver
		if r.rest.Get(at("file.driver")) == driver { // as part of the name
			r.rest.take(at("file.driver"))
		}
	case "nbd":
		s.Spec.Format, s.Protocol = block.FormatRaw, driver
		r.remoteToFile(at)
	case "compress", "copy-on-read":
		return r.filter(branch, driver)
	case "blkdebug":
		if r.rest.Get(at("file.driver")) == driver { // as part of the name
			r.rest.take(at("file.driver"))
			r.rest.rename(at("file.image.filename"), at("image.filename"))
			r.rest.rename(at("file.config"), at("config"))
		}
		r.rest.rename(at("filename"), at("image.filename")) // a name alone is that of the image
		r.rest.rename(at("file.filename"), at("image.filename"))
		s.Spec.Format, s.Protocol = block.FormatRaw, driver
		below := r.branch(branch)
		below.move(at("file"))
		r.rest.Add(below)
		r.rest.Set(at("file.driver"), driver)
	case "", block.FormatQCOW2, block.FormatRaw, block.FormatLUKS:
		s.Spec.Format = driver
		if branch != "" && !r.rest.has(at("file")) {
			r.rest.rename(at("filename"), at("file.filename"))
		}
	default:
		return nil, fmt.Errorf("Unknown driver '%s'", driver)
	}
	var file map[string]any
	var err error
	if s.Spec.Format == block.FormatNull {
		err = r.null(s, at, strong)
	} else {
		file, err = r.storage(s, at)
		s.Spec.Filter = s.Protocol == "blkdebug" && s.Spec.Storage != nil
	}
	if err == nil {
		err = r.generic(s, at)
	}
	if err == nil {
		err = r.format(s, at, strong)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range r.rest.Names() {
		if branch == "" || strings.HasPrefix(name, branch+".") {
			return nil, unknown(s, driver, within(branch, name))
		}
	}
	strange := len(strong) > 0 || s.Name == ""
	if s.options = strong; file != nil {
		s.options["file"] = file
	}
	switch s.Protocol {
	case "blkdebug", "file", "host_device", "nbd":
		s.options = file
	default:
		if driver != "" {
			s.options["driver"] = driver
		}
	}
	if strange {
		s.Name, s.Full = "", s.options
	}
	return s, nil
}

// errNoDriver refuses the empty name of a driver.
var errNoDriver = errors.New("Unknown driver ''")

// below takes the options of a disk that another one is made of.
func (r *resolver) below(branch string) (*Source, error) {
	s, err := r.disk(branch)
	if err != nil {
		return nil, err
	}
	s.Spec.Debug = s.NewDebug(nil)
	return s, nil
}

// names finds what the names of backing files stand for.
type names struct{ objects *Objects }

// Named implements block.Names.
func (n *names) Named(name, format string) (*block.Spec, error) {
	tree, err := ParseName(name)
	if err != nil {
		return nil, err
	}
	if format != "" {
		tree.Set("driver", format)
	}
	s, err := tree.Resolve(n.objects)
	if err != nil {
		return nil, err
	}
	s.Spec.Debug, s.Spec.ReadOnly = s.NewDebug(nil), true
	return &s.Spec, nil
}

// within returns the name that an option has inside a branch.
func within(branch, name string) string {
	if branch == "" {
		return name
	}
	return strings.TrimPrefix(name, branch+".")
}

// unknown is the error about an option that a driver does not have.
func unknown(s *Source, driver, name string) error {
	if rest, ok := strings.CutPrefix(name, "file."); ok && s.Spec.Format != block.FormatNull {
		protocol := "file"
		if s.Inject {
			protocol = "blkdebug"
		} else if s.Spec.Storage != nil && s.Spec.Storage.Remote != nil {
			protocol = "nbd"
		}
		return fmt.Errorf("Block protocol '%s' doesn't support the option '%s'", protocol, rest)
	}
	if s.Protocol != "" {
		return fmt.Errorf("Block protocol '%s' doesn't support the option '%s'", s.Protocol, name)
	}
	if driver == "" {
		driver = block.FormatQCOW2
	}
	return fmt.Errorf("Block format '%s' does not support the option '%s'", driver, name)
}

// branch takes the options of a branch, and returns them without its name.
func (r *resolver) branch(branch string) *Tree {
	if branch == "" {
		t := r.rest
		r.rest = NewTree()
		return t
	}
	t := NewTree()
	for _, name := range r.rest.Names() {
		if rest, ok := strings.CutPrefix(name, branch+"."); ok {
			r.rest.rename(name, rest)
			value, spelled, _ := r.rest.take(rest)
			t.text[rest] = value
			if literal, ok := spelled.(json.RawMessage); ok {
				t.spelled[rest] = string(literal)
			}
		}
	}
	return t
}

// storage takes the options of the file that a disk is in, and of faults injected
// under it. It returns them as JSON has them.
func (r *resolver) storage(s *Source, at func(string) string) (map[string]any, error) {
	named := r.rest.has(at("file"))
	if node, ok := r.rest.takeText(at("file")); ok && named {
		return nil, errors.New("Cannot reference an existing block device with additional options or a new filename")
	} else if ok {
		return nil, fmt.Errorf("Cannot find device='%s' nor node-name='%s'", node, node)
	}
	driver, given := r.rest.takeText(at("file.driver"))
	if given && driver == "" {
		return nil, errNoDriver
	}
	full := map[string]any{"driver": "file"}
	switch driver {
	case "":
		if s.Spec.FileDriver == "" {
			s.Spec.FileDriver = block.DriverAny
		}
	case "file", "host_device", "host_cdrom":
		full["driver"], s.Spec.FileDriver = driver, driver
	case "blkdebug":
		if err := r.inject(s, at, full); err != nil || s.Spec.Storage != nil {
			return full, err
		}
	case "nbd":
		return r.remote(s, at)
	case block.FormatQCOW2, block.FormatRaw, block.FormatLUKS, "null-co", "null-aio":
		r.rest.Set(at("file.driver"), driver)
		return r.nest(s, at("file"))
	default:
		return nil, fmt.Errorf("Unknown driver '%s'", driver)
	}
	name, filename := r.rest.takeText(at("file.filename"))
	if s.Spec.Path = name; name == "" {
		switch {
		case named && !s.Inject && driver == "" && !filename:
			return nil, errors.New("Must specify either driver or file")
		case named && !s.Inject:
			return nil, errors.New("The 'file' block driver requires a file name")
		case s.Inject:
			return nil, errors.New("A block device must be specified for \"image\"")
		case s.Protocol != "":
			return nil, fmt.Errorf("The '%s' block driver requires a file name", s.Protocol)
		case s.Spec.Format != "":
			return nil, errors.New("A block device must be specified for \"file\"")
		}
		return nil, errors.New("Must specify either driver or file")
	}
	if !s.Inject {
		s.Name, full["filename"] = name, name
	}
	switch v, _, _ := r.rest.take(at("file.locking")); v {
	case "", "auto":
	case "on":
		s.Spec.Locking = block.LockingOn
	case "off":
		s.Spec.Locking = block.LockingOff
	default:
		return nil, fmt.Errorf("invalid parameter value: %s", v)
	}
	return full, nil
}

// nest takes the options of a disk that another one is in, and returns them.
func (r *resolver) nest(s *Source, branch string) (map[string]any, error) {
	below, err := r.below(branch)
	if err != nil {
		return nil, err
	}
	s.Spec.Storage, s.Spec.Path = &below.Spec, below.Spec.Path
	if r.named = below.Name; below.Spec.Format == block.FormatNull {
		s.Name = below.Name
	}
	return below.options, nil
}

// inject takes the options of faults, and of the file under them.
func (r *resolver) inject(s *Source, at func(string) string, full map[string]any) error {
	s.Inject = true
	file := at("file")
	if node, ok := r.rest.takeText(join(file, "image")); ok {
		return fmt.Errorf("Cannot find device='%s' nor node-name='%s'", node, node)
	}
	r.rest.rename(join(file, "x-image"), join(file, "filename"))
	image := map[string]any{"driver": "file"}
	switch d := r.rest.Get(join(file, "image.driver")); d {
	case "", "file", "host_device":
		if r.rest.take(join(file, "image.driver")); d != "" {
			image["driver"] = d
		}
		r.rest.rename(join(file, "image.filename"), join(file, "filename"))
		r.rest.rename(join(file, "image.locking"), join(file, "locking"))
		image["filename"] = r.rest.Get(join(file, "filename"))
	default:
		var err error
		if image, err = r.nest(s, join(file, "image")); err != nil {
			return err
		}
	}
	if err := r.limits(s, file, full); err != nil {
		return err
	}
	before, config := r.rest.Clone(), r.rest.Get(join(file, "config"))
	var err error
	if s.Rules, err = blkdebug.TakeOptions(r.rest.text, file+"."); err != nil {
		return err
	}
	for name := range r.rest.spelled {
		if _, left := r.rest.text[name]; !left {
			delete(r.rest.spelled, name)
		}
	}
	for name := range before.text {
		if _, left := r.rest.text[name]; !left {
			_, spelled, _ := before.take(name)
			full[strings.TrimPrefix(name, file+".")] = spelled
		}
	}
	full["driver"], full["image"] = "blkdebug", image
	plain := maps.Clone(full)
	delete(plain, "config")
	name, _ := image["filename"].(string)
	if s.Spec.Storage != nil {
		name = r.named
	}
	if len(plain) == 2 && name != "" {
		s.Name = fmt.Sprintf("blkdebug:%s:%s", config, name)
	}
	return nil
}

// limits takes what the storage under faults is said to be able to do, and the permissions
// that it is locked for.
func (r *resolver) limits(s *Source, file string, full map[string]any) error {
	for _, name := range blkdebug.LimitOptions() {
		v, spelled, ok := r.rest.take(join(file, name))
		if !ok {
			continue
		}
		n, err := r.size(name, v)
		if err != nil {
			return err
		}
		s.Limits.Set(name, n)
		full[name] = spelled
	}
	for option, to := range map[string]*qcow2.Permission{"take-child-perms": &s.Spec.Take, "unshare-child-perms": &s.Spec.Unshare} {
		for i := 0; ; i++ {
			name := option + "." + strconv.Itoa(i)
			v, spelled, ok := r.rest.take(join(file, name))
			if !ok {
				break
			}
			p, known := permissions[v]
			if !known {
				return fmt.Errorf("Invalid parameter '%s'", v)
			}
			*to |= p
			full[name] = spelled
		}
	}
	return s.Limits.Valid()
}

// permissions are the names of what a user of a file does.
var permissions = map[string]qcow2.Permission{
	"consistent-read": qcow2.PermRead, "write": qcow2.PermWrite, "write-unchanged": qcow2.PermWriteUnchanged, "resize": qcow2.PermResize,
}

// SizeError says that the option of its name must be a size. It takes three lines.
type SizeError string

func (e SizeError) Error() string {
	return fmt.Sprintf("Parameter '%s' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.", string(e))
}

// size reads the size that an option of that name has as its value.
func (r *resolver) size(name, value string) (int64, error) {
	WarnSize(value, r.warn)
	n, err := ParseSize(value)
	if err != nil {
		return 0, SizeError(name)
	}
	return n, nil
}
