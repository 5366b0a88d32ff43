package qcow2

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// hostileRows lists, for each way in which an image may be hostile, the test
// that makes such images. The numbers are those of the project's list of them.
var hostileRows = map[int]string{
	1:  "TestHostileHeaders",       // file empty, zeroes, cut off
	2:  "TestHostileHeaders",       // version
	3:  "TestHostileHeaders",       // cluster_bits
	4:  "TestHostileHeaders",       // header_length too large
	5:  "TestHostileHeaders",       // header_length too small
	6:  "TestHostileHeaders",       // header_length odd
	7:  "TestHostileHeaders",       // backing_file_offset
	8:  "TestHostileHeaders",       // backing_file_size
	9:  "TestHostileHeaders",       // extension length
	10: "TestHostileHeaders",       // backing format extension
	11: "TestHostileFeatureTable",  // feature table odd, names not terminated
	12: "TestHostileBitmaps",       // bitmaps extension
	13: "TestHostileEncryption",    // crypto extension
	14: "TestHostileHeaders",       // crypt_method
	15: "TestHostileHeaders",       // size
	16: "TestHostileHeaders",       // l1_size too large
	17: "TestHostileHeaders",       // l1_table_offset
	18: "TestHostileL1Size",        // l1_size too small
	19: "TestHostileHeaders",       // refcount_table_clusters too large
	20: "TestHostileNoRefTable",    // refcount_table_clusters 0
	21: "TestHostileHeaders",       // refcount_table_offset
	22: "TestHostileHeaders",       // refcount_order
	23: "TestHostileHeaders",       // nb_snapshots
	24: "TestHostileHeaders",       // snapshots_offset
	25: "TestHostileSnapshotTable", // most snapshots, garbage in the table
	26: "TestHostileHeaders",       // snapshot with extra data
	27: "TestHostileSnapshotTable", // snapshot with long strings, table past the end
	28: "TestSnapshotOutOfPlace",   // snapshot's L1 offset
	29: "TestSnapshotOutOfPlace",   // snapshot's L1 size
	30: "TestHostileSnapshotSize",  // snapshot's disk size
	31: "TestHostileEntries",       // L1 entries
	32: "TestHostileEntries",       // L2 entries
	33: "TestHostileTables",        // zero cluster in version 2
	34: "TestHostileCompressed",    // compressed entry
	35: "TestHostileStream",        // compressed stream
	36: "TestHostileHeaders",       // compression_type
	37: "TestHostileRefTable",      // refcount table entry
	38: "TestHostileTables",        // refcounts call metadata free
	39: "TestOverlap",              // refcounts too low
	40: "TestSnapshotNeedsRefcounts",
	41: "TestHostileHeaders",         // extended L2
	42: "TestHostileHeaders",         // data file without consent
	43: "TestHostileDataFileEntries", // data file image
	44: "TestBackingRefused",         // backing file: package block
	45: "TestBackingRefused",         // backing format
	46: "TestBackingRefused",         // json: names
	47: "TestHostileBitmaps",         // bitmap directory
	48: "TestHostileBitmaps",         // bitmap table entry
	49: "TestHostileDirty",           // dirty bit, read-only
	50: "TestHostileDirty",           // dirty bit, can't be repaired
	51: "TestHostileFileLength",      // file of 2^62 bytes
	52: "TestHostileEncryption",      // LUKS header
	53: "TestOverlapOfTables",        // L2 table used twice
	54: "TestTruncatedByOthers",      // file changes under the image
}

// TestHostileRows looks for a test of every row.
func TestHostileRows(t *testing.T) {
	have := testNames(t)
	for row := 1; row <= 54; row++ {
		if name := hostileRows[row]; !slices.Contains(have, name) {
			t.Errorf("row %d has no test %q", row, name)
		}
	}
}

// testNames are the names of the tests of this package and of package block.
func testNames(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*_test.go", "../internal/block/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(b, -1) {
				names = append(names, string(m[1]))
			}
		}
	}
	return names
}

// mustNotOpen opens what must be refused, in one line.
func mustNotOpen(t *testing.T, f File, o Options, want error, text string) {
	t.Helper()
	explainAnything(t, f)
	_, err := Open(f, o)
	if !errors.Is(err, want) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		t.Errorf("open: %v\nwant %v in one line, with %q", err, want, text)
	}
}

// TestHostileFeatureTable has tables of feature names that are no multiple of
// rows, or long, and an unknown feature that is looked up in them (row 11).
func TestHostileFeatureTable(t *testing.T) {
	for _, length := range []int{0, 1, 47, 49, 48*3 + 47, 60000} {
		f := newImage(t, CreateOptions{})
		f.put64(hdrIncompat, 1<<9)
		f.put32(112, extFeatureNames)
		f.put32(116, uint32(length))
		for i := range length {
			f.data[120+i] = 0xff
		}
		f.put64(int64(120+(length+7)&^7), 0)
		mustNotOpen(t, f, Options{}, ErrUnsupported, "Unknown incompatible feature: 200")
	}
}

// TestHostileL1Size has L1 tables shorter than the disk needs, with and without
// snapshots (row 18).
func TestHostileL1Size(t *testing.T) {
	for _, snapshots := range []bool{false, true} {
		f := newImage(t, CreateOptions{Size: 2 * gib})
		if snapshots {
			explainAnything(t, f)
			im, err := Open(f, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
				t.Fatal(err)
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			f = f.reopened()
		}
		for n := range uint32(4) {
			f.put32(36, n)
			mustNotOpen(t, f, Options{}, ErrInvalid, "L1 table is too small")
		}
	}
}

// TestHostileNoRefTable has no refcount table: refused, but a repair makes one
// (row 20).
func TestHostileNoRefTable(t *testing.T) {
	f := newImage(t, CreateOptions{})
	f.put32(56, 0)
	mustNotOpen(t, f, Options{}, ErrInvalid, "does not contain a reference count table")
	mustNotOpen(t, f, Options{ReadOnly: true}, ErrInvalid, "does not contain a reference count table")
	explainAnything(t, f)
	im, err := Open(f, Options{ForRepair: true})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := im.Check(CheckOptions{Repair: RepairAll}); err != nil || res.Corruptions != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := im.WriteV(pattern(1, 512), 900*kib); err != nil {
		t.Error(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if err := consistent(f.reopened(), Options{ReadOnly: true}); err != nil {
		t.Error(err)
	}
}

// TestHostileSnapshotTable has as many snapshots as there may be, in tables of
// garbage, and long names in a table past the end (rows 25 and 27).
func TestHostileSnapshotTable(t *testing.T) {
	for name, edit := range map[string]func(*memFile){
		"zeroes":            func(f *memFile) { clear(f.data[atData:]) },
		"the disk's data":   func(*memFile) {},
		"ones":              func(f *memFile) { copy(f.data[atData:], bytes.Repeat([]byte{0xff}, 4096)) },
		"long names":        func(f *memFile) { clear(f.data[atData:]); f.put32(atData+12, 0xffffffff) },
		"past the end":      func(f *memFile) { f.put64(64, 0xffff0000) },
		"the snapshot's L1": func(f *memFile) { f.put64(64, atL1) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newImage(t, CreateOptions{})
			f.put32(60, maxSnapshots)
			f.put64(64, atData)
			edit(f)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			im, err := Open(f, Options{})
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 256<<20 {
				t.Errorf("open took %d MiB", used>>20)
			}
			explainAnything(t, f)
			if err != nil {
				if !errors.Is(err, ErrInvalid) {
					t.Error(err)
				}
				return
			}
			if _, err := im.CreateSnapshot(SnapshotOptions{Name: "one more"}); err == nil {
				t.Error("one snapshot more than there may be")
			}
		})
	}
}

// TestHostileSnapshotSize applies snapshots of disks that their L1 tables don't
// cover, or that have no whole sectors (row 30).
func TestHostileSnapshotSize(t *testing.T) {
	good := newImage(t, CreateOptions{})
	im, err := Open(good, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	table := int64(good.get64(64))
	for _, size := range []uint64{1 << 30, 1 << 40, 1 << 62, 1 << 63, 1<<64 - 1, 1<<20 + 1, 1<<20 - 100} {
		f := good.reopened()
		f.put64(table+48, size)
		explainAnything(t, f)
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.ApplySnapshot("s"); !errors.Is(err, ErrInvalid) {
			t.Errorf("disk of %#x bytes: %v", size, err)
		}
		if im.Size() != mib {
			t.Errorf("the disk has %d bytes now", im.Size())
		}
		if err := im.WriteV(pattern(1, 512), 900*kib); err != nil {
			t.Errorf("a write after that: %v", err)
		}
		if err := im.DeleteSnapshot("s"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
}

// TestHostileEntries puts impossible values into L1 and L2 tables and does
// everything with them: errors at most (rows 31 and 32).
func TestHostileEntries(t *testing.T) {
	values := []uint64{0x40200, 0x7f00000000000000, 0x1ff, 0xbfffffffffff0000, 0x00ffffffffff0000, 0xffffffffffffffff,
		0x3fffffffffffffff, 0, atL1, atL2, atRefTable, atRefBlock, 1 << 55, 0x100000000, entryCompressed, entryCompressed | 1<<61}
	for _, at := range []int64{atL1, atL2, atL2 + 8*15} {
		for _, v := range values {
			for _, flags := range []uint64{0, entryCopied, entryZero} {
				f := newImage(t, CreateOptions{})
				f.put64(at, v|flags)
				exercise(t, &limitedFile{memFile{data: f.data}})
			}
		}
	}
}

// TestHostileRefTable does the same with the refcount table and its blocks
// (row 37).
func TestHostileRefTable(t *testing.T) {
	for _, at := range []int64{atRefTable, atRefTable + 8, atRefBlock, atRefBlock + 8} {
		for _, v := range []uint64{0x20200, 0x20001, 0xffffffffffffffff, 0, atRefTable, atRefBlock, atL1, atL2, atData, 1 << 55, 1 << 63, 0xfff0000} {
			f := newImage(t, CreateOptions{})
			f.put64(at, v)
			exercise(t, &limitedFile{memFile{data: f.data}})
		}
	}
}

// exercise does everything with an image. Whatever is in it, requests return,
// and at the end a repair leaves nothing that it could mend.
func exercise(t *testing.T, f File) {
	t.Helper()
	watchdog := time.AfterFunc(patience, func() { panic("a request does not return") })
	defer watchdog.Stop()
	explainAnything(t, f)
	im, err := Open(f, Options{NoBacking: true, NoDataFile: true, NoSecret: true})
	if err != nil {
		return
	}
	size := im.Size()
	if size > 0 {
		n := min(size, 4096)
		_ = im.ReadV(pattern(0, n), 0)
		_ = im.ReadV(pattern(0, n), size-n)
		_ = im.WriteV(pattern(1, n), 0)
		_ = im.WriteV(pattern(2, n), size-n)
		_ = im.WriteZeroes(0, min(size, 128*kib), true)
		_ = im.Discard(0, min(size, 256*kib))
	}
	for i, s := range im.Snapshots() {
		if i < 3 {
			_ = im.ApplySnapshot(s.ID)
		}
	}
	_, _ = im.CreateSnapshot(SnapshotOptions{Name: "x"})
	_ = im.DeleteSnapshot("x")
	if size < gib {
		_ = im.Resize(size + 128*kib)
	}
	_ = im.Flush()
	if im.Size() < gib {
		if res, err := im.Check(CheckOptions{Repair: RepairAll}); err == nil {
			again, err := im.Check(CheckOptions{})
			if err != nil || again.Leaks != 0 {
				t.Errorf("after a repair, %+v: %+v, %v", res, again, err)
			}
		}
	}
	_ = im.Close()
}

// TestHostileStream has streams that go on for ever, or that promise much, in
// compressed clusters (row 35; see also TestDecode).
func TestHostileStream(t *testing.T) {
	for name, tt := range map[string]struct {
		c    Compression
		data []byte
		fine bool
	}{
		"deflate bomb":        {CompressionZlib, bomb(t), true}, // what exceeds the cluster is left
		"deflate, stored max": {CompressionZlib, []byte{0x01, 0xff, 0xff, 0x00, 0x00}, false},
		"zstd, huge window":   {CompressionZstd, rleFrame(0xff, 5, 64<<10), false},
		"zstd, magic alone":   {CompressionZstd, zstdMagic, false},
		"zstd, garbage":       {CompressionZstd, bytes.Repeat([]byte{0x5a}, 100), false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newImage(t, CreateOptions{Compression: tt.c})
			clear(f.data[atData : atData+64*kib])
			copy(f.data[atData:], tt.data)
			f.put64(atL2, entryCompressed|0x7f<<54|atData)
			explainAnything(t, f)
			im, err := Open(f, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err = im.ReadV(pattern(0, 64*kib), 0)
			runtime.ReadMemStats(&after)
			if fine := err == nil; fine != tt.fine {
				t.Error(err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("decompressing a cluster took %d MiB", used>>20)
			}
		})
	}
}

// bomb is a deflate stream that is short for what it makes.
func bomb(t *testing.T) []byte {
	t.Helper()
	c := newCodec(CompressionZlib, 1<<21)
	buf := make([]byte, 1<<21)
	out := c.encode(buf, make([]byte, 1<<21))
	if out == nil || len(out) > 32<<10 {
		t.Fatalf("a bomb of %d bytes", len(out))
	}
	return slices.Clone(out)
}

// TestHostileDirty opens dirty images read-only, which repairs nothing, and one
// that can't be repaired (rows 49 and 50).
func TestHostileDirty(t *testing.T) {
	f := newImage(t, CreateOptions{})
	f.put64(hdrIncompat, incompatDirty)
	clear(f.data[atRefBlock : atRefBlock+64])
	before := slices.Clone(f.data)
	explainAnything(t, f)
	im, err := Open(f, Options{ReadOnly: true})
	if err != nil || !im.Info().Dirty {
		t.Fatal(err)
	}
	if err := im.ReadV(pattern(0, 512), 0); err != nil {
		t.Error(err)
	}
	if err := im.Close(); err != nil || !slices.Equal(f.data, before) {
		t.Errorf("the image was changed, %v", err)
	}
	f = f.reopened()
	f.put64(atL2, 0x50200)
	mustNotOpen(t, f, Options{}, ErrCorrupt, "could not repair dirty image")
	if f.get64(hdrIncompat)&incompatDirty == 0 {
		t.Error("not dirty any more")
	}
}

// longFile says that it is very long.
type longFile struct{ *memFile }

func (longFile) Size() (int64, error) { return 1 << 62, nil }

// TestHostileFileLength uses a file that says it has 2^62 bytes: memory and time
// follow what is in it (row 51).
func TestHostileFileLength(t *testing.T) {
	f := newImage(t, CreateOptions{})
	watchdog := time.AfterFunc(patience, func() { panic("a request does not return") })
	defer watchdog.Stop()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	im, err := Open(longFile{f}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.ReadV(pattern(0, 64*kib), 0); err != nil {
		t.Error(err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	_ = im.Close()
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
		t.Errorf("it took %d MiB", used>>20)
	}
	if f.reads > 20 {
		t.Errorf("it took %d reads", f.reads)
	}
}

// TestTruncatedByOthers shortens the file of an image that is open (row 54).
func TestTruncatedByOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, newImage(t, CreateOptions{}).data, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{L2CacheSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{atData + 100, atL2 + 8, 100, 0} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		_ = im.ReadV(pattern(0, 512*kib), 0)
		_ = im.WriteV(pattern(0, 4*kib), 512*kib)
		_, _ = im.Check(CheckOptions{})
		_ = im.Flush()
	}
	_ = im.Close()
}
