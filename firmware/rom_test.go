package firmware

import (
	"bytes"
	"strings"
	"testing"
)

func TestROM(t *testing.T) {
	for _, tt := range []struct {
		size int
		rom  uint64
	}{
		{128 << 10, 0xFFFE0000},
		{256 << 10, 0xFFFC0000},
		{2 << 20, 0xFFE00000},
		{3568 << 10, 0xFFC84000}, // OVMF_CODE_4M.fd
	} {
		image := make([]byte, tt.size)
		for i := range image {
			image[i] = byte(i>>12) ^ byte(i)
		}
		r, err := OpenROM(bytes.NewReader(image))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Range(); got != (Range{tt.rom, uint64(tt.size)}) {
			t.Errorf("%d bytes: ROM at %v", tt.size, got)
		}
		rom := &memoryAt{base: tt.rom, mem: make([]byte, tt.size)}
		if err := r.Load(rom); err != nil || !bytes.Equal(rom.mem, image) {
			t.Errorf("%d bytes: the ROM differs from the image: %v", tt.size, err)
		}
	}
}

// memoryAt is memory from base on.
type memoryAt struct {
	base uint64
	mem  []byte
}

func (m *memoryAt) WriteAt(p []byte, addr uint64) error {
	copy(m.mem[addr-m.base:][:len(p)], p)
	return nil
}

func TestROMSizes(t *testing.T) {
	for _, size := range []int{0, 1, 64<<10 - 1, 128<<10 + 512, 17 << 20} {
		_, err := OpenROM(bytes.NewReader(make([]byte, size)))
		if err == nil || !strings.Contains(err.Error(), "must be a multiple of 4 KiB, from 64 KiB to 16 MiB") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestBIOSMap(t *testing.T) {
	l, err := NewLayout(4*gib, 40)
	if err != nil {
		t.Fatal(err)
	}
	var ram uint64
	for _, e := range l.BIOSMap() {
		if e.Type == E820RAM {
			ram += e.Size
		}
		if e.Type == E820RAM && e.Overlaps(l.MMIO32()) {
			t.Errorf("RAM at %v is in the PCI window", e.Range)
		}
	}
	if ram != l.Size() {
		t.Errorf("%d bytes of RAM, want %d", ram, l.Size())
	}
	want := "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xC0\x00\x00\x00\x00\x01\x00\x00\x00"
	if got := EncodeE820(l.BIOSMap()); string(got[:20]) != want || len(got) != 3*20 {
		t.Errorf("% x", got)
	}
}
