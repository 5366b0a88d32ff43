package acpi

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine is a complete configuration, of two processors.
func machine() Config {
	c := I440FX()
	c.Base = 0xE0000
	c.CPUs = []uint32{0, 1}
	c.PCI.MMIO32 = Window{0xC0000000, 0x3EC00000}
	c.PCI.MMIO64 = Window{1 << 32, 64 << 30}
	c.PCI.Route = func(slot, pin int) int { return 16 + (slot+pin)&7 }
	return c
}

func mustBuild(t testing.TB, c Config) Tables {
	t.Helper()
	tables, err := Build(c)
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// guest reads tables as an operating system does: by address.
type guest struct {
	t *testing.T
	Tables
}

func (g guest) at(addr, n uint64) []byte {
	g.t.Helper()
	off := addr - g.Base
	if addr < g.Base || off+n > uint64(len(g.Blob)) {
		g.t.Fatalf("%d bytes at %#x are not inside the blob", n, addr)
	}
	return g.Blob[off:][:n]
}

// table reads a table by its address, and checks its header.
func (g guest) table(addr uint64, signature string) []byte {
	g.t.Helper()
	p := g.at(addr, headerSize)
	if got := string(p[:4]); got != signature {
		g.t.Fatalf("at %#x is %q, want %q", addr, got, signature)
	}
	p = g.at(addr, uint64(binary.LittleEndian.Uint32(p[4:])))
	if signature != "FACS" && checksum(p) != 0 {
		g.t.Errorf("%s: checksum is wrong", signature)
	}
	return p
}

// find follows the chain from the root pointer: RSDP, XSDT, table.
func (g guest) find(signature string) []byte {
	g.t.Helper()
	rsdp := g.at(g.RSDP, rsdpSize)
	xsdt := g.table(binary.LittleEndian.Uint64(rsdp[24:]), "XSDT")
	for p := xsdt[headerSize:]; len(p) > 0; p = p[8:] {
		addr := binary.LittleEndian.Uint64(p)
		if string(g.at(addr, 4)) == signature {
			return g.table(addr, signature)
		}
	}
	g.t.Fatalf("no %s in the XSDT", signature)
	return nil
}

func TestRootPointer(t *testing.T) {
	g := guest{t, mustBuild(t, machine())}
	p := g.at(g.RSDP, rsdpSize)
	if string(p[:8]) != "RSD PTR " || p[15] != 2 || binary.LittleEndian.Uint32(p[20:]) != rsdpSize {
		t.Errorf("RSDP: % x", p)
	}
	if checksum(p[:20]) != 0 || checksum(p) != 0 {
		t.Error("RSDP: a checksum is wrong")
	}
	if g.RSDP%16 != 0 {
		t.Errorf("RSDP at %#x is not aligned", g.RSDP)
	}
	if string(p[9:15]) != "GOVMM " {
		t.Errorf("OEM is %q", p[9:15])
	}
}

func TestFADT(t *testing.T) {
	g := guest{t, mustBuild(t, machine())}
	p := g.find("FACP")
	le := binary.LittleEndian
	if len(p) != 276 || p[8] != 6 {
		t.Errorf("FADT of %d bytes, revision %d", len(p), p[8])
	}
	dsdt := uint64(le.Uint32(p[40:]))
	if x := le.Uint64(p[140:]); x != dsdt {
		t.Errorf("X_DSDT %#x differs from DSDT %#x", x, dsdt)
	}
	g.table(dsdt, "DSDT")
	facs := uint64(le.Uint32(p[36:]))
	if f := g.table(facs, "FACS"); facs%64 != 0 || len(f) != 64 || f[32] != 2 {
		t.Errorf("FACS of %d bytes at %#x, version %d", len(f), facs, f[32])
	}
	if got := le.Uint64(p[132:]); got != 0 {
		t.Errorf("X_FIRMWARE_CTRL is %#x beside a 32-bit address", got)
	}

	gas := func(bits, access uint8, port uint64) []byte {
		return le.AppendUint64([]byte{1, bits, 0, access}, port)
	}
	for _, f := range []struct {
		name string
		off  int
		want []byte
	}{
		{"SCI_INT", 46, []byte{9, 0}},
		{"SMI_CMD, ENABLE, DISABLE", 48, []byte{0xB2, 0, 0, 0, 0xF1, 0xF0}},
		{"PM1a_EVT_BLK", 56, []byte{0x00, 0x06, 0, 0}},
		{"PM1b_EVT_BLK", 60, make([]byte, 4)},
		{"PM1a_CNT_BLK", 64, []byte{0x04, 0x06, 0, 0}},
		{"PM_TMR_BLK", 76, []byte{0x08, 0x06, 0, 0}},
		{"GPE0_BLK", 80, []byte{0xE0, 0xAF, 0, 0}},
		{"lengths", 88, []byte{4, 2, 0, 4, 4, 0}},
		{"P_LVL2_LAT, P_LVL3_LAT", 96, []byte{0xFF, 0x0F, 0xFF, 0x0F}},
		{"CENTURY", 108, []byte{0x32}},
		{"IAPC_BOOT_ARCH: legacy, 8042, no VGA", 109, []byte{0x07, 0}},
		{"flags: WBINVD, C1, no sleep button, 32-bit timer, reset", 112, []byte{0x25, 0x05, 0, 0}},
		{"RESET_REG", 116, gas(8, 1, 0xCF9)},
		{"RESET_VALUE", 128, []byte{0x06}},
		{"X_PM1a_EVT_BLK", 148, gas(32, 2, 0x600)},
		{"X_PM1a_CNT_BLK", 172, gas(16, 2, 0x604)},
		{"X_PM_TMR_BLK", 208, gas(32, 3, 0x608)},
		{"X_GPE0_BLK", 220, gas(32, 1, 0xAFE0)},
	} {
		if got := p[f.off:][:len(f.want)]; !bytes.Equal(got, f.want) {
			t.Errorf("%s: % x, want % x", f.name, got, f.want)
		}
	}
}

// Without a device its description must go, not stay with zeroes that an
// operating system takes for port 0.
func TestFADTWithoutDevices(t *testing.T) {
	c := machine()
	c.Power.SMICommand, c.Power.GPE0, c.Reset.Port = 0, 0, 0
	c.RTC, c.Keyboard, c.VGA = false, false, true
	p := guest{t, mustBuild(t, c)}.find("FACP")
	for _, f := range []struct {
		name   string
		off, n int
	}{
		{"SMI_CMD, ENABLE, DISABLE", 48, 6}, {"GPE0_BLK", 80, 4}, {"GPE0_BLK_LEN", 92, 1},
		{"X_GPE0_BLK", 220, 12}, {"RESET_REG", 116, 12}, {"RESET_VALUE", 128, 1}, {"CENTURY", 108, 1},
	} {
		if got := p[f.off:][:f.n]; !bytes.Equal(got, make([]byte, f.n)) {
			t.Errorf("%s: % x, want zeroes", f.name, got)
		}
	}
	if flags := binary.LittleEndian.Uint32(p[112:]); flags&flagResetReg != 0 {
		t.Errorf("flags %#x promise a reset register", flags)
	}
	if got := binary.LittleEndian.Uint16(p[109:]); got != bootLegacyDevices|bootNoCMOSClock {
		t.Errorf("boot architecture flags %#x", got)
	}
}

// madtEntries splits the table into its entries.
func madtEntries(t *testing.T, p []byte) [][]byte {
	t.Helper()
	var entries [][]byte
	for p = p[44:]; len(p) > 0; p = p[p[1]:] {
		if len(p) < 2 || p[1] < 2 || int(p[1]) > len(p) {
			t.Fatalf("bad entry % x", p)
		}
		entries = append(entries, p[:p[1]])
	}
	return entries
}

func TestMADT(t *testing.T) {
	c := machine()
	c.TimerOverride = true
	c.LevelIRQs = []uint8{11, 5, 10, 9}
	p := guest{t, mustBuild(t, c)}.find("APIC")
	if got, want := p[36:44], []byte{0, 0, 0xE0, 0xFE, 1, 0, 0, 0}; !bytes.Equal(got, want) {
		t.Errorf("local APIC address and flags % x, want % x", got, want)
	}
	want := [][]byte{
		{0, 8, 0, 0, 1, 0, 0, 0},
		{0, 8, 1, 1, 1, 0, 0, 0},
		{1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0},
		{2, 10, 0, 0, 2, 0, 0, 0, 0, 0},
		{2, 10, 0, 5, 5, 0, 0, 0, 0xD, 0},
		{2, 10, 0, 9, 9, 0, 0, 0, 0xD, 0},
		{2, 10, 0, 10, 10, 0, 0, 0, 0xD, 0},
		{2, 10, 0, 11, 11, 0, 0, 0, 0xD, 0},
		{4, 6, 0xFF, 0, 0, 1},
	}
	if diff := cmp.Diff(want, madtEntries(t, p)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestMADTWithX2APIC(t *testing.T) {
	c := machine()
	c.CPUs = []uint32{0, 254, 255, 0x12345}
	want := [][]byte{
		{0, 8, 0, 0, 1, 0, 0, 0},
		{0, 8, 1, 254, 1, 0, 0, 0},
		{9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0},
		{9, 16, 0, 0, 0x45, 0x23, 1, 0, 1, 0, 0, 0, 3, 0, 0, 0},
		{1, 12, 0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0},
		{2, 10, 0, 9, 9, 0, 0, 0, 0xD, 0},
		{4, 6, 0xFF, 0, 0, 1},
		{10, 12, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0},
	}
	if diff := cmp.Diff(want, madtEntries(t, guest{t, mustBuild(t, c)}.find("APIC"))); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// TestIndex holds that the index names every table where it is, in order and
// without overlap, and that the blob is the same every time.
func TestIndex(t *testing.T) {
	tables := mustBuild(t, machine())
	var names []string
	end := 0
	for _, e := range tables.Index {
		names = append(names, e.Signature)
		if got := string(tables.Blob[e.Offset:][:len(e.Signature)]); got != e.Signature {
			t.Errorf("at offset %d is %q, want %q", e.Offset, got, e.Signature)
		}
		if e.Offset < end {
			t.Errorf("%s at %d overlaps what ends at %d", e.Signature, e.Offset, end)
		}
		end = e.Offset + e.Size
	}
	if end != len(tables.Blob) {
		t.Errorf("the last table ends at %d, the blob at %d", end, len(tables.Blob))
	}
	if diff := cmp.Diff([]string{"RSD PTR ", "FACS", "DSDT", "FACP", "APIC", "XSDT"}, names); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	if again := mustBuild(t, machine()); !bytes.Equal(again.Blob, tables.Blob) {
		t.Error("a second build differs")
	}
}

// TestLargest holds that a machine of 255 processors still fits into the
// 64 KiB below the BIOS segment.
func TestLargest(t *testing.T) {
	c := machine()
	c.CPUs = make([]uint32, 255)
	for i := range c.CPUs {
		c.CPUs[i] = uint32(i)
	}
	if n := len(mustBuild(t, c).Blob); n > 0x10000 {
		t.Errorf("%d bytes", n)
	}
}

func TestBuildRefuses(t *testing.T) {
	tests := []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Base = 0xE0010 }, "base 0xe0010 is not a multiple of 64"},
		{func(c *Config) { c.Base = 1<<32 - 64 }, "above 4 GiB"},
		{func(c *Config) { c.CPUs = nil }, "no processor"},
		{func(c *Config) { c.CPUs = make([]uint32, 5000) }, "5000 processors, at most 4096"},
		{func(c *Config) { c.CPUs = []uint32{1, 0, 1} }, "processors share an APIC identifier: [1 0 1]"},
		{func(c *Config) { c.Power.SCI = 16 }, "SCI 16 is not an ISA interrupt"},
		{func(c *Config) { c.Power.S5 = 8 }, "S5 sleep type 8 is above 7"},
		{func(c *Config) { c.LevelIRQs = []uint8{16} }, "16 is not an ISA interrupt"},
		{func(c *Config) { c.Serial = []Serial{{0x3F8, 20}} }, "serial port 0x3f8 on interrupt 20"},
		{func(c *Config) { c.PCI.Route = nil }, "no routing of PCI interrupts"},
		{func(c *Config) { c.PCI.Route = func(int, int) int { return 24 } }, "pin 0 of PCI slot 1 is routed to GSI 24"},
		{func(c *Config) { c.PCI.Route = func(int, int) int { return -1 } }, "routed to GSI -1"},
		{func(c *Config) { c.PCI.ISASlot = 32 }, "ISA bridge in slot 32"},
		{func(c *Config) { c.PCI.MMIO32 = Window{0xC0000000, 1 << 31} }, "PCI window of 0x80000000 bytes at 0xc0000000"},
		{func(c *Config) { c.PCI.MMIO32 = Window{} }, "PCI window of 0x0 bytes"},
		{func(c *Config) { c.PCI.MMIO64 = Window{1 << 63, 1<<63 + 1} }, "wraps around"},
		{func(c *Config) { c.Keyboard, c.Mouse = false, true }, "a mouse without a keyboard controller"},
	}
	for _, tt := range tests {
		c := machine()
		tt.change(&c)
		if _, err := Build(c); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "acpi: ") {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}
