package imgio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
)

// openImage opens an image, and prints why that does not work.
func (s *Session) openImage(o *openOptions) bool {
	if s.disk != nil {
		s.complain("file open already, try 'help close'")
		return false
	}
	if o.share && o.tree != nil && o.tree.Denies("force-share") {
		s.complain("-U conflicts with image options")
		return false
	}
	d, err := s.openDisk(o)
	if err != nil {
		device := ""
		if o.named {
			device = " device " + o.name
		}
		s.complain("can't open%s: %s", device, blockopt.Reason(err))
		var image *qcow2.ImageError
		if errors.As(err, &image) && image.Hint != "" {
			fmt.Fprintln(s.Err, image.Hint)
		}
		if errors.As(err, &image) && image.Detail != "" && s.Name != qemuIO {
			s.complain("%s", image.Detail)
		}
		return false
	}
	s.disk = d
	return true
}

// Corrupt implements block.Reporter.
func (s *Session) Corrupt(_, problem string, marked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.Err, block.CorruptionText(problem, marked))
}

// Repair implements block.Reporter.
func (s *Session) Repair(_, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.Err, line)
}

// StaleBitmaps implements block.StaleReporter.
func (s *Session) StaleBitmaps(_ string, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprint(s.Err, block.StaleBitmapsText(s.Name, version))
}

// qemuIO is the name under which nothing is said that qemu-io does not say.
const qemuIO = "qemu-io"

func (s *Session) openDisk(o *openOptions) (*disk, error) {
	t, err := o.resolve(s.Objects)
	if err != nil {
		return nil, err
	}
	spec := t.Spec
	guessed := t.Spec.Guessed && spec.Format == block.FormatRaw && !spec.ReadOnly && !o.snapshot
	d := &disk{writethrough: o.cache.writethrough, unmap: t.unmap, detect: t.DetectZeroes, driver: t.Driver()}
	if o.tree != nil {
		d.nodes = make(map[string]string)
		for _, name := range o.tree.Names() {
			if name == "node-name" || strings.HasSuffix(name, ".node-name") {
				d.nodes[name] = o.tree.Get(name)
			}
		}
	}
	d.debug = t.NewDebug(func(line string) { s.printf("%s\n", line) })
	spec.Debug, spec.Report, spec.ShareRaw = d.debug, s, true
	if o.snapshot {
		if spec, err = block.TemporaryOverlay(spec); err != nil {
			return nil, err
		}
		defer os.RemoveAll(filepath.Dir(spec.Path)) // it is open by then
	}
	d.spec = spec
	d.dev, err = block.Open(spec)
	if guessed && !errors.Is(err, block.ErrExportReadOnly) { // QEMU does not come to guess then
		name := t.Name
		if name == "" {
			name = o.name
		}
		fmt.Fprintf(s.Err, block.GuessWarning, name)
	}
	if err != nil {
		return nil, err
	}
	if im, ok := d.dev.(*qcow2.Image); ok { // it could be read without them, but qemu-io does not
		if _, err := im.Bitmaps(); err != nil {
			return nil, errors.Join(err, d.dev.Close())
		}
	}
	return d, nil
}

func (s *Session) open(c *command, words []string) bool {
	f, ok := parse(words[0], words[1:], lettersOf(c.letters), s.Err)
	if !ok {
		s.usage(c)
		return false
	}
	o := openOptions{cache: cacheMode{writethrough: true}}
	for _, x := range f.seen {
		known, err := o.set(x)
		if err != nil {
			s.complain("%v", err)
			return false
		}
		if known {
			continue
		}
		if s.ImageOptions {
			s.printf("--image-opts and 'open -o' are mutually exclusive\n")
			return false
		}
		o.add(x.value, s.warn)
	}
	switch {
	case len(f.args) > 1:
		s.usage(c)
		return false
	case len(f.args) == 1 && s.ImageOptions:
		o.tree = blockopt.ParseOptions(f.args[0], s.warn)
	case len(f.args) == 1:
		o.name, o.named = f.args[0], true
	}
	return s.openImage(&o)
}

// add takes one -o.
func (o *openOptions) add(list string, warn func(text string)) {
	if o.tree == nil {
		o.tree = blockopt.NewTree()
	}
	o.tree.Add(blockopt.OptionTree(blockopt.Split(list), warn))
}

func (s *Session) closeCommand(*command, []string) bool {
	d := s.disk
	if err := s.Close(); err != nil {
		return s.sayClose(d, err)
	}
	return true
}

// reopen closes the image and opens it with other options. What the options do
// not name stays as it was.
func (s *Session) reopen(c *command, words []string) bool {
	f, ok := s.options(c, words, 0, 0)
	if !ok {
		return false
	}
	d := s.disk
	spec, writethrough := d.spec, d.writethrough
	o := openOptions{}
	var access byte
	cache := false
	for _, x := range f.seen {
		switch x.letter {
		case 'c':
			if o.cache, ok = parseCache(x.value); !ok {
				s.complain("Invalid cache option: %s", x.value)
				return false
			}
			cache = true
		case 'r', 'w':
			if access != 0 {
				s.complain("Only one -r/-w option may be given")
				return false
			}
			access = x.letter
		case 'o':
			o.add(x.value, s.warn)
		}
	}
	if cache {
		spec.Direct, spec.NoFlush, writethrough = o.cache.direct, o.cache.noFlush, o.cache.writethrough
	}
	if access != 0 {
		spec.ReadOnly = access == 'r'
	}
	if !s.reopenOptions(&spec, d, o.tree, access != 0, cache) {
		return false
	}
	s.wait()
	if err := d.dev.Close(); err != nil {
		s.disk = nil
		return s.sayClose(d, err)
	}
	dev, err := block.Open(spec)
	if err != nil {
		s.complain("%s", blockopt.Reason(err))
		// Back to how it was; if that fails nothing is open.
		if d.dev, err = block.Open(d.spec); err != nil {
			s.disk = nil
		}
		return false
	}
	d.dev, d.spec, d.writethrough = dev, spec, writethrough
	return true
}

// reopenOptions takes the options of reopen that are keys and values.
func (s *Session) reopenOptions(spec *block.Spec, d *disk, tree *blockopt.Tree, access, cache bool) bool {
	if tree == nil {
		return true
	}
	switch {
	case access && tree.Has("read-only"):
		s.complain("Cannot set both -r/-w and 'read-only'")
		return false
	case cache && (tree.Has("cache.direct") || tree.Has("cache.no-flush")):
		s.complain("Cannot set both -c and the cache options")
		return false
	}
	for _, name := range tree.Names() {
		last := name[strings.LastIndex(name, ".")+1:]
		if last != "node-name" && last != "driver" {
			continue
		}
		if now := d.identity(name); now == "" || tree.Get(name) != now {
			s.complain("Cannot change the option '%s'", last)
			return false
		}
		tree.Drop(name)
	}
	if tree.Has("read-only") && !tree.Denies("read-only") && !d.spec.ReadOnly {
		// Who has it open writes, until -r says otherwise.
		s.complain("Read-only block node '%s' cannot support read-write users", blockopt.NodeName)
		return false
	}
	source := &blockopt.Source{Spec: *spec}
	if err := tree.TakeRuntime(source); err != nil {
		s.complain("%v", err)
		return false
	}
	for _, name := range tree.Names() {
		s.complain("Cannot change the option '%s'", name[strings.LastIndex(name, ".")+1:])
		return false
	}
	if source.DetectZeroes != "" {
		d.detect = source.DetectZeroes
	}
	*spec, d.unmap = source.Spec, d.unmap && !source.KeepDiscarded || source.Discard
	return true
}
