package firmware

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustLayout(t testing.TB, ram uint64) Layout {
	t.Helper()
	l, err := NewLayout(ram, 40)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLayoutRAM(t *testing.T) {
	low := Range{0, VideoBase}
	tests := []struct {
		name string
		ram  uint64
		want []Range
	}{
		{"smallest", MinRAM, []Range{low, {VideoEnd, MinRAM - VideoEnd}}},
		{"below the hole", 512 * mib, []Range{low, {VideoEnd, 512*mib - VideoEnd}}},
		{"up to the hole", 3 * gib, []Range{low, {VideoEnd, 3*gib - VideoEnd}}},
		{"one page above", 3*gib + pageSize, []Range{low, {VideoEnd, 3*gib - VideoEnd}, {4 * gib, pageSize}}},
		{"around the hole", 16 * gib, []Range{low, {VideoEnd, 3*gib - VideoEnd}, {4 * gib, 13 * gib}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, mustLayout(t, tt.ram).RAM()); diff != "" {
				t.Errorf("RAM (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLayoutE820(t *testing.T) {
	want := []E820Entry{
		{Range{0, 0x9FC00}, E820RAM},
		{Range{0x9FC00, 0x400}, E820Reserved},
		{Range{0xE0000, 0x10000}, E820Reserved},
		{Range{0xF0000, 0x10000}, E820Reserved},
		{Range{0x100000, 0xBFF00000}, E820RAM},
		{Range{0xFEFFC000, 0x4000}, E820Reserved},
		{Range{0x100000000, 0x40000000}, E820RAM},
	}
	if diff := cmp.Diff(want, mustLayout(t, 4*gib).E820()); diff != "" {
		t.Errorf("map of 4 GiB (-want +got):\n%s", diff)
	}
}

// TestLayoutConsistent holds what every layout promises: the memory map is
// sorted, what it calls RAM has RAM behind it, and PCI's windows lie outside.
func TestLayoutConsistent(t *testing.T) {
	for _, bits := range []uint{36, 40, 46, 52} {
		for _, ram := range []uint64{MinRAM, 64 * mib, 3*gib - pageSize, 3 * gib, 3*gib + pageSize, 17 * gib, 63 * gib} {
			l, err := NewLayout(ram, bits)
			if err != nil {
				t.Fatalf("%s with %d bits: %v", FormatSize(ram), bits, err)
			}
			backed := l.RAM()
			var total, end uint64
			for _, r := range backed {
				total += r.Size
			}
			if total != ram-(VideoEnd-VideoBase) {
				t.Errorf("%s: RAM adds up to %s", FormatSize(ram), FormatSize(total))
			}
			for _, e := range l.E820() {
				if e.Base < end || e.Size == 0 {
					t.Errorf("%s: %v is out of order or empty", FormatSize(ram), e.Range)
				}
				end = e.End()
				if e.Type == E820RAM && !containedInAny(backed, e.Range) {
					t.Errorf("%s: usable %v has no RAM behind it", FormatSize(ram), e.Range)
				}
				if e.Overlaps(l.MMIO32()) || e.Overlaps(l.MMIO64()) {
					t.Errorf("%s: %v overlaps a PCI window", FormatSize(ram), e.Range)
				}
			}
			if got := l.MMIO64().End(); got > 1<<bits {
				t.Errorf("%s: 64-bit window ends at %#x, beyond %d bits", FormatSize(ram), got, bits)
			}
		}
	}
}

func containedInAny(ranges []Range, r Range) bool {
	for _, o := range ranges {
		if o.Contains(r) {
			return true
		}
	}
	return false
}

func TestLayoutMMIO64(t *testing.T) {
	tests := []struct {
		ram  uint64
		bits uint
		want Range
	}{
		{512 * mib, 36, Range{4 * gib, 60 * gib}},
		{512 * mib, 40, Range{4 * gib, 64 * gib}},
		{3*gib + mib, 40, Range{5 * gib, 64 * gib}},
		{62 * gib, 36, Range{63 * gib, gib}},
		{63 * gib, 36, Range{}},
	}
	for _, tt := range tests {
		l, err := NewLayout(tt.ram, tt.bits)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.MMIO64(); got != tt.want {
			t.Errorf("%s, %d bits: window %v, want %v", FormatSize(tt.ram), tt.bits, got, tt.want)
		}
	}
}

func TestLayoutRefuses(t *testing.T) {
	tests := []struct {
		ram  uint64
		bits uint
		want string
	}{
		{mib, 40, "memory of 1 MiB: must be at least 2 MiB"},
		{0, 40, "memory of 0 bytes: must be at least 2 MiB"},
		{4*mib + 1, 40, "memory of 4194305 bytes: must be a multiple of 4096"},
		{64 * gib, 36, "memory of 64 GiB: a processor with 36 address bits has room for 63 GiB"},
		{1<<64 - pageSize, 52, "has room for 4194303 GiB"},
		{gib, 32, "physical address width of 32 bits: must be 36 to 52"},
		{gib, 64, "physical address width of 64 bits: must be 36 to 52"},
	}
	for _, tt := range tests {
		_, err := NewLayout(tt.ram, tt.bits)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("NewLayout(%d, %d): %v, want %q", tt.ram, tt.bits, err, tt.want)
		}
	}
}

func TestRange(t *testing.T) {
	r := Range{0x1000, 0x1000}
	for _, tt := range []struct {
		o                  Range
		overlaps, contains bool
	}{
		{Range{0x1000, 0x1000}, true, true},
		{Range{0x0, 0x1000}, false, false},
		{Range{0x0, 0x1001}, true, false},
		{Range{0x1FFF, 1}, true, true},
		{Range{0x1FFF, 2}, true, false},
		{Range{0x2000, 1}, false, false},
		{Range{0x1800, 1<<64 - 1}, false, false}, // wraps around
	} {
		if got := r.Overlaps(tt.o); got != tt.overlaps && tt.o.End() > tt.o.Base {
			t.Errorf("%v overlaps %v: %v", r, tt.o, got)
		}
		if got := r.Contains(tt.o); got != tt.contains {
			t.Errorf("%v contains %v: %v", r, tt.o, got)
		}
	}
	if got, want := r.String(), "0x1000-0x1fff"; got != want {
		t.Errorf("String: %q, want %q", got, want)
	}
	if got, want := (Range{}).String(), "none"; got != want {
		t.Errorf("String of nothing: %q, want %q", got, want)
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 bytes", 17: "17 bytes", 1024: "1 KiB", 2049 << 10: "2049 KiB", 512 << 20: "512 MiB", 3 << 30: "3 GiB", 1<<20 + 1: "1048577 bytes",
	} {
		if got := FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", n, got, want)
		}
	}
}
