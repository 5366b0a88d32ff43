package qcow2

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// newImage returns a file with an image of 1 MiB, with data in its first half.
func newImage(t testing.TB, o CreateOptions) *memFile {
	t.Helper()
	f := new(memFile)
	if o.Size == 0 {
		o.Size = mib
	}
	if err := Create(f, o); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{NoBacking: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(0x5a, min(o.Size/2, 512*kib)), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return f.reopened()
}

func (m *memFile) put32(off int64, v uint32) { binary.BigEndian.PutUint32(m.data[off:], v) }
func (m *memFile) put64(off int64, v uint64) { binary.BigEndian.PutUint64(m.data[off:], v) }
func (m *memFile) get64(off int64) uint64    { return binary.BigEndian.Uint64(m.data[off:]) }

// Offsets in the image that newImage makes with default options.
const (
	atRefTable = 0x10000
	atRefBlock = 0x20000
	atL1       = 0x30000
	atL2       = 0x40000
	atData     = 0x50000
)

// TestHostileHeaders opens images with a header field that can't be right: each
// is refused by name, before any memory is spent on it.
func TestHostileHeaders(t *testing.T) {
	set32 := func(off int64, v uint32) func(*memFile) { return func(f *memFile) { f.put32(off, v) } }
	set64 := func(off int64, v uint64) func(*memFile) { return func(f *memFile) { f.put64(off, v) } }
	extend := func(kind, length uint32, data string) func(*memFile) {
		return func(f *memFile) {
			f.put32(112, kind)
			f.put32(116, length)
			clear(f.data[120:512])
			copy(f.data[120:], data)
		}
	}
	tests := []struct {
		name string
		edit func(*memFile)
		want error
		text string
	}{
		{"empty file", func(f *memFile) { f.data = nil }, ErrFormat, "not in qcow2 format"},
		{"zeroes", func(f *memFile) { clear(f.data) }, ErrFormat, "not in qcow2 format"},
		{"header cut off", func(f *memFile) { f.data = f.data[:100] }, ErrInvalid, "header too short"},
		{"version 0", set32(4, 0), ErrUnsupported, "version 0"},
		{"version 1", set32(4, 1), ErrUnsupported, "version 1"},
		{"version 4", set32(4, 4), ErrUnsupported, "version 4"},
		{"version max", set32(4, math.MaxUint32), ErrUnsupported, "version 4294967295"},
		{"cluster bits 0", set32(20, 0), ErrInvalid, "cluster size: 2^0"},
		{"cluster bits 8", set32(20, 8), ErrInvalid, "cluster size: 2^8"},
		{"cluster bits 22", set32(20, 22), ErrInvalid, "cluster size: 2^22"},
		{"cluster bits max", set32(20, math.MaxUint32), ErrInvalid, "cluster size: 2^4294967295"},
		{"header length max", set32(100, math.MaxUint32), ErrInvalid, "exceeds cluster size"},
		{"header length large", set32(100, math.MaxInt32), ErrInvalid, "exceeds cluster size"},
		{"header length 72", set32(100, 72), ErrInvalid, "header too short"},
		{"header length odd", set32(100, 113), ErrInvalid, "multiple of 8"},
		{"backing offset beyond cluster", set64(8, 0x10001), ErrInvalid, "backing file offset"},
		{"backing offset max", set64(8, math.MaxUint64), ErrInvalid, "backing file offset"},
		{"backing name too long", func(f *memFile) { f.put64(8, 600); f.put32(16, 1024) }, ErrInvalid, "backing file name too long"},
		{"backing name past cluster", func(f *memFile) { f.put64(8, 0xfff0); f.put32(16, 100) }, ErrInvalid, "backing file name too long"},
		{"extension too large", extend(0x12345678, math.MaxInt32, ""), ErrInvalid, "header extension too large"},
		{"extension length max", extend(0x12345678, math.MaxUint32, ""), ErrInvalid, "header extension too large"},
		{"backing format too long", extend(extBackingFormat, 16, "0123456789abcdef"), ErrInvalid, "ext_backing_format: len=16 too large (>=16)"},
		{"crypto header without encryption", extend(extCrypto, 16, ""), ErrInvalid, "CRYPTO header extension only expected with LUKS"},
		{"compression type without feature", func(f *memFile) { f.data[104] = 1 }, ErrInvalid, "bit must be set: the type is zstd"},
		{"feature without compression type", set64(72, incompatCompression), ErrInvalid, "bit must not be set: the type is zlib"},
		{"compression type 2", func(f *memFile) { f.data[104] = 2; f.put64(72, incompatCompression) }, ErrUnsupported, "compression type: 2"},
		{"compression type max", func(f *memFile) { f.data[104] = 255 }, ErrUnsupported, "compression type: 255"},
		{"data file without consent", func(f *memFile) {
			f.put64(72, incompatDataFile)
			extend(extDataFile, 11, "/etc/passwd")(f)
		}, ErrDataFile, `"/etc/passwd"`},
		{"raw data without data file", set64(hdrAutoclear, autoclearRawData), ErrInvalid, "data-file-raw requires a data file"},
		{"subclusters of 256 bytes", func(f *memFile) { f.put64(72, incompatExtendedL2); f.put32(20, 13) }, ErrInvalid, "unsupported subcluster size: 256"},
		{"unknown feature", set64(72, 1<<40), ErrUnsupported, "Unknown incompatible feature: 10000000000"},
		{"unknown feature with a name", func(f *memFile) {
			f.put64(72, 1<<7)
			copy(f.data[120:], append([]byte{0, 7}, strings.Repeat("x", 60)...)) // not terminated
		}, ErrUnsupported, "feature(s): " + strings.Repeat("x", featureNameSize)},
		{"AES", set32(32, 1), ErrSecret, "encrypted"},
		{"LUKS without header", set32(32, 2), ErrInvalid, "missing CRYPTO header"},
		{"encryption method 3", set32(32, 3), ErrUnsupported, "encryption method 3"},
		{"corrupt bit", set64(72, incompatCorrupt), ErrCorrupt, "marked so earlier"},
		{"refcount order 7", set32(96, 7), ErrInvalid, "reference count entry width too large"},
		{"refcount order max", set32(96, math.MaxUint32), ErrInvalid, "reference count entry width too large"},
		{"no refcount table", set32(56, 0), ErrInvalid, "does not contain a reference count table"},
		{"reference count table too large", set32(56, 0x20001), ErrInvalid, "reference count table too large"},
		{"refcount table max", set32(56, math.MaxUint32), ErrInvalid, "reference count table too large"},
		{"refcount table unaligned", set64(48, 0x10200), ErrInvalid, "reference count table offset invalid"},
		{"refcount table far out", set64(48, 0xffffffffffff0000), ErrInvalid, "reference count table offset invalid"},
		{"snapshots max", set32(60, math.MaxUint32), ErrInvalid, "snapshot table too large"},
		{"snapshots 65537", set32(60, 65537), ErrInvalid, "snapshot table too large"},
		{"snapshot table unaligned", func(f *memFile) { f.put32(60, 1); f.put64(64, 0x200) }, ErrInvalid, "snapshot table offset invalid"},
		{"snapshot table far out", func(f *memFile) { f.put32(60, 1); f.put64(64, 0x7fffffffffff0000) }, ErrInvalid, "snapshot table offset invalid"},
		{"L1 max", set32(36, math.MaxUint32), ErrInvalid, "active L1 table too large"},
		{"L1 large", set32(36, 4<<20+1), ErrInvalid, "active L1 table too large"},
		{"L1 unaligned", set64(40, 0x30200), ErrInvalid, "active L1 table offset invalid"},
		{"L1 far out", set64(40, 0x7fffffffffff0000), ErrInvalid, "active L1 table offset invalid"},
		{"L1 too small", set32(36, 0), ErrInvalid, "L1 table is too small"},
		{"size 2^62", set64(24, 1<<62), ErrInvalid, "image is too big"},
		{"size 2^63", set64(24, 1<<63), ErrInvalid, "image is too big"},
		{"size max", set64(24, math.MaxUint64), ErrInvalid, "image is too big"},
		{"snapshot with extra data", func(f *memFile) {
			f.put32(60, 1)
			f.put64(64, atData)
			f.put32(atData+36, math.MaxUint32)
		}, ErrInvalid, "too much extra metadata"},
		{"backing file without consent", func(f *memFile) {
			f.put64(8, 600)
			f.put32(16, 11)
			copy(f.data[600:], "/etc/passwd")
		}, ErrBacking, `"/etc/passwd"`},
	}
	f := newImage(t, CreateOptions{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := f.reopened()
			tt.edit(f)
			before := slices.Clone(f.data)
			explainAnything(t, f)
			_, err := Open(f, Options{})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("open: %v\nwant %v, with %q", err, tt.want, tt.text)
			}
			if !slices.Equal(f.data, before) {
				t.Error("open changed the image")
			}
		})
	}
}

// TestHostileTables accesses images whose tables are wrong: reads and writes
// are refused, nothing is overwritten that holds metadata, and whoever opens
// the image next finds it marked corrupt.
func TestHostileTables(t *testing.T) {
	read := func(im *Image) error { return im.ReadV(pattern(0, 64*kib), 0) }
	write := func(im *Image) error { return im.WriteV(pattern(0xee, 64*kib), 0) }
	writeNew := func(im *Image) error { return im.WriteV(pattern(0xee, 64*kib), 960*kib) }
	zero := func(im *Image) error { return im.WriteZeroes(0, 64*kib, true) }
	set64 := func(off int64, v uint64) func(*memFile) { return func(f *memFile) { f.put64(off, v) } }
	tests := []struct {
		name string
		edit func(*memFile)
		do   func(*Image) error
		text string
	}{
		{"L1 entry unaligned, read", set64(atL1, 0x40200|entryCopied), read, "L2 table offset 0x40200 unaligned"},
		{"L1 entry unaligned, write", set64(atL1, 0x40200|entryCopied), write, "L2 table offset 0x40200 unaligned"},
		{"L1 entry past the end, write", set64(atL1, 0xfff0000|entryCopied), write, "beyond the end"},
		{"L2 entry unaligned, read", set64(atL2, 0x50200|entryCopied), read, "cluster allocation offset 0x50200 unaligned (L2 offset: 0x40000, L2 index: 0)"},
		{"L2 entry unaligned, write", set64(atL2, 0x50200|entryCopied), write, "data cluster offset 0x50200 unaligned (guest offset: 0)"},
		{"L2 entry unaligned, zero", set64(atL2, 0x50200|entryCopied), zero, "data cluster offset 0x50200 unaligned (guest offset: 0)"},
		{"data in the refcount table", set64(atL2, atRefTable|entryCopied), write, "the refcount table"},
		{"data in a refcount block", set64(atL2, atRefBlock|entryCopied), write, "a refcount block"},
		{"data in the L1 table", set64(atL2, atL1|entryCopied), write, "the active L1 table"},
		{"data in the L2 table", set64(atL2, atL2|entryCopied), write, "an active L2 table"},
		{"data in the L2 table, not in place", set64(atL2, atL2), write, "an active L2 table"},
		{"zeroes in the L2 table", set64(atL2, atL2|entryCopied|entryZero), write, "an active L2 table"},
		{"freeing the L2 table", set64(atL2, atL2|entryCopied), zero, "an active L2 table"},
		{"refcounts call metadata free", func(f *memFile) { clear(f.data[atRefBlock : atRefBlock+64]) }, writeNew, "refcounts call cluster 0x0 free, which holds the header"},
		{"no refcount block", set64(atRefTable, 0), writeNew, "free, which holds the refcount table"},
		{"refcount block unaligned", set64(atRefTable, 0x20200), writeNew, "refblock offset 0x20200 unaligned (reftable index: 0)"},
		{"refcount block far out", set64(atRefTable, 0xffffffffffff0000), writeNew, "refblock offset 0xff"},
		{"zero cluster in version 2", func(f *memFile) {
			f.put32(4, 2)
			clear(f.data[72:600])
			f.put64(atL2, entryZero)
		}, read, "zero cluster entry 0x1 in a version 2 image"},
	}
	f := newImage(t, CreateOptions{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := f.reopened()
			tt.edit(f)
			metadata := slices.Clone(f.data[512:atData])
			explainAnything(t, f)
			im, err := Open(f, Options{})
			if err != nil {
				t.Fatal(err)
			}
			err = tt.do(im)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("%v\nwant %v, with %q", err, ErrCorrupt, tt.text)
			}
			if err := writeNew(im); !errors.Is(err, ErrCorrupt) {
				t.Errorf("a later write: %v, want %v", err, ErrCorrupt)
			}
			_ = im.Close()
			for i, b := range metadata {
				if f.data[512+i] != b {
					t.Fatalf("metadata at %#x was overwritten", 512+i)
				}
			}
			if _, err := Open(f.reopened(), Options{}); im.g.version >= 3 && !errors.Is(err, ErrCorrupt) {
				t.Errorf("open after that: %v, want %v", err, ErrCorrupt)
			}
			if _, err := Open(f.reopened(), Options{ReadOnly: true}); err != nil {
				t.Errorf("open read-only after that: %v", err)
			}
		})
	}
}

// TestBeyondTheEnd reads what lies past the end of the file: zeroes.
func TestBeyondTheEnd(t *testing.T) {
	for name, edit := range map[string]func(*memFile){
		"L2 table": func(f *memFile) { f.put64(atL1, 0xfff0000|entryCopied) },
		"data":     func(f *memFile) { f.put64(atL2, 0xfff0000|entryCopied) },
		"at 2^56":  func(f *memFile) { f.put64(atL2, 0x00ffffffffff0000) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newImage(t, CreateOptions{})
			edit(f)
			explainAnything(t, f)
			im, err := Open(f, Options{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			got := pattern(1, 64*kib)
			if err := im.ReadV(got, 0); err != nil {
				t.Fatal(err)
			}
			if i := slices.IndexFunc(got[0], func(b byte) bool { return b != 0 }); i >= 0 {
				t.Errorf("byte %#x is %#02x", i, got[0][i])
			}
		})
	}
}

// TestHostileCompressed reads compressed clusters that can't be decompressed.
func TestHostileCompressed(t *testing.T) {
	tests := map[string]struct {
		entry uint64
		data  []byte
	}{
		"past the end":  {entryCompressed | 0xfff00000, nil},
		"garbage":       {entryCompressed | atData, []byte("this is no deflate stream")},
		"cut off":       {entryCompressed | atData, []byte{0xed, 0xc1}},
		"too short":     {entryCompressed | atData, []byte{0x03, 0x00}}, // a valid, empty stream
		"most sectors":  {entryCompressed | 0xff<<54 | atData, []byte{0x03, 0x00}},
		"offset at max": {entryCompressed | 1<<54 - 1, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newImage(t, CreateOptions{})
			f.put64(atL2, tt.entry)
			clear(f.data[atData : atData+1024])
			copy(f.data[atData:], tt.data)
			explainAnything(t, f)
			im, err := Open(f, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := im.ReadV(pattern(0, 512), 100); !errors.Is(err, ErrInvalid) {
				t.Errorf("read: %v, want %v", err, ErrInvalid)
			}
			if err := im.WriteV(pattern(1, 512), 512*kib); err != nil {
				t.Errorf("a bad stream is no reason to refuse writes elsewhere: %v", err)
			}
			if _, err := im.Check(CheckOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHostileMemory opens the largest tables that are allowed: memory stays in
// proportion.
func TestHostileMemory(t *testing.T) {
	f := newImage(t, CreateOptions{})
	f.put32(36, 4<<20) // L1: 32 MiB
	f.put32(56, 128)   // refcount table: 8 MiB
	f.put32(60, 65536) // snapshots, all empty records
	f.put64(64, 0xfff0000)
	f.put64(40, 0xffff0000)
	f.put64(48, 0xfffff0000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	im, err := Open(f, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	explainAnything(t, f)
	if used := after.TotalAlloc - before.TotalAlloc; used > 200<<20 {
		t.Errorf("open allocated %d MiB", used>>20)
	}
	runtime.KeepAlive(im)
}

// TestSharedL2 repeats one L2 table in the L1 table: check tells.
func TestSharedL2(t *testing.T) {
	f := newImage(t, CreateOptions{Size: 2 * gib})
	f.put64(atL1+8, f.get64(atL1))
	explainAnything(t, f)
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := im.Check(CheckOptions{})
	if err != nil || res.Corruptions == 0 {
		t.Errorf("check: %+v, %v", res, err)
	}
}
