package imgtool

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
)

var explainCommand = command{
	name: "explain", synopsis: "[--output=OFMT] [--l1] [--l2=INDEX]... [--refcounts] [--all] [--guest=OFFSET | --host=OFFSET] [-U] FILE",
	about: "say what the bytes of a qcow2 image mean",
	flags: []flag{
		flagOutput, flagShare, flagObject, flagImageOpts,
		{0, "l1", "", "show the whole L1 table, not only its beginning"},
		{0, "l2", "INDEX", "show the whole L2 table of this L1 entry; may be repeated"},
		{0, "refcounts", "", "show the whole refcount table and all refcount blocks"},
		{0, "all", "", "show everything"},
		{0, "guest", "OFFSET", "show how this offset of the disk is mapped, step by step"},
		{0, "host", "OFFSET", "show what uses the cluster with this offset of the file"},
	},
	run: runExplain,
}

// errExplainNumber is a number that can't be one.
func errExplainNumber(name, value string) error {
	return fmt.Errorf("--%s %s: must be a number, decimal or 0x..., or for offsets one with a unit such as 64k", name, value)
}

func runExplain(t *Tool, a *arguments) error {
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	o := qcow2.ExplainOptions{L1: a.has("l1"), Refcounts: a.has("refcounts"), All: a.has("all")}
	for _, s := range a.all("l2") {
		i, err := strconv.ParseUint(s, 0, 32)
		if err != nil {
			return errExplainNumber("l2", s)
		}
		o.L2 = append(o.L2, int64(i))
	}
	if a.has("guest") && a.has("host") {
		return usage("--guest and --host are mutually exclusive")
	}
	name, err := a.oneImage()
	if err != nil {
		return err
	}
	explain := func(f qcow2.File, visit func(qcow2.Note) error) error { return qcow2.Explain(f, o, visit) }
	for which, at := range map[string]func(qcow2.File, int64, func(qcow2.Note) error) error{
		"guest": qcow2.ExplainGuest, "host": qcow2.ExplainHost,
	} {
		if !a.has(which) {
			continue
		}
		off, err := parseOffset(a.get(which, ""))
		if err != nil {
			return errExplainNumber(which, a.get(which, ""))
		}
		explain = func(f qcow2.File, visit func(qcow2.Note) error) error { return at(f, off, visit) }
	}
	s, err := t.locate(name, a.has("image-opts"), openOptions{share: a.has("force-share")})
	if err != nil {
		return err
	}
	if s.spec.Format == block.FormatNull {
		return openError(name, qcow2.ErrFormat)
	}
	f, err := s.spec.OpenStorage()
	if err != nil {
		return openError(name, err)
	}
	defer f.Close()
	p := notePrinter{t: t, asJSON: asJSON}
	if err := explain(f, p.print); err != nil {
		return openError(name, err)
	}
	p.end()
	return p.err
}

// parseOffset parses an offset in hexadecimal, or as sizes are given.
func parseOffset(s string) (int64, error) {
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") {
		return strconv.ParseInt(s, 0, 64)
	}
	return blockopt.ParseSize(s)
}

// notePrinter prints notes, grouped by the structures that they belong to.
type notePrinter struct {
	t      *Tool
	asJSON bool
	part   string
	count  int // notes printed
	err    error
}

func (p *notePrinter) print(n qcow2.Note) error {
	first := p.count == 0
	next := first || n.Part != p.part
	p.part = n.Part
	p.count++
	if p.asJSON {
		p.json(&n, first, next)
	} else {
		p.human(&n, first, next)
	}
	return p.err
}

func (p *notePrinter) write(s string) {
	if p.err == nil {
		_, p.err = p.t.Stdout.Write([]byte(s))
	}
}

// human prints the offset in the file, the first bytes, the name and the meaning;
// what is impossible on a line of its own that begins with "!!".
func (p *notePrinter) human(n *qcow2.Note, first, next bool) {
	var b strings.Builder
	if next {
		if !first {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s:\n", n.Part)
	}
	if n.Offset >= 0 || n.Text != "" {
		const shown = 8
		at, raw := "", fmt.Sprintf("% x", n.Raw[:min(len(n.Raw), shown)])
		if n.Offset >= 0 {
			at = fmt.Sprintf("0x%08x", n.Offset)
		}
		if len(n.Raw) > shown {
			raw += " .."
		}
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(fmt.Sprintf("%-12s  %-26s  %-22s  %s", at, raw, n.Name, n.Text), " "))
	}
	if n.Problem != "" {
		what := ""
		if n.Offset < 0 && n.Text == "" && n.Name != "" {
			what = n.Name + ": "
		}
		fmt.Fprintf(&b, "!! %s%s\n", what, n.Problem)
	}
	p.write(b.String())
}

func (p *notePrinter) json(n *qcow2.Note, first, next bool) {
	head := ",\n"
	switch {
	case first:
		head = "[\n"
	case next:
		head = "\n    ]\n  },\n"
	}
	if next {
		head += fmt.Sprintf("  {\n    \"structure\": %s,\n    \"notes\": [\n", quote(n.Part))
	}
	var keys []string
	add := func(name, value string) { keys = append(keys, fmt.Sprintf("%q: %s", name, value)) }
	if n.Offset >= 0 {
		add("offset", strconv.FormatInt(n.Offset, 10))
		add("bytes", fmt.Sprintf("\"%x\"", n.Raw))
	}
	for _, x := range []struct{ name, value string }{{"name", n.Name}, {"text", n.Text}, {"problem", n.Problem}} {
		if x.value != "" {
			add(x.name, quote(x.value))
		}
	}
	p.write(head + "      { " + strings.Join(keys, ", ") + " }")
}

// end closes what is open.
func (p *notePrinter) end() {
	if p.asJSON && p.count > 0 {
		p.write("\n    ]\n  }\n]\n")
	}
}
