package scsi

import (
	"strings"
	"testing"
)

func TestUnitConfigIsChecked(t *testing.T) {
	for want, change := range map[string]func(*UnitConfig){
		"block size 100":               func(c *UnitConfig) { c.BlockSize = 100 },
		"block size 520":               func(c *UnitConfig) { c.BlockSize = 520 },
		"block size 8192":              func(c *UnitConfig) { c.BlockSize = 8192 },
		"physical block size 256":      func(c *UnitConfig) { c.PhysicalBlockSize = 256 },
		"physical block size 3000":     func(c *UnitConfig) { c.PhysicalBlockSize = 3000 },
		"physical block size 33554432": func(c *UnitConfig) { c.PhysicalBlockSize = 1 << 25 },
		"medium of 511 bytes":          func(c *UnitConfig) { c.Medium = sized(511) },
		"medium of -1 bytes":           func(c *UnitConfig) { c.Medium = sized(-1) },
		"needs a medium":               func(c *UnitConfig) { c.Medium = nil },
		"rotation rate 2":              func(c *UnitConfig) { c.RotationRate = 2 },
		"rotation rate 65535":          func(c *UnitConfig) { c.RotationRate = 65535 },
		"vendor":                       func(c *UnitConfig) { c.Identity.Vendor = "ninechars" },
		"product":                      func(c *UnitConfig) { c.Identity.Product = "tab\t" },
		"revision":                     func(c *UnitConfig) { c.Identity.Revision = "1.0.0" },
		"serial":                       func(c *UnitConfig) { c.Identity.Serial = strings.Repeat("x", 65) },
		"NAA name 60":                  func(c *UnitConfig) { c.Identity.NAA = []byte{0x60} },
		"NAA name 6000000000000000":    func(c *UnitConfig) { c.Identity.NAA = []byte{0x60, 7: 0} },
		"NAA name 50000000":            func(c *UnitConfig) { c.Identity.NAA = []byte{0x50, 15: 0} },
		"optimal transfer of 9":        func(c *UnitConfig) { c.Limits.MaxTransfer, c.Limits.OptimalTransfer = 8, 9 },
		"multiple of the 8":            func(c *UnitConfig) { c.PhysicalBlockSize, c.Limits.OptimalTransfer = 4096, 12 },
		"4096 unmap descriptors":       func(c *UnitConfig) { c.Limits.MaxUnmapDescriptors = 4096 },
	} {
		c := UnitConfig{Medium: sized(1 << 30)}
		change(&c)
		u, err := NewUnit(c)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, %v; want an error with %q", u, err, want)
		}
	}
}

func TestUnitDefaults(t *testing.T) {
	u, err := NewUnit(UnitConfig{Medium: sized(1<<20 + 511)})
	if err != nil {
		t.Fatal(err)
	}
	if u.BlockSize() != 512 || u.Blocks() != 2048 || u.ReadOnly() || u.WriteCache() {
		t.Errorf("block size %d, %d blocks, read-only %v, write cache %v",
			u.BlockSize(), u.Blocks(), u.ReadOnly(), u.WriteCache())
	}
	// Without a serial number and an NAA name the pages are still well formed.
	got := make([]byte, 255)
	wantGood(t, run(u, []byte{byte(OpInquiry), 1, 0x80, 0, 255, 0}, got), 4)
	wantGood(t, run(u, []byte{byte(OpInquiry), 1, 0x83, 0, 255, 0}, got), 4+4+24)
}

func TestInquiryPages(t *testing.T) {
	u, _ := newUnit(t, nil)
	got := make([]byte, 255)
	wantSense(t, run(u, []byte{byte(OpInquiry), 0, 0x80, 0, 255, 0}, got), inCDB(2, 7))
	listed := make([]byte, 255)
	n := run(u, []byte{byte(OpInquiry), 1, 0, 0, 255, 0}, listed).Transferred
	for page := range 256 {
		c := run(u, []byte{byte(OpInquiry), 1, byte(page), 0, 255, 0}, got)
		if strings.Contains(string(listed[4:n]), string([]byte{byte(page)})) {
			if c.Status != StatusGood || int(got[1]) != page || int(got[3])+4 != c.Transferred {
				t.Errorf("page %#x: %v, % x", page, c, got[:4])
			}
			continue
		}
		wantSense(t, c, inCDB(2, 7))
	}
}

func TestBlockLimits(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) {
		c.RotationRate = 7200
		c.Limits = Limits{MaxTransfer: 256, OptimalTransfer: 128, OptimalGranularity: 64,
			MaxUnmap: 1000, MaxUnmapDescriptors: 5, UnmapGranularity: 128, MaxWriteSame: 2000}
	})
	got := make([]byte, 64)
	wantGood(t, run(u, []byte{byte(OpInquiry), 1, 0xB0, 0, 64, 0}, got), 64)
	want := `00 b0 00 3c 01 80 0040 00000100 00000080 00000000
		000003e8 00000005 00000080 80000000 00000000000007d0` + strings.Repeat("00", 20)
	if string(got) != string(unhex(t, want)) {
		t.Errorf("% x", got)
	}
	wantGood(t, run(u, []byte{byte(OpInquiry), 1, 0xB1, 0, 64, 0}, got), 64)
	if got[4] != 0x1C || got[5] != 0x20 {
		t.Errorf("rotation rate % x", got[4:6])
	}
}

func TestModeSense(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.WriteBack = true })
	wce := func(control byte) byte {
		got := make([]byte, 255)
		c := run(u, []byte{byte(OpModeSense6), 0x08, control<<6 | 0x08, 0, 255, 0}, got)
		wantGood(t, c, 4+20)
		return got[4+2]
	}
	check := func(when string, current, byDefault byte) {
		t.Helper()
		if got := wce(modeCurrent); got != current {
			t.Errorf("%s: current WCE byte %#x", when, got)
		}
		if got := wce(modeDefault); got != byDefault {
			t.Errorf("%s: default WCE byte %#x", when, got)
		}
		if got := wce(modeChangeable); got != 0x04 {
			t.Errorf("%s: changeable WCE byte %#x", when, got)
		}
	}
	check("write-back", 0x04, 0x04)
	if err := u.SetWriteCache(false); err != nil {
		t.Fatal(err)
	}
	check("turned off", 0x00, 0x04)

	got := make([]byte, 255)
	sense := func(page, subpage byte) *Command {
		return run(u, []byte{byte(OpModeSense6), 0, page, subpage, 255, 0}, got)
	}
	for page := range 0x40 {
		c := sense(byte(page), 0)
		switch page {
		case 0x01, 0x08, 0x0A, 0x18, 0x19, 0x1C, 0x3F:
			if c.Status != StatusGood || int(got[0])+1 != c.Transferred {
				t.Errorf("page %#x: %v", page, c)
			}
			wantSense(t, sense(0xC0|byte(page), 0), illegal(ASCSavingParametersNotSupported))
			wantSense(t, sense(byte(page), 0x01), inCDB(3, 7))
			all := sense(byte(page), 0xFF)
			if all.Status != StatusGood || all.Transferred < c.Transferred {
				t.Errorf("page %#x, all subpages: %v", page, all)
			}
		default:
			wantSense(t, c, inCDB(2, 5))
		}
	}
}
