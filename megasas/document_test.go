package megasas

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/doctable"
	"github.com/govmm/govmm/megasas/mfi"
)

// document is what is kept true here.
const document = "../docs/controller.md"

// TestDocumentRegisters compares the registers in the document with those of the
// cards.
func TestDocumentRegisters(t *testing.T) {
	table := doctable.New("offset", "name", "access", "after a reset", "what")
	first := map[uint16]register{}
	for _, r := range gen1Registers {
		first[r.off] = r
	}
	for _, r := range gen2Registers {
		access := "none"
		switch {
		case r.readable && r.write != nil:
			access = "read, write"
		case r.readable:
			access = "read"
		case r.write != nil:
			access = "write"
		}
		reset := ""
		if r.readable {
			reset = fmt.Sprintf("%08X", r.reset)
		}
		what := r.what
		switch old, ok := first[r.off]; {
		case !ok:
			what += " (not on the 8708EM2)"
		case old.what != r.what:
			what += " (8708EM2: " + strings.TrimPrefix(strings.TrimPrefix(old.what, r.what), "; ") + ")"
		}
		table.Row(fmt.Sprintf("%02Xh", r.off), r.name, access, reset, what)
	}
	table.Check(t, document, "registers")
}

// TestDocumentStates compares the firmware states.
func TestDocumentStates(t *testing.T) {
	table := doctable.New("bits 31:28", "state")
	for i := range uint32(16) {
		if s := mfi.State(i << 28); !strings.HasPrefix(s.String(), "State(") {
			table.Row(fmt.Sprintf("%X", i), s.String())
		}
	}
	table.Check(t, document, "states")
}

// TestDocumentPersonalities compares the cards.
func TestDocumentPersonalities(t *testing.T) {
	table := doctable.New("card", "PCI ids", "commands", "elements", "sectors", "IEEE", "vectors", "memory")
	for _, p := range []Personality{SAS9260(), PERCH700(), PERCH800(), SAS8708EM2()} {
		table.Row(p.Product, fmt.Sprintf("%04x:%04x %04x:%04x", p.Vendor, p.Device, p.SubVendor, p.SubDevice),
			fmt.Sprint(p.Limits.MaxCommands), fmt.Sprint(p.Limits.MaxSGE), fmt.Sprint(p.MaxRequestSectors),
			map[bool]string{true: "yes", false: "no"}[p.IEEE], fmt.Sprint(p.Vectors), fmt.Sprintf("%d MiB", p.MemoryMiB))
	}
	table.Check(t, document, "personalities")
}

// TestDocumentFrames compares the kinds of frames.
func TestDocumentFrames(t *testing.T) {
	table := doctable.New("code", "frame", "answer")
	g := newGuest(t, threeDrives())
	for i := range 256 {
		cmd := mfi.Cmd(i)
		if strings.HasPrefix(cmd.String(), "Cmd(") {
			continue
		}
		answer := "carried out"
		if cmd != mfi.CmdInit { // which would need a queue
			if _, s := g.poll(mfi.Fields{Cmd: cmd, Target: 0xff}); s == mfi.StatusInvalidCmd {
				answer = s.String()
			}
		}
		table.Row(fmt.Sprintf("%02Xh", i), cmd.String(), answer)
	}
	table.Check(t, document, "frames")
}

// TestDocumentCommands compares the management commands.
func TestDocumentCommands(t *testing.T) {
	table := doctable.New("opcode", "command", "least data", "status")
	for _, c := range commands {
		room, status := "", "done"
		if c.room > 0 {
			room = fmt.Sprint(c.room)
		}
		if c.why != "" {
			status = fmt.Sprintf("%v: %s", c.refused, c.why)
		}
		table.Row(fmt.Sprintf("%08X", uint32(c.op)), c.op.String(), room, status)
	}
	table.Check(t, document, "commands")
}

// TestDocumentEvents compares the codes of events with those in package mfi.
func TestDocumentEvents(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "mfi/event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	table := doctable.New("code", "event")
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Event") {
			return true
		}
		if typed, ok := spec.Type.(*ast.Ident); !ok || typed.Name != "EventCode" {
			return true
		}
		code, err := strconv.ParseUint(spec.Values[0].(*ast.BasicLit).Value, 0, 32)
		if err != nil {
			t.Fatal(err)
		}
		table.Row(fmt.Sprintf("%04X", code), strings.TrimPrefix(spec.Names[0].Name, "Event"))
		return true
	})
	table.Check(t, document, "events")
}

// TestDocumentFaults finds every line of the grammar of scripts of faults, as the
// comment of Faults.Script has it, in the document.
func TestDocumentFaults(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "faultscript.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != "Script" {
			continue
		}
		for line := range strings.Lines(f.Doc.Text()) {
			if !strings.HasPrefix(line, "\t") {
				continue
			}
			if lines++; !strings.Contains(string(text), strings.TrimPrefix(line, "\t")) {
				t.Errorf("%s lacks %q", document, strings.TrimSpace(line))
			}
		}
	}
	if lines < 5 {
		t.Errorf("only %d lines were found", lines)
	}
}
