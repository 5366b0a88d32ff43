package imgtool

import (
	"fmt"
	"strings"

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

func runMap(t *Tool, a *arguments) error {
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	start, length := int64(0), int64(-1)
	if a.has("start-offset") {
		if start, err = imageSize(a.get("start-offset", ""), "start offset"); err != nil {
			return err
		}
	}
	if a.has("max-length") {
		if length, err = imageSize(a.get("max-length", ""), "max length"); err != nil {
			return err
		}
	}
	name, err := a.oneImage()
	if err != nil {
		return err
	}
	d, s, err := t.open(name, a, openOptions{format: a.get("format", "")})
	if err != nil {
		return err
	}
	defer d.Close()
	m, ok := d.(block.Mapper)
	if !ok {
		return fmt.Errorf("Failed to read image metadata: Operation not supported")
	}
	left := max(0, d.Size()-start)
	if length < 0 || length > left {
		length = left
	}
	p := mapPrinter{t: t, files: block.Files(d)}
	if _, ok := d.(*qcow2.Image); ok && s.opts.Inject {
		p.files[0] = s.injected()
	}
	if asJSON {
		t.printf("[")
		p.print = p.json
	} else {
		t.printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File")
		p.print = p.human
	}
	if asJSON && length == 0 {
		_ = p.print(qcow2.Extent{Offset: start, Host: -1})
	}
	for e, err := range qcow2.Extents(m, start, length) {
		if err != nil {
			return fmt.Errorf("Failed to read image metadata: %s", reason(err))
		}
		if err := p.print(e); err != nil {
			return err
		}
	}
	if asJSON {
		t.printf("]\n")
	}
	return nil
}

// mapPrinter prints extents.
type mapPrinter struct {
	t     *Tool
	files []string
	print func(qcow2.Extent) error
	count int
}

func (p *mapPrinter) human(e qcow2.Extent) error {
	if e.Data && e.Host < 0 {
		return fmt.Errorf("File contains external, encrypted or compressed clusters.")
	}
	if e.Data && !e.Zero {
		p.t.printf("%-16s%-16s%-16s%s\n", hex(e.Offset), hex(e.Length), hex(e.Host), p.files[e.Depth])
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
	var b strings.Builder
	if p.count++; p.count > 1 {
		b.WriteString(",\n")
	}
	fmt.Fprintf(&b, `{ "start": %d, "length": %d, "depth": %d, "present": %v, "zero": %v, "data": %v`,
		e.Offset, e.Length, e.Depth, e.Present, e.Zero, e.Data)
	if e.Host >= 0 {
		fmt.Fprintf(&b, `, "offset": %d`, e.Host)
	}
	b.WriteString("}")
	p.t.printf("%s", b.String())
	return nil
}
