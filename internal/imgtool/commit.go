package imgtool

import (
	"errors"
	"fmt"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

var commitCommand = command{
	name: "commit", synopsis: "[-f FMT] [-t CACHE] [-b BASE] [-r RATE_LIMIT] [-d] [-p] [-q] FILE",
	about: "write what an image has into its backing file",
	flags: []flag{
		flagFormat, flagCache, {'b', "", "BASE", "into this image of the chain; implies -d"}, {'r', "", "RATE_LIMIT", "bytes per second"},
		{'d', "", "", "leave the image as it is"}, flagProgress, flagQuiet, flagObject, flagImageOpts,
	},
	run: runCommit,
}

func runCommit(t *Tool, a *arguments) (err error) {
	name, err := a.oneImage()
	if err != nil {
		return err
	}
	rate := int64(0)
	if a.has("r") {
		if rate, err = a.imageSize(a.get("r", ""), "rate limit"); err != nil {
			return err
		}
	}
	base, based := a.get("b", ""), a.has("b")
	noBacking := errors.New("Image does not have a backing file")
	if based {
		noBacking = fmt.Errorf("Did not find '%s' in the backing chain of '%s'", base, name)
	}
	d, s, err := t.open(name, a, openOptions{format: a.get("f", ""), write: true, cache: a.get("t", ""), reopens: true, inOrder: true})
	if err != nil {
		return err
	}
	defer closing(d, &err)
	p := t.newProgress(a.has("p") && !a.has("q"), 1)
	ended := false
	end := func() {
		if !ended {
			p.end()
		}
		ended = true
	}
	defer end()
	p.set(0, 1)
	im, ok := block.Unfiltered(d).(*qcow2.Image)
	if !ok {
		return noBacking
	}
	files := block.Files(im)
	if len(files) < 2 {
		return noBacking
	}
	depth := 1
	if based {
		if depth = chainDepth(im, files, base); depth < 1 {
			return noBacking
		}
	}
	format := im.Info().BackingFormat
	for d, under := 1, im.Backing(); d < depth; d++ {
		mid := under.(*qcow2.Image)
		format, under = mid.Info().BackingFormat, mid.Backing()
	}
	spec := block.Spec{Format: format}
	named := s.spec.Backing
	if named == nil {
		odd, err := t.oddName(im, depth)
		if err != nil {
			return err
		}
		if odd != nil {
			spec = *odd
		}
	}
	if named != nil && depth > 1 {
		return errors.New("Committing into what is below a backing file that options name is not supported")
	} else if named != nil {
		if spec = *named; spec.Format == "" {
			spec.Format = format
		}
	}
	if spec.Storage == nil {
		spec.Path = files[depth]
	}
	spec.ReadOnly, spec.ShareRaw, spec.L2CacheSize = false, true, writeCache
	below, err := block.Open(spec)
	if locked := (*qcow2.LockError)(nil); errors.As(err, &locked) {
		return &restated{lockText(locked), err}
	} else if err != nil {
		return openError(files[depth], err)
	}
	defer closing(below, &err)
	target, ok := below.(qcow2.CommitTarget)
	if !ok {
		return fmt.Errorf("Block format '%s' can't be committed into", format)
	}
	err = im.CommitTo(target, qcow2.CommitOptions{Depth: depth, Keep: a.has("d") || based, Rate: rate, Progress: p.set})
	if err == nil {
		p.set(1, 1)
	}
	end()
	switch {
	case errors.Is(err, qcow2.ErrNotEmptied):
		return fmt.Errorf("Failed to empty %s: %s", s.injected(), reason(err))
	case err != nil:
		return fmt.Errorf("Block job failed: %s", reason(err))
	}
	if !a.has("q") {
		t.printf("Image committed.\n")
	}
	return nil
}

// oddName returns what the backing file at depth is, if it has a name that is no plain
// file name; else nil.
func (t *Tool) oddName(im *qcow2.Image, depth int) (*block.Spec, error) {
	for ; depth > 1; depth-- {
		im = im.Backing().(*qcow2.Image)
	}
	info := im.Info()
	if !strings.HasPrefix(info.BackingFile, "json:") && !strings.HasPrefix(info.BackingFile, "blkdebug:") {
		return nil, nil
	}
	s, err := t.locate(info.BackingFile, false, openOptions{format: info.BackingFormat, write: true})
	return &s.spec, err
}

// chainDepth finds a name among the files of a chain: as the image above it has it, or
// as a path from where that image is.
func chainDepth(im *qcow2.Image, files []string, name string) int {
	for depth := 1; depth < len(files); depth++ {
		if name == im.Info().BackingFile || sameFile(files[depth], backingPath(files[depth-1], name)) {
			return depth
		}
		next, ok := im.Backing().(*qcow2.Image)
		if !ok {
			break
		}
		im = next
	}
	return 0
}
