package fwcfg

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/govmm/govmm/firmware/acpi"
)

func tables(t *testing.T, base uint64) acpi.Tables {
	t.Helper()
	c := acpi.I440FX()
	c.Base = base
	c.CPUs = []uint32{0, 1}
	c.PCI.MMIO32 = acpi.Window{Base: 0xC0000000, Size: 0x3EC00000}
	c.PCI.Route = func(slot, pin int) int { return 10 + (slot+pin)&1 }
	tables, err := acpi.Build(c)
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// follow does what the commands say, as firmware does: files is where it puts
// each, by name.
func follow(t *testing.T, files map[string][]byte, where map[string]uint64) {
	t.Helper()
	le := binary.LittleEndian
	name := func(p []byte) string { return string(bytes.TrimRight(p[:56], "\x00")) }
	commands := files[FileLoader]
	if len(commands)%commandSize != 0 {
		t.Fatalf("commands of %d bytes", len(commands))
	}
	allocated := map[string]bool{}
	file := func(p []byte) []byte {
		if n := name(p); !allocated[n] {
			t.Errorf("file %q is used before it has a place", n)
		}
		return files[name(p)]
	}
	for ; len(commands) > 0; commands = commands[commandSize:] {
		c := commands[:commandSize]
		switch le.Uint32(c) {
		case commandAllocate:
			n := name(c[fieldFile:])
			align := uint64(le.Uint32(c[fieldAlign:]))
			if align == 0 || where[n]%align != 0 {
				t.Errorf("file %q is to be aligned to %d", n, align)
			}
			allocated[n] = true
		case commandAddPointer:
			dest, size := file(c[fieldFile:]), int(c[fieldSize])
			file(c[fieldSource:])
			p := dest[le.Uint32(c[fieldPointer:]):]
			var field [8]byte
			copy(field[:size], p)
			v := le.Uint64(field[:]) + where[name(c[fieldSource:])]
			copy(p[:size], le.AppendUint64(nil, v))
		case commandAddChecksum:
			dest := file(c[fieldFile:])
			var sum byte
			for _, b := range dest[le.Uint32(c[fieldStart:]):][:le.Uint32(c[fieldLength:])] {
				sum += b
			}
			dest[le.Uint32(c[fieldChecksum:])] -= sum
		default:
			t.Fatalf("command %d", le.Uint32(c))
		}
	}
}

// TestLoaderMovesTables holds that following the commands gives the tables that
// would have been built for that address.
func TestLoaderMovesTables(t *testing.T) {
	const built, moved = 0xE0000, 0x3FFF000
	list, err := ACPI(tables(t, built))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range list {
		files[f.Name] = bytes.Clone(f.Data)
	}
	want := tables(t, moved)
	tablesAt := moved + uint64(len(want.Blob)-len(files[FileTables]))
	follow(t, files, map[string]uint64{FileRSDP: 0xF5A00, FileTables: tablesAt})
	if rsdp := files[FileRSDP]; !bytes.Equal(rsdp, want.Blob[:len(rsdp)]) {
		t.Errorf("root pointer\n% x\nwant\n% x", rsdp, want.Blob[:len(rsdp)])
	}
	if got := files[FileTables]; !bytes.Equal(got, want.Blob[len(want.Blob)-len(got):]) {
		t.Error("the tables differ from those that are built for their address")
	}
}

func TestACPIRefusesTablesInAnotherOrder(t *testing.T) {
	swapped := tables(t, 0xE0000)
	swapped.Index = swapped.Index[1:]
	if _, err := ACPI(swapped); err == nil {
		t.Error("accepted")
	}
}
