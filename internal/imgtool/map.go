package imgtool

import (
	"bufio"
	"fmt"
	"strconv"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

var mapCommand = command{
	name: "map", synopsis: "[-f FMT] [--start-offset=OFFSET] [--max-length=LEN] [--output=OFMT] [-U] FILE",
	about: "say where the data of an image is",
	flags: []flag{
		flagFormat2, flagOutput, flagShare, flagObject, flagImageOpts,
		{'s', "start-offset", "OFFSET", "where to begin"}, {'l', "max-length", "LEN", "how far to go"},
	},
	run: runMap,
}

func runMap(t *Tool, a *arguments) (err error) {
	start, length := int64(0), int64(-1)
	if a.has("start-offset") {
		if start, err = a.imageSize(a.get("start-offset", ""), "start offset"); err != nil {
			return err
		}
	}
	if a.has("max-length") {
		if length, err = a.imageSize(a.get("max-length", ""), "max length"); err != nil {
			return err
		}
	}
	name, err := a.oneImage()
	if err != nil {
		return err
	}
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	d, s, err := t.open(name, a, openOptions{format: a.get("format", ""), inOrder: true})
	if err != nil {
		return err
	}
	defer d.Close()
	var m qcow2.Mapper = opaque{d}
	if known, ok := d.(block.Mapper); ok {
		m = known
	}
	left := max(0, d.Size()-start)
	if length < 0 || length > left {
		length = left
	}
	out := bufio.NewWriterSize(t.Stdout, 64<<10)
	defer func() {
		if e := out.Flush(); err == nil {
			err = e
		}
	}()
	p := mapPrinter{out: out, files: block.DataFiles(d)}
	if im, ok := d.(*qcow2.Image); ok && s.opts.Inject && !im.Info().HasDataFile {
		p.files[0] = s.injected()
	}
	if asJSON {
		out.WriteString("[")
		p.print = p.json
	} else {
		fmt.Fprintf(out, "%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File")
		p.print = p.human
	}
	if asJSON && length == 0 {
		_ = p.print(qcow2.Extent{Offset: start, Host: -1})
	}
	for e, err := range qcow2.Extents(m, start, length) {
		if err != nil {
			return fmt.Errorf("Could not read file metadata: %s", reason(err))
		}
		if err := p.print(e); err != nil {
			return err
		}
	}
	if asJSON {
		out.WriteString("]\n")
	}
	return nil
}

// opaque is a disk all of which is data that is nowhere in particular.
type opaque struct{ block.Device }

func (o opaque) Status(off, n int64) (qcow2.Extent, error) { return status(o.Device, off, n) }

// mapPrinter prints extents.
type mapPrinter struct {
	out   *bufio.Writer // keeps its first error
	files []string
	print func(qcow2.Extent) error
	count int
}

func (p *mapPrinter) human(e qcow2.Extent) error {
	if e.Data && e.Host < 0 {
		return fmt.Errorf("File contains external, encrypted or compressed clusters.")
	}
	if e.Data && !e.Zero {
		fmt.Fprintf(p.out, "%-16s%-16s%-16s%s\n", hex(e.Offset), hex(e.Length), hex(e.Host), p.files[e.Depth])
	}
	return nil
}

// hex is C's %#x.
func hex(n int64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", n)
}

func (p *mapPrinter) json(e qcow2.Extent) error {
	if p.count++; p.count > 1 {
		p.out.WriteString(",\n")
	}
	b := p.out.AvailableBuffer()
	b = strconv.AppendInt(append(b, `{ "start": `...), e.Offset, 10)
	b = strconv.AppendInt(append(b, `, "length": `...), e.Length, 10)
	b = strconv.AppendInt(append(b, `, "depth": `...), int64(e.Depth), 10)
	b = strconv.AppendBool(append(b, `, "present": `...), e.Present)
	b = strconv.AppendBool(append(b, `, "zero": `...), e.Zero)
	b = strconv.AppendBool(append(b, `, "data": `...), e.Data)
	if e.Host >= 0 {
		b = strconv.AppendInt(append(b, `, "offset": `...), e.Host, 10)
	}
	_, err := p.out.Write(append(b, '}'))
	return err
}
