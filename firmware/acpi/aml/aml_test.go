package aml

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// The expected bytes are those that the ACPI specification's grammar gives
// (section 20.2), and that iasl makes of the source in the name.
func TestTerms(t *testing.T) {
	tests := []struct {
		name string
		got  Term
		want string
	}{
		{"Zero", Int(0), "00"},
		{"One", Int(1), "01"},
		{"2", Int(2), "0a02"},
		{"0xFF", Int(0xFF), "0aff"},
		{"0x100", Int(0x100), "0b0001"},
		{"0xFFFF", Int(0xFFFF), "0bffff"},
		{"0x10000", Int(0x10000), "0c00000100"},
		{"0x100000000", Int(1 << 32), "0e0000000001000000"},
		{`"PC"`, String("PC"), "0d504300"},
		{`EisaId ("PNP0A03")`, EISAID("PNP0A03"), "0c41d00a03"},
		{`EisaId ("PNP0501")`, EISAID("PNP0501"), "0c41d00501"},
		{"Package () {}", Package(), "120200"},
		{"Package () {5, 1}", Package(Int(5), Int(1)), "1205020a0501"},
		{"Buffer () {1, 2}", Buffer([]byte{1, 2}), "11050a020102"},
		{"Name (A, One)", Name("A", Int(1)), "08415f5f5f01"},
		{`Name (\_S5, One)`, Name(`\_S5`, Int(1)), "085c5f53355f01"},
		{`Name (\_SB.PCI0, One)`, Name(`\_SB.PCI0`, Int(1)), "085c2e5f53425f5043493001"},
		{"Name (^^A.B.C, One)", Name("^^A.B.C", Int(1)), "085e5e2f03415f5f5f425f5f5f435f5f5f01"},
		{`Scope (\) {}`, Scope(`\`), "10035c00"},
		{"Scope (_SB) {}", Scope("_SB"), "10055f53425f"},
		{"Device (COM1) {}", Device("COM1"), "5b8205434f4d31"},
		{"Method (_STA) {Return (0x0F)}", Method("_STA", 0, Return(Int(0xF))), "14095f53544100a40a0f"},
		{"Method (M, 2) {}", Method("M", 2), "14064d5f5f5f02"},
	}
	for _, tt := range tests {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestPkgLength decodes what is encoded around every change of size.
func TestPkgLength(t *testing.T) {
	for _, n := range []int{0, 1, 62, 63, 64, 4093, 4094, 4095, 4096, 1<<20 - 4, 1<<20 - 3, 1 << 20, 1<<28 - 5} {
		p := pkgLength(n)
		extra := int(p[0] >> 6)
		if len(p) != 1+extra {
			t.Fatalf("%d: %x", n, p)
		}
		total := int(p[0] & 0x3F)
		for i, b := range p[1:] {
			if i == 0 {
				total &= 0xF
			}
			total |= int(b) << (4 + 8*i)
		}
		if total != n+len(p) {
			t.Errorf("%d: %x says %d, want %d", n, p, total, n+len(p))
		}
	}
}

func TestLongPackage(t *testing.T) {
	got := Package(make([]Term, 256)...)
	if want := []byte{opVarPackage, 4, opWord, 0, 1}; !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestResources(t *testing.T) {
	tests := []struct {
		name string
		got  Resource
		want string
	}{
		{"IO (Decode16, 0x3F8, 0x3F8, 1, 8)", IO(0x3F8, 0x3F8, 1, 8), "4701f803f8030108"},
		{"IRQNoFlags () {4}", IRQ(4), "221000"},
		{"IRQNoFlags () {15}", IRQ(15), "220080"},
		{"Memory32Fixed (ReadWrite, 0xFED00000, 0x400)", Memory32Fixed(0xFED00000, 0x400), "86090001" + "0000d0fe" + "00040000"},
		{"WordBusNumber", WordBusNumber(0, 0xFF), "880d00" + "020c00" + "0000" + "0000" + "ff00" + "0000" + "0001"},
		{"WordIO", WordIO(0xD00, 0xFFFF), "880d00" + "010c03" + "0000" + "000d" + "ffff" + "0000" + "00f3"},
		{"DWordMemory", DWordMemory(0xC0000000, 0xFEBFFFFF), "871700" + "000c01" + "00000000" + "000000c0" + "ffffbffe" + "00000000" + "0000c03e"},
		{"QWordMemory", QWordMemory(1<<32, 1<<33-1), "8a2b00" + "000c01" + "0000000000000000" + "0000000001000000" + "ffffffff01000000" + "0000000000000000" + "0000000001000000"},
	}
	for _, tt := range tests {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if got, want := hex.EncodeToString(ResourceTemplate(IRQ(4))), "11080a05"+"221000"+"7900"; got != want {
		t.Errorf("ResourceTemplate: %s, want %s", got, want)
	}
}

func TestMalformedNamesPanic(t *testing.T) {
	for name, f := range map[string]func(){
		"lower case":      func() { Name("com1", Int(0)) },
		"five characters": func() { Name("COM10", Int(0)) },
		"leading digit":   func() { Name("1COM", Int(0)) },
		"empty segment":   func() { Name("A..B", Int(0)) },
		"EISA length":     func() { EISAID("PNP05011") },
		"EISA vendor":     func() { EISAID("pnp0501") },
		"EISA product":    func() { EISAID("PNP050G") },
		"string":          func() { String("ü") },
		"interrupt":       func() { IRQ(16) },
		"arguments":       func() { Method("M", 8) },
		"range":           func() { WordIO(2, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r, ok := recover().(string); !ok || !strings.HasPrefix(r, "aml: ") {
					t.Errorf("recovered %v", r)
				}
			}()
			f()
		})
	}
}
