package imgtool

import (
	"errors"
	"fmt"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

var measureCommand = command{
	name: "measure", synopsis: "[--output=OFMT] [-O OUTPUT_FMT] [-o OPTIONS] [--size N | [-f FMT] [-l SNAPSHOT_PARAM] [-U] FILE]",
	about: "say how large the file of a new image would be",
	flags: []flag{
		flagOutput, {'O', "", "OUTPUT_FMT", "format of the new image (raw)"}, {'o', "", "OPTIONS", "options of that format"},
		{0, "size", "N", "size of the disk"}, flagFormat, {'l', "", "SNAPSHOT_PARAM", "the disk as it is in a snapshot"},
		flagShare, flagObject, flagImageOpts,
	},
	run: runMeasure,
}

func runMeasure(t *Tool, a *arguments) error {
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	if len(a.operands) > 1 {
		return errors.New("At most one filename argument is allowed.")
	}
	snapshot, err := t.snapshotParameter(a)
	if err != nil {
		return err
	}
	size := int64(-1)
	if a.has("size") {
		if size, err = a.imageSize(a.get("size", ""), "image size"); err != nil {
			return err
		}
	}
	switch {
	case len(a.operands) == 0 && (a.has("f") || a.has("l") || a.has("image-opts")):
		return errors.New("--image-opts, -f, and -l require a filename argument.")
	case len(a.operands) == 0 && size < 0:
		return errors.New("Either --size N or one filename must be specified.")
	case len(a.operands) == 1 && size >= 0:
		return errors.New("--size N cannot be used together with a filename.")
	}
	n := newImage{format: a.get("O", t.DefaultFormat), size: size}
	var d block.Device
	if len(a.operands) == 1 {
		s, err := t.locate(a.operands[0], a.has("image-opts"), openOptions{format: a.get("f", ""), inOrder: true})
		if err != nil {
			return err
		}
		if snapshot != nil {
			if err := setSnapshot(&s.spec, snapshot); err != nil {
				return err
			}
		}
		if d, err = t.openSource(s, openOptions{}); err != nil {
			return snapshotError(err)
		}
		defer d.Close()
		n.size = d.Size()
	}
	known := createOptionsOf(n.format)
	if known == nil {
		return fmt.Errorf("Unknown file format '%s'", n.format)
	}
	if n.values, err = readOptions(merge(known, fileOptions), a.all("o"), a.warn); err != nil {
		t.complain(err)
		return fmt.Errorf("Invalid options for file format '%s'", n.format)
	}
	if n.format == block.FormatLUKS {
		if _, err := t.secret(n.values["key-secret"], "key-secret"); err != nil {
			return err
		}
	}
	if n.format == driverFile || n.format == driverHostDevice {
		return fmt.Errorf("Block driver '%s' does not support size measurement", n.format)
	}
	if f := n.values["encrypt.format"]; f == "luks" && n.format == block.FormatQCOW2 {
		if _, err := t.secret(n.values["encrypt.key-secret"], "encrypt.key-secret"); err != nil {
			return err
		}
	}
	m, bitmaps, err := n.measure(d)
	if err != nil {
		return err
	}
	if asJSON {
		out := dict{"required": m.Required, "fully-allocated": m.FullyAllocated}
		if bitmaps >= 0 {
			out["bitmaps"] = bitmaps
		}
		t.printf("%s\n", marshal(out))
		return nil
	}
	t.printf("required size: %d\nfully allocated size: %d\n", m.Required, m.FullyAllocated)
	if bitmaps >= 0 {
		t.printf("bitmaps size: %d\n", bitmaps)
	}
	return nil
}

// measure computes the sizes for a copy of d or, if that is nil, for an empty
// disk. The size of bitmaps is -1 if there can't be any.
func (n *newImage) measure(d block.Device) (m qcow2.Measurement, bitmaps int64, err error) {
	switch n.format {
	case block.FormatLUKS:
		p, err := luksParams(n.values, "")
		if err != nil {
			return m, -1, err
		}
		header, err := p.HeaderSize()
		return qcow2.Measurement{Required: header + n.size, FullyAllocated: header + n.size}, -1, err
	case block.FormatRaw:
		size := sectors(n.size)
		return qcow2.Measurement{Required: size, FullyAllocated: size}, -1, nil
	}
	if c := n.values.or("compat", "1.1"); c != "0.10" && c != "1.1" {
		return m, -1, fmt.Errorf("Invalid compatibility level: '%s'", c)
	}
	if p := n.values.or("preallocation", "off"); p != "" {
		if _, ok := qcow2.ParsePreallocation(p); !ok {
			return m, -1, fmt.Errorf("invalid parameter value: %s", p)
		}
	}
	o, err := n.options()
	if err != nil {
		return m, -1, err
	}
	mo := qcow2.MeasureOptions{
		CreateOptions: o,
		AllData:       o.BackingFile != "" || o.Preallocation == qcow2.PreallocateFalloc || o.Preallocation == qcow2.PreallocateFull,
	}
	if mo.CryptoHeader, err = n.cryptoHeader(); err != nil {
		return m, -1, err
	}
	bitmaps = -1
	var source qcow2.Source
	if d != nil {
		s, ok := d.(qcow2.Source)
		if !ok {
			return m, -1, errors.New("Operation not supported")
		}
		source = s
		if im, ok := d.(*qcow2.Image); ok && im.Info().Version >= 3 && o.Version >= 3 {
			if bitmaps, err = bitmapsSize(im, o.ClusterSize); err != nil {
				return m, -1, err
			}
		}
	}
	if mo.BackingFile != "" && mo.BackingFormat == "" {
		mo.BackingFormat = block.FormatRaw // whatever it is
	}
	m, err = qcow2.Measure(source, mo)
	if errors.Is(err, qcow2.ErrCorrupt) {
		err = errors.New("Unable to get block status: " + reason(err))
	}
	if errors.Is(err, qcow2.ErrTooLarge) {
		err = errors.New("The image size is too large (try using a larger cluster size)")
	}
	return m, bitmaps, err
}

// bitmapsSize is how many bytes the bitmaps of an image take in one with
// clusters of the given size.
func bitmapsSize(im *qcow2.Image, cluster int64) (int64, error) {
	list, err := im.Bitmaps()
	if err != nil {
		return 0, err
	}
	round := func(n int64) int64 { return (n + cluster - 1) / cluster * cluster }
	var total, directory int64
	for _, b := range list {
		if b.Transient || b.Inconsistent {
			continue
		}
		bits := (im.Size() + b.Granularity - 1) / b.Granularity
		data := round((bits + 7) / 8)
		total += data + round(data/cluster*8)
		directory += (24 + int64(len(b.Name)) + 7) &^ 7
	}
	return total + round(directory), nil
}
