package bios

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// tables are what an operating system finds of ACPI in the memory of a machine
// that the BIOS has set up.
type tables struct {
	t *testing.T
	m *machine
}

func (a tables) read(addr uint64, n int) []byte {
	a.t.Helper()
	p := make([]byte, n)
	if err := a.m.DMA().ReadAt(p, addr); err != nil {
		a.t.Fatal(err)
	}
	return p
}

func sum(p []byte) (s byte) {
	for _, b := range p {
		s += b
	}
	return s
}

// root looks for the root pointer in the BIOS segment.
func (a tables) root() []byte {
	const segment, size, align, pointer = 0xF0000, 0x10000, 16, 36
	bios := a.read(segment, size)
	for at := 0; at <= size-pointer; at += align {
		p := bios[at:][:pointer]
		if bytes.HasPrefix(p, []byte("RSD PTR ")) && sum(p[:20]) == 0 && sum(p) == 0 {
			return p
		}
	}
	a.t.Fatal("no root pointer in the BIOS segment")
	return nil
}

// table reads a table and checks its signature and checksum.
func (a tables) table(addr uint64, signature string) []byte {
	a.t.Helper()
	const header = 36
	p := a.read(addr, int(binary.LittleEndian.Uint32(a.read(addr, header)[4:])))
	if got := string(p[:4]); got != signature {
		a.t.Fatalf("at %#x is %q, want %q", addr, got, signature)
	}
	if signature != "FACS" && sum(p) != 0 {
		a.t.Errorf("%s: wrong checksum", signature)
	}
	return p
}

// checkACPI holds that the tables are linked, and describe the processors and
// the interrupts of PCI as level-triggered.
func checkACPI(t *testing.T, m *machine, cpus int) {
	t.Helper()
	le := binary.LittleEndian
	a := tables{t, m}
	xsdt := a.table(le.Uint64(a.root()[24:]), "XSDT")
	fadt := a.table(le.Uint64(xsdt[36:]), "FACP")
	a.table(uint64(le.Uint32(fadt[36:])), "FACS")
	a.table(uint64(le.Uint32(fadt[40:])), "DSDT")
	a.table(le.Uint64(fadt[140:]), "DSDT")
	madt := a.table(le.Uint64(xsdt[44:]), "APIC")
	processors, level := 0, map[byte]bool{}
	const levelHigh = 0xD
	for p := madt[44:]; len(p) > 1 && p[1] > 0 && int(p[1]) <= len(p); p = p[p[1]:] {
		switch {
		case p[0] == 0:
			processors++
		case p[0] == 2 && p[8] == levelHigh:
			level[p[3]] = true
		}
	}
	if processors != cpus || !level[10] || !level[11] {
		t.Errorf("%d processors, level-triggered interrupts %v; want %d, and 10 and 11 among them", processors, level, cpus)
	}
}
