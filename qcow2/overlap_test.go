package qcow2

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// richImage makes an image that has metadata of every class: with a snapshot
// whose L2 table the disk no longer uses, a bitmap with contents, and a LUKS
// header. It returns the file and where each kind of metadata is.
func richImage(t *testing.T) (*memFile, Options, map[metaKind]int64) {
	t.Helper()
	d := newDisk(t, encryptedConfigs()[0], rand.New(rand.NewPCG(1, 2)))
	write := func() {
		t.Helper()
		if err := d.im.WriteV(pattern(7, 512*kib), 0); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if err := d.im.AddBitmap("b", BitmapOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	write()
	d.reopen()
	places := make(map[metaKind]int64)
	for c, k := range d.im.meta {
		places[k] = max(places[k], c<<d.im.g.clusterBits)
	}
	return d.f.reopened(), d.opts, places
}

// overlapKinds names each kind of metadata as an error has it.
var overlapKinds = map[metaKind]string{
	metaL1: "the active L1 table", metaL2: "an active L2 table", metaRefTable: "the refcount table",
	metaRefBlock: "a refcount block", metaSnapshots: "the snapshot table", metaSnapshotL1: "a snapshot's L1 table",
	metaSnapshotL2: "a snapshot's L2 table", metaCrypto: "the encryption header",
	metaBitmapDirectory: "the bitmap directory", metaBitmap: "a bitmap",
}

// TestOverlap maps guest clusters to metadata of every class. Whatever would
// write there is refused, the image is marked corrupt for good, and can be read.
func TestOverlap(t *testing.T) {
	good, o, places := richImage(t)
	for kind, name := range overlapKinds {
		host, table := places[kind], places[metaL2]
		if host == 0 {
			t.Fatalf("there is no %s", name)
		}
		for what, tt := range map[string]struct {
			flags uint64
			do    func(*Image) error
		}{
			"write in place": {entryCopied, func(im *Image) error { return im.WriteV(pattern(1, 512), 700*kib) }},
			"copy on write":  {0, func(im *Image) error { return im.WriteV(pattern(1, 512), 700*kib) }},
			"kept zeroes":    {entryCopied | entryZero, func(im *Image) error { return im.WriteV(pattern(1, 512), 700*kib) }},
			"zeroes":         {entryCopied, func(im *Image) error { return im.WriteZeroes(700*kib, 512, false) }},
			"discard":        {entryCopied, func(im *Image) error { return im.Discard(640*kib, 64*kib) }},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				f := good.reopened()
				f.put64(table+8*10, uint64(host)|tt.flags)
				before := bytes.Clone(f.data[host : host+64*kib])
				im, err := Open(f, o)
				if err != nil {
					t.Fatal(err)
				}
				marked := f.data[host : host+64*kib]
				if kind == metaBitmapDirectory {
					before = bytes.Clone(marked) // Open says there that bitmaps are in use
				}
				if err := tt.do(im); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
					t.Errorf("%v; want %v, and %q", err, ErrCorrupt, name)
				}
				if f.get64(hdrIncompat)&incompatCorrupt == 0 || !im.Info().Corrupt {
					t.Error("the image is not marked corrupt")
				}
				if err := im.WriteV(pattern(1, 512), 0); !errors.Is(err, ErrCorrupt) {
					t.Errorf("a write elsewhere: %v", err)
				}
				got := pattern(0, 512)
				if err := im.ReadV(got, 100*kib); err != nil || got[0][0] != 7 {
					t.Errorf("a read: %#x, %v", got[0][0], err)
				}
				_ = im.Close()
				if !bytes.Equal(f.data[host:host+64*kib], before) {
					t.Error("it was written over")
				}
				if _, err := Open(f.reopened(), o); !errors.Is(err, ErrCorrupt) {
					t.Errorf("open again: %v", err)
				}
			})
		}
	}
}

// TestOverlapOfTables has the active L1 table refer to other metadata as if it
// were an L2 table, and to one table twice (row 53).
func TestOverlapOfTables(t *testing.T) {
	for name, at := range map[string]int64{"the refcount table": atRefTable, "a refcount block": atRefBlock, "the active L1 table": atL1} {
		f := newImage(t, CreateOptions{Size: gib})
		f.put64(atL1, uint64(at)|entryCopied)
		before := bytes.Clone(f.data[at : at+64*kib])
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.WriteZeroes(0, 64*kib, false); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		_ = im.Close()
		if !bytes.Equal(before, f.data[at:at+64*kib]) {
			t.Errorf("%s was written over", name)
		}
	}
	f := newImage(t, CreateOptions{Size: 2 * gib})
	f.put64(atL1+8, f.get64(atL1))
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(1, 512), 900*kib); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "used twice") {
		t.Errorf("a table that is used twice: %v", err)
	}
}

// TestOverlapUnchecked leaves out each class: only its writes pass.
func TestOverlapUnchecked(t *testing.T) {
	good, o, places := richImage(t)
	for kind := range overlapKinds {
		for _, other := range []metaKind{metaRefTable, metaSnapshotL1, metaSnapshotL2} {
			f := good.reopened()
			f.put64(places[metaL2]+8*10, uint64(places[kind])|entryCopied)
			o.Unchecked = other.class()
			im, err := Open(f, o)
			if err != nil {
				t.Fatal(err)
			}
			im.mu.Lock()
			err = im.checkData(places[kind], 64*kib)
			im.mu.Unlock()
			if pass := kind.class() == other.class(); pass != (err == nil) {
				t.Errorf("%v without %v: %v", kind, o.Unchecked, err)
			}
		}
	}
}

// TestParseOverlap takes QEMU's options.
func TestParseOverlap(t *testing.T) {
	for _, tt := range []struct {
		template string
		classes  map[string]bool
		want     Overlap
	}{
		{"", nil, OverlapAll},
		{"all", nil, 0x1ff},
		{"cached", nil, 0x17f},
		{"constant", nil, 0x12b},
		{"none", nil, 0},
		{"none", map[string]bool{"inactive-l2": true, "main-header": true}, 0x81},
		{"all", map[string]bool{"bitmap-directory": false, "active-l2": false, "active-l1": true}, 0xfb},
	} {
		if got, err := ParseOverlap(tt.template, tt.classes); got != tt.want || err != nil {
			t.Errorf("%q, %v: %#x, %v; want %#x", tt.template, tt.classes, got, err, tt.want)
		}
	}
	for _, bad := range []string{"most", "All"} {
		if _, err := ParseOverlap(bad, nil); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := ParseOverlap("all", map[string]bool{"l3": true}); err == nil || !strings.Contains(err.Error(), "bitmap-directory") {
		t.Error(err)
	}
	if s := (OverlapMainHeader | OverlapInactiveL2).String(); s != "main-header,inactive-l2" || OverlapNone.String() != "none" {
		t.Error(s)
	}
	for k := metaHeader; k <= metaL2Twice; k++ {
		if k.class() == 0 || k.String() == "" {
			t.Errorf("kind %d belongs to no class", k)
		}
	}
}

// TestOverlapSurvivesCorruptBitFailure can't mark the image: writes are refused
// all the same.
func TestOverlapSurvivesCorruptBitFailure(t *testing.T) {
	f := newImage(t, CreateOptions{})
	f.put64(atL2, atRefTable|entryCopied)
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.ReadV(pattern(0, 512), 0); err != nil { // now the L2 table is in memory
		t.Fatal(err)
	}
	f.failAfter(1)
	if err := im.WriteV(pattern(1, 512), 0); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	f.failAfter(0)
	if err := im.WriteV(pattern(1, 512), 512*kib); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a later write: %v", err)
	}
}
