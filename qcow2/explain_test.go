package qcow2

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"
)

// explainAnything explains a file in every way there is: it must end, and soon,
// whatever is in the file.
func explainAnything(t testing.TB, f File) {
	t.Helper()
	watchdog := time.AfterFunc(patience, func() { panic("an explanation does not end") })
	defer watchdog.Stop()
	notes := 0
	count := func(Note) error { notes++; return nil }
	errs := []error{Explain(f, ExplainOptions{L1: true, L2: []int64{0, 1, math.MaxInt64}, Refcounts: true}, count)}
	for _, off := range []int64{1000, 1 << 40, math.MaxInt64} {
		errs = append(errs, ExplainGuest(f, off, count))
	}
	errs = append(errs, ExplainHost(f, atData, count), ExplainHost(f, math.MaxInt64, count))
	for _, err := range errs {
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("explain: %v", err)
		}
		if (err == nil) != (notes > 0) {
			t.Errorf("%d notes, and %v", notes, err)
		}
	}
}

// explained is the text of all notes, a line each.
func explained(t *testing.T, explain func(func(Note) error) error) string {
	t.Helper()
	var b strings.Builder
	if err := explain(func(n Note) error {
		fmt.Fprintf(&b, "%s %#x %s: %s !%s\n", n.Part, n.Offset, n.Name, n.Text, n.Problem)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func hostText(t *testing.T, f File, off int64) string {
	return explained(t, func(visit func(Note) error) error { return ExplainHost(f, off, visit) })
}

// TestExplainHostAgreesWithCheck asks for the owner of every cluster of images
// with everything in them: each has as many as its refcount says.
func TestExplainHostAgreesWithCheck(t *testing.T) {
	for name, o := range map[string]CreateOptions{
		"plain":       {ClusterSize: 4096},
		"bits":        {ClusterSize: 4096, RefcountBits: 4},
		"subclusters": {ClusterSize: 16 * kib, ExtendedL2: true},
		"backing":     {ClusterSize: 4096, BackingFile: "base", BackingFormat: "raw"},
		"zstd":        {ClusterSize: 4096, Compression: CompressionZstd},
	} {
		t.Run(name, func(t *testing.T) {
			f := fullImage(t, o)
			size, err := f.Size()
			if err != nil {
				t.Fatal(err)
			}
			for off := int64(0); off < size; off += o.ClusterSize {
				text := hostText(t, f, off+17)
				if !strings.Contains(text, "they agree") && !strings.Contains(text, "verdict: free") {
					t.Fatalf("cluster %#x:\n%s", off, text)
				}
			}
			text := explained(t, func(visit func(Note) error) error { return Explain(f, ExplainOptions{All: true}, visit) })
			for line := range strings.Lines(text) {
				if !strings.HasSuffix(line, "!\n") {
					t.Errorf("a good image: %s", line)
				}
			}
		})
	}
}

// fullImage makes an image with data, zeroes, compressed clusters, snapshots and
// bitmaps.
func fullImage(t testing.TB, o CreateOptions) *memFile {
	t.Helper()
	f := newImage(t, o)
	im, err := Open(f, Options{NoBacking: true})
	if err != nil {
		t.Fatal(err)
	}
	steps := []func() error{
		func() error { _, err := im.CreateSnapshot(SnapshotOptions{Name: "one"}); return err },
		func() error { return im.WriteV(pattern(1, 20*kib), 64*kib) },
		func() error { return im.WriteZeroes(128*kib, 64*kib, false) },
		func() error { return im.WriteCompressed(squeezable(3, 16*kib), 768*kib) },
		func() error { return im.AddBitmap("b", BitmapOptions{Granularity: 512}) },
		func() error { return im.WriteV(pattern(2, 8*kib), 600*kib) },
		func() error { _, err := im.CreateSnapshot(SnapshotOptions{Name: "two"}); return err },
		im.Close,
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	return f.reopened()
}

// TestExplainFindsDamage damages an image in ways that the explanation names.
func TestExplainFindsDamage(t *testing.T) {
	tests := []struct {
		name string
		edit func(*memFile)
		want string
	}{
		{"magic", func(f *memFile) { f.put32(0, 0) }, "must be \"QFI"},
		{"cluster bits", func(f *memFile) { f.put32(20, 40) }, "9 to 21 are allowed"},
		{"feature", func(f *memFile) { f.put64(hdrIncompat, 1<<9) }, `bit 9 ("unknown")`},
		{"L1 place", func(f *memFile) { f.put64(40, atL1+8) }, "not at the start of a cluster"},
		{"L1 entry", func(f *memFile) { f.put64(atL1, 0xfff0000) }, "beyond the end of the file"},
		{"reserved bits", func(f *memFile) { f.put64(atL2, 1<<60|atData) }, "reserved bits are set: 0x1000000000000000"},
		{"unaligned data", func(f *memFile) { f.put64(atL2, atData+512) }, "cluster offset 0x50200 unaligned"},
		{"L1 twice", func(f *memFile) { f.put32(36, 2); f.put64(atL1+8, f.get64(atL1)) }, "2 L1 entries name this table"},
		{"refcount block", func(f *memFile) { f.put64(atRefTable, atRefBlock+1) }, "reserved bits are set: 0x1"},
		{"snapshots", func(f *memFile) { f.put32(60, 1); f.put64(64, 1<<40) }, "beyond the end of the file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newImage(t, CreateOptions{})
			tt.edit(f)
			text := explained(t, func(visit func(Note) error) error { return Explain(f, ExplainOptions{}, visit) })
			if !strings.Contains(text, tt.want) {
				t.Errorf("not said: %s\n%s", tt.want, text)
			}
			explainAnything(t, f)
		})
	}
	f := newImage(t, CreateOptions{})
	f.data[atRefBlock+2*(atData>>16)+1] = 0
	if text := hostText(t, f, atData); !strings.Contains(text, "1 reference, refcount 0: too low") {
		t.Errorf("refcount too low:\n%s", text)
	}
	f.data[atRefBlock+2*(atData>>16)+1] = 3
	if text := hostText(t, f, atData+5); !strings.Contains(text, "1 reference, refcount 3: too high") {
		t.Errorf("refcount too high:\n%s", text)
	}
}

// TestExplainGuest follows offsets of all kinds.
func TestExplainGuest(t *testing.T) {
	f := fullImage(t, CreateOptions{ClusterSize: 4096, BackingFile: "base", BackingFormat: "raw"})
	for off, want := range map[int64]string{
		100:             "contents: at host 0x",
		130 * kib:       "contents: zeroes",
		768*kib + 4:     "contents: byte 0x4 of what the stream decompresses to",
		900 * kib:       `contents: at guest offset 0xe1000 of the backing file "base"`,
		2 * mib:         "the disk has 1048576 bytes",
		math.MaxInt64:   "L1 entry: ",
		600*kib + 0x123: "refcount: 2",
	} {
		text := explained(t, func(visit func(Note) error) error { return ExplainGuest(f, off, visit) })
		if !strings.Contains(text, want) {
			t.Errorf("offset %#x: not said: %s\n%s", off, want, text)
		}
	}
}

// TestExplainMemory explains the largest tables that are allowed, and more: memory
// does not follow them.
func TestExplainMemory(t *testing.T) {
	f := newImage(t, CreateOptions{})
	f.put32(36, math.MaxUint32)
	f.put32(56, math.MaxUint32)
	f.put32(60, math.MaxUint32)
	f.put64(64, atData)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := Explain(f, ExplainOptions{}, func(Note) error { return nil })
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; err != nil || used > 64<<20 {
		t.Errorf("allocated %d MiB: %v", used>>20, err)
	}
}

// TestExplainStops ends when its reader has enough.
func TestExplainStops(t *testing.T) {
	f := newImage(t, CreateOptions{})
	enough := errors.New("enough")
	for n := range 30 {
		got := 0
		err := Explain(f, ExplainOptions{}, func(Note) error {
			if got++; got > n {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || got != n+1 {
			t.Fatalf("%d notes, %v", got, err)
		}
	}
}

// FuzzExplain explains what may be an image.
func FuzzExplain(f *testing.F) {
	for _, seed := range smallImages(f) {
		f.Add(seed)
	}
	f.Add(fullImage(f, CreateOptions{ClusterSize: 512}).data)
	f.Fuzz(func(t *testing.T, data []byte) {
		explainAnything(t, &memFile{data: data})
	})
}
