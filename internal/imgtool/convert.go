package imgtool

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

var convertCommand = command{
	name: "convert",
	synopsis: "[-f FMT] [-O OUTPUT_FMT] [-B BACKING_FILE [-F BACKING_FMT]] [-o OPTIONS] [-l SNAPSHOT_PARAM] [-S SPARSE_SIZE] " +
		"[-r RATE_LIMIT] [-m NUM_COROUTINES] [-t CACHE] [-T SRC_CACHE] [-c] [-C] [-n] [-p] [-q] [-U] [-W] [--salvage] " +
		"[--target-is-zero] [--bitmaps] [--skip-broken-bitmaps] FILE... OUTPUT_FILE",
	about: "copy images to one of another format",
	flags: []flag{
		flagFormat, {'O', "", "OUTPUT_FMT", "format of the output (raw)"}, {'B', "", "BACKING_FILE", "copy only what differs from this image"},
		{'F', "", "BACKING_FMT", "format of the backing file"}, {'c', "", "", "compress"},
		{'C', "", "", "let the host copy, where it can"}, {'o', "", "OPTIONS", "options of the output format"},
		{'l', "", "SNAPSHOT_PARAM", "the disk as it is in a snapshot"},
		{'S', "", "SPARSE_SIZE", "how many zero bytes in a row become a hole (4k); 0: none do"},
		{'r', "", "RATE_LIMIT", "bytes written per second"}, {'m', "", "NUM_COROUTINES", "parallel copies (8)"},
		flagCache, {'T', "", "SRC_CACHE", "cache mode of the sources"}, {'n', "", "", "the output exists already"},
		flagProgress, flagQuiet, {'W', "", "", "write in any order"}, {0, "salvage", "", "what can't be read becomes zeroes"},
		{0, "target-is-zero", "", "the output reads as zeroes already"},
		{0, "target-image-opts", "", "OUTPUT_FILE is a list of options, not a name"},
		{0, "bitmaps", "", "copy persistent bitmaps"}, {0, "skip-broken-bitmaps", "", "except inconsistent ones"},
		flagShare, flagObject, flagImageOpts,
	},
	run: runConvert,
}

// convertJob is what the command line of convert asks for.
type convertJob struct {
	format     string // of the output
	compress   bool
	reuse      bool // -n
	sparse     int64
	workers    int
	anyOrder   bool
	salvage    bool
	zeroed     bool // --target-is-zero
	bitmaps    bool
	skipBroken bool
	quiet      bool
	rate       int64 // bytes per second, 0: no limit
}

func runConvert(t *Tool, a *arguments) (err error) {
	j, err := t.convertArguments(a)
	if err != nil {
		return err
	}
	if wantsHelp(a.all("o")) {
		if createOptionsOf(j.format) == nil {
			return errNoCreation(j.format)
		}
		t.printf("%s", optionsHelp(j.format, len(a.operands) > 1))
		return nil
	}
	if len(a.operands) < 2 {
		return errors.New("Must specify image file name")
	}
	sources, out := a.operands[:len(a.operands)-1], a.operands[len(a.operands)-1]
	if err := checkCache(a.get("T", ""), true); err != nil {
		return err
	}
	c := &copying{tool: t, job: j, backed: a.has("B")}
	c.progress = t.newProgress(a.has("p") && !j.quiet, 1)
	defer c.progress.end()
	c.progress.set(0, 1)
	defer c.closeSources()
	for i, name := range sources {
		if err := t.addSource(c, name, a, i == 0); err != nil {
			return err
		}
	}
	var n *newImage
	if !j.reuse {
		if n, err = c.describeOutput(out, a); err != nil {
			return err
		}
	}
	switch {
	case j.zeroed && c.backed:
		return errors.New("Cannot use --target-is-zero when the destination image has a backing file")
	case c.backed && len(sources) > 1:
		return errors.New("Having a backing file for the target makes no sense when concatenating multiple input images")
	case n != nil:
		if err := c.checkOutput(n); err != nil {
			return err
		}
	}
	if j.bitmaps {
		if err := c.checkBitmaps(); err != nil {
			return err
		}
	}
	if n != nil {
		if err := c.createOutput(n); err != nil {
			return err
		}
	}
	d, err := t.openOutput(c, out, a)
	if err != nil {
		return err
	}
	defer closing(d, &err)
	c.out = d
	if err := c.prepare(out); err != nil {
		return err
	}
	c.work = c.total
	// Who looks on is shown how much of the data is copied. Where sources are broken, what
	// can't be had is said each time that it is looked at, as by qemu-img.
	if c.progress.live || j.salvage {
		if c.work, err = c.measureWork(); err != nil {
			return err
		}
	}
	err = c.run()
	if err == nil {
		err = c.copyBitmaps()
	}
	if err == nil {
		c.progress.set(1, 1)
		err = d.Flush()
	}
	return err
}

func (t *Tool) convertArguments(a *arguments) (*convertJob, error) {
	j := &convertJob{
		format: a.get("O", t.DefaultFormat), compress: a.has("c"), reuse: a.has("n"), sparse: 4096, workers: 8,
		anyOrder: a.has("W"), salvage: a.has("salvage"), zeroed: a.has("target-is-zero"),
		bitmaps: a.has("bitmaps"), skipBroken: a.has("skip-broken-bitmaps"), quiet: a.has("q"),
	}
	if j.salvage { // what can't be read is told in order
		j.workers = 1
	}
	for _, o := range a.options {
		if err := j.number(a, o); err != nil {
			return nil, err
		}
	}
	switch {
	case j.skipBroken && !j.bitmaps:
		return nil, errors.New("Use of --skip-broken-bitmaps requires --bitmaps")
	case a.has("C") && j.compress:
		return nil, errors.New("Cannot enable copy offloading when -c is used")
	case a.has("C") && a.has("S"):
		return nil, errors.New("Cannot enable copy offloading when -S is used")
	case a.has("C") && j.salvage:
		return nil, errors.New("Cannot use copy offloading in salvaging mode")
	case a.has("target-image-opts") && !j.reuse:
		return nil, errors.New("--target-image-opts requires use of -n flag")
	case j.reuse && a.has("o"):
		return nil, errors.New("-o has no effect when skipping image creation")
	case j.zeroed && !j.reuse:
		return nil, errors.New("--target-is-zero requires use of -n flag")
	}
	return j, nil
}

const maxSparse = 16 << 20

// number takes an option that is a number.
func (j *convertJob) number(a *arguments, o option) (err error) {
	switch o.name {
	case "m":
		n, err := strconv.ParseInt(o.value, 0, 0)
		if j.workers = int(n); err != nil || n < 1 || n > 16 {
			return errors.New("Invalid number of coroutines. Allowed number of coroutines is between 1 and 16")
		}
	case "S":
		j.sparse, err = a.imageSize(o.value, "buffer size for sparse output")
		if errors.As(err, new(*sizeSyntaxError)) {
			return err
		}
		if err != nil || j.sparse%sectorSize != 0 || j.sparse > maxSparse {
			return fmt.Errorf("Invalid buffer size for sparse output specified. Valid sizes are multiples of %d up to %d. "+
				"Select 0 to disable sparse detection (fully allocates output).", sectorSize, maxSparse)
		}
	case "r":
		j.rate, err = a.imageSize(o.value, "rate limit")
	}
	return err
}

// addSource opens an image that is copied; the first may be at a snapshot.
func (t *Tool) addSource(c *copying, name string, a *arguments, first bool) error {
	o := openOptions{format: a.get("f", ""), cache: a.get("T", ""), source: true, share: a.has("force-share"), alone: true, inOrder: true}
	s, err := t.locate(name, a.has("image-opts"), o)
	if err != nil {
		return err
	}
	snapshot, err := t.snapshotParameter(a)
	if err != nil {
		return err
	}
	if snapshot != nil && first {
		if len(a.operands) > 2 && snapshot.Any != "" {
			return errors.New("No support for concatenating multiple snapshot")
		}
		if err := setSnapshot(&s.spec, snapshot); err != nil {
			return err
		}
	}
	d, err := t.openSource(s, o)
	if err != nil {
		return snapshotError(err)
	}
	c.add(d)
	return nil
}

// describeOutput says what the image will be that is written.
func (c *copying) describeOutput(out string, a *arguments) (*newImage, error) {
	n := &newImage{format: c.job.format, file: out, size: c.total, unsafe: true, quiet: true}
	known := createOptionsOf(n.format)
	if known == nil {
		return nil, errNoCreation(n.format)
	}
	err := creatable(out)
	if err == nil {
		n.values, err = readOptions(merge(known, fileOptions), a.all("o"), a.warn)
	}
	if err != nil {
		return nil, err
	}
	delete(n.values, "size") // it is that of the sources
	if err := n.setBacking(a, "B"); err != nil {
		return nil, err
	}
	c.backed = c.backed || n.values["backing_file"] != ""
	return n, nil
}

// checkOutput refuses options of the output that exclude each other.
func (c *copying) checkOutput(n *newImage) error {
	switch {
	case n.values["backing_file"] != "" && n.values["backing_fmt"] == "":
		return errors.New("Use of backing file requires explicit backing format")
	case !c.job.compress:
		return nil
	case n.format != block.FormatQCOW2:
		return errors.New("Compression not supported for this file format")
	case n.values.on("encryption") || n.values["encrypt.format"] != "":
		return errors.New("Compression and encryption not supported at the same time")
	case n.values.or("preallocation", "off") != "off":
		return errors.New("Compression and preallocation not supported at the same time")
	}
	return nil
}

// createOutput makes the image that is written.
func (c *copying) createOutput(n *newImage) error {
	if err := c.tool.create(n); err != nil {
		return fmt.Errorf("%s: error while converting %s: %w", n.file, n.format, errors.Unwrap(err))
	}
	c.zeroed = !c.backed && n.format != block.FormatLUKS
	c.secret = n.values.or("encrypt.key-secret", n.values["key-secret"])
	return nil
}

// openOutput opens it.
func (t *Tool) openOutput(c *copying, out string, a *arguments) (block.Device, error) {
	o := openOptions{format: c.job.format, write: true, cache: a.get("t", "unsafe"), inOrder: true}
	if c.job.reuse && !a.has("O") && !a.has("target-image-opts") {
		o.format = block.FormatRaw
	}
	if a.has("target-image-opts") {
		if o.format = ""; a.has("O") {
			return nil, errors.New("--image-opts and --format are mutually exclusive")
		}
	}
	s, err := t.locate(out, a.has("target-image-opts"), o)
	if err != nil {
		return nil, err
	}
	if c.secret != "" && s.spec.Secret == "" {
		s.spec.Secret = t.objects.Secrets[c.secret]
	}
	return t.openSource(s, o)
}

// image is the output as a qcow2 image, nil if it is none.
func (c *copying) image() *qcow2.Image {
	im, _ := c.out.(*qcow2.Image)
	return im
}
