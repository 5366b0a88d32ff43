package qcow2

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// bitmapImage returns an image of 64 MiB with bitmaps "even" and "all", of 4 KiB
// granules: every other one is dirty, or all.
func bitmapImage(t testing.TB, clusterSize int64) *memFile {
	t.Helper()
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: 64 * mib, ClusterSize: clusterSize}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"even", "all"} {
		if err := im.AddBitmap(name, BitmapOptions{Granularity: 4096}); err != nil {
			t.Fatal(err)
		}
	}
	im.findBitmap("all").bits.mark(0, 64*mib)
	for off := int64(0); off < 64*mib; off += 8192 {
		im.findBitmap("even").bits.mark(off, 1)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return f.reopened()
}

// extensionOffset is where marshal puts the data of the first extension of a
// kind.
func (h *header) extensionOffset(kind uint32) int64 {
	at := int64(headerSizeV3)
	for _, e := range h.extensions {
		if e.kind == kind {
			return at + 8
		}
		at += 8 + (int64(len(e.data))+7)&^7
	}
	return -1
}

// TestHostileBitmaps opens images whose bitmaps can't be right: for writing each
// is refused by name; what does not need bitmaps can still be read; and a repair
// makes the image whole.
func TestHostileBitmaps(t *testing.T) {
	base := bitmapImage(t, 4096)
	h, err := readHeader(base)
	if err != nil {
		t.Fatal(err)
	}
	ext, err := h.bitmapExt()
	if err != nil {
		t.Fatal(err)
	}
	at, dir := h.extensionOffset(extBitmaps), int64(ext.off)
	table := int64(base.get64(dir))
	second := dir + 32 // entries have 24 bytes and a name of up to 8
	tests := []struct {
		name, want string
		make       func(*memFile)
	}{
		{"reserved field", "reserved", func(f *memFile) { f.put32(at+4, 1) }},
		{"no bitmaps", "0 bitmaps", func(f *memFile) { f.put32(at, 0) }},
		{"too many bitmaps", "65536 bitmaps", func(f *memFile) { f.put32(at, 65536) }},
		{"more than there are", "less bitmaps", func(f *memFile) { f.put32(at, 3) }},
		{"less than there are", "more bitmaps", func(f *memFile) { f.put32(at, 1) }},
		{"huge directory", "too large", func(f *memFile) { f.put64(at+8, 1<<40) }},
		{"directory unaligned", "offset invalid", func(f *memFile) { f.put64(at+16, ext.off+8) }},
		{"directory nowhere", "offset invalid", func(f *memFile) { f.put64(at+16, 1<<62) }},
		{"directory beyond the end", "", func(f *memFile) { f.put64(at+16, 1<<40) }},
		{"directory in the header", "", func(f *memFile) { f.put64(at+16, 0) }},
		{"directory in the refcount table", "", func(f *memFile) { f.put64(at+16, h.refTable) }},
		{"no table", "no table", func(f *memFile) { f.put64(dir, 0) }},
		{"table without entries", "no table", func(f *memFile) { f.put32(dir+8, 0) }},
		{"huge table", "", func(f *memFile) { f.put32(dir+8, 0x8000001) }},
		{"table too long", "table entries", func(f *memFile) { f.put32(dir+8, 2) }},
		{"unknown flags", "flags", func(f *memFile) { f.put32(dir+12, 8) }},
		{"unknown type", "type 2", func(f *memFile) { f.data[dir+16] = 2 }},
		{"tiny granules", "granularity", func(f *memFile) { f.data[dir+17] = 8 }},
		{"huge granules", "granularity", func(f *memFile) { f.data[dir+17] = 64 }},
		{"no name", "name of 0", func(f *memFile) { f.data[dir+18], f.data[dir+19] = 0, 0 }},
		{"name too long", "", func(f *memFile) { f.data[dir+18], f.data[dir+19] = 0xff, 0xff }},
		{"extra data beyond the directory", "exceeds", func(f *memFile) { f.put32(dir+20, 0xffffffff) }},
		{"two of one name", "same name", func(f *memFile) { copy(f.data[second+16:], f.data[dir+16:dir+32]) }},
		{"reserved bits in the table", "entry 0", func(f *memFile) { f.data[table] = 0x80 }},
		{"data unaligned", "entry 0", func(f *memFile) { f.put64(table, f.get64(table)+512) }},
		{"data and all ones", "entry 0", func(f *memFile) { f.put64(table, f.get64(table)+1) }},
		{"data beyond the end", "beyond", func(f *memFile) { f.put64(table, 1<<40) }},
		{"data in the refcount table", "refcount table", func(f *memFile) { f.put64(table, h.refTable) }},
		{"data is the table", "twice", func(f *memFile) { f.put64(table, uint64(table)) }},
		{"two tables in one place", "twice", func(f *memFile) { f.put64(second, uint64(table)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := base.reopened()
			tt.make(f)
			before := slices.Clone(f.data)
			if _, err := Open(f.reopened(), Options{}); err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, ErrInvalid) {
				t.Errorf("open for writing: %v; want ErrInvalid with %q", err, tt.want)
			}
			im, err := Open(f, Options{ReadOnly: true})
			if err != nil {
				t.Fatalf("open for reading: %v", err)
			}
			if err := im.ReadV(pattern(0, 1000), 0); err != nil {
				t.Errorf("read: %v", err)
			}
			if err := im.DirtyRanges("even", func(int64, int64) bool { return true }); err == nil && !strings.Contains(tt.name, "two") {
				t.Error("a broken bitmap can be read")
			}
			if !slices.Equal(f.data, before) {
				t.Error("an open for reading changed the file")
			}
			im, err = Open(f, Options{ForRepair: true})
			if err != nil {
				t.Fatal(err)
			}
			if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions == 0 {
				t.Errorf("check: %+v, %v", res, err)
			}
			if res, err := im.Check(CheckOptions{Repair: RepairAll}); err != nil || !res.Clean() {
				t.Fatalf("repair: %+v, %v", res, err)
			}
			if err := im.WriteV(pattern(9, 100), 0); err != nil {
				t.Fatalf("write after the repair: %v", err)
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			if im, err = Open(f.reopened(), Options{}); err != nil {
				t.Fatalf("open after the repair: %v", err)
			}
			if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
				t.Errorf("check after the repair: %+v, %v", res, err)
			}
		})
	}
}

// TestBitmapExtraData keeps the extra data of later versions of the format, and
// uses a bitmap that has some only if its flag allows that.
func TestBitmapExtraData(t *testing.T) {
	for _, compatible := range []bool{false, true} {
		f := bitmapImage(t, 4096)
		h, _ := readHeader(f)
		ext, _ := h.bitmapExt()
		e, n, err := parseBitmapEntry(f.data[ext.off:][:ext.size])
		if err != nil {
			t.Fatal(err)
		}
		rest := slices.Clone(f.data[ext.off:][n:ext.size])
		e.extra = []byte("later!")
		if compatible {
			e.flags |= bitmapCompatible
		}
		dir := append(e.marshal(nil), rest...)
		copy(f.data[ext.off:], dir)
		f.put64(h.extensionOffset(extBitmaps)+8, uint64(len(dir)))
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.ClearBitmap("even"); errors.Is(err, ErrBitmapInconsistent) == compatible {
			t.Errorf("compatible=%v, clear: %v", compatible, err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		if im, err = Open(f.reopened(), Options{ReadOnly: true}); err != nil {
			t.Fatal(err)
		}
		got := im.findBitmap("even").entry
		if string(got.extra) != "later!" || got.flags&bitmapCompatible != 0 != compatible || got.flags&bitmapInUse == 0 != compatible {
			t.Errorf("compatible=%v: it was written back as %+v", compatible, got)
		}
	}
}

// TestStaleBitmaps opens an image whose last writer did not know bitmaps: they
// go, and what they used is a leak that a repair frees.
func TestStaleBitmaps(t *testing.T) {
	f := bitmapImage(t, 65536)
	f.put64(hdrAutoclear, 1<<33)
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := im.Bitmaps(); err != nil || len(list) != 0 {
		t.Fatalf("stale bitmaps are listed: %+v, %v", list, err)
	}
	if err := im.AddBitmap("new", BitmapOptions{}); err != nil {
		t.Fatal(err)
	}
	if res, err := im.Check(CheckOptions{Repair: RepairLeaks}); err != nil || res.LeaksFixed != 4 || !res.Clean() {
		t.Fatalf("check: %+v, %v", res, err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if im, err = Open(f.reopened(), Options{}); err != nil {
		t.Fatal(err)
	}
	if list, err := im.Bitmaps(); err != nil || len(list) != 1 || list[0].Name != "new" || list[0].Inconsistent {
		t.Fatalf("bitmaps: %+v, %v", list, err)
	}
	if h, _ := readHeader(f.reopened()); h.autoclear != autoclearBitmaps {
		t.Fatalf("autoclear bits are %#x", h.autoclear)
	}
}
