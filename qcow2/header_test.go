package qcow2

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestHeaderIsKept rewrites a header that has all there is: nothing is lost.
func TestHeaderIsKept(t *testing.T) {
	h := &header{
		version: 3, clusterBits: 12, size: 1 << 20, l1Size: 1, l1Offset: 0x3000, refTable: 0x1000, refClusters: 1,
		compatible: 0xf0, autoclear: 1 << 40, refcountOrder: 5,
		tail: append(make([]byte, 7), "fields of a later version......."...),
		extensions: []extension{
			{extBackingFormat, []byte("qcow2")},
			{0xabcdef01, []byte("opaque")},
			{extFeatureNames, marshalFeatures(knownFeatures())},
			{0xabcdef00, nil},
		},
		backingFile: "base.qcow2",
	}
	b, err := h.marshal()
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 4096)
	copy(first, b)
	got, err := parseHeader(first)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.marshal()
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("what was read is written as\n%q, %v\nnot as\n%q", again, err, b)
	}
	if got.backingFormat() != "qcow2" || string(got.extension(0xabcdef01)) != "opaque" || !bytes.Equal(got.tail, h.tail) {
		t.Errorf("read: %+v", got)
	}
	h.backingFile = strings.Repeat("x", 1023)
	h.extensions = append(h.extensions, extension{1, make([]byte, 3000)})
	if _, err := h.marshal(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a header that does not fit: %v", err)
	}
}

// TestAutoclear opens an image with feature bits that a writer must clear if it
// does not know them, and an extension that nobody knows.
func TestAutoclear(t *testing.T) {
	f := newImage(t, CreateOptions{})
	f.put64(hdrAutoclear, 1<<40|autoclearBitmaps)
	f.put64(80, 1<<20) // a compatible feature: not ours to touch
	f.put32(112, 0xabcdef01)
	im, err := Open(f, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil || f.get64(hdrAutoclear) == 0 {
		t.Errorf("a read-only open changed the image, %v", err)
	}
	if im, err = Open(f, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := readHeader(f.reopened())
	if err != nil || h.autoclear != 0 || h.compatible != 1<<20 || len(h.extension(0xabcdef01)) != 384 {
		t.Errorf("after a writable open: %+v, %v", h, err)
	}
}

// TestCreateErrors names what can't be created.
func TestCreateErrors(t *testing.T) {
	for text, o := range map[string]CreateOptions{
		"version 4":                       {Version: 4},
		"cluster size 1000":               {ClusterSize: 1000},
		"cluster size 256":                {ClusterSize: 256},
		"cluster size 4194304":            {ClusterSize: 4 * mib},
		"refcount width of 3 bits":        {RefcountBits: 3},
		"refcount width of 128 bits":      {RefcountBits: 128},
		"version 2 has 16":                {Version: 2, RefcountBits: 8},
		"lazy refcounts need version 3":   {Version: 2, LazyRefcounts: true},
		"disk size -1":                    {Size: -1},
		"larger cluster size than 512":    {Size: 129 * gib, ClusterSize: 512},
		"without backing format":          {BackingFile: "x"},
		"backing file name of 1024 bytes": {BackingFile: strings.Repeat("x", 1024), BackingFormat: "raw"},
		"at most 15 bytes":                {BackingFile: "x", BackingFormat: strings.Repeat("x", 16)},
		"a cluster has 512":               {BackingFile: strings.Repeat("x", 500), BackingFormat: "raw", ClusterSize: 512},
	} {
		f := new(memFile)
		if err := Create(f, o); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want %q", o, err, text)
		}
		if len(f.data) != 0 {
			t.Errorf("%+v: refused, but the file was written", o)
		}
	}
}

// TestSizes uses both ends of large disks, and of one that is not a whole number
// of sectors.
func TestSizes(t *testing.T) {
	for _, o := range []CreateOptions{
		{Size: 32 * gib, ClusterSize: 512},
		{Size: 512 * tib},
		{Size: 1 << 61, ClusterSize: 2 * mib},
		{Size: 1000, ClusterSize: 4 * kib},
	} {
		f := new(memFile)
		if err := Create(f, o); err != nil {
			t.Errorf("%+v: %v", o, err)
			continue
		}
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if want := (o.Size + 511) &^ 511; im.Size() != want {
			t.Errorf("%+v: size %d, want %d", o, im.Size(), want)
		}
		last := pattern(5, 512)
		if err := im.WriteV(last, im.Size()-512); err != nil {
			t.Fatal(err)
		}
		last = pattern(0, 512)
		if err := im.ReadV(last, im.Size()-512); err != nil || last[0][511] != 5 {
			t.Errorf("the last sector: %d, %v", last[0][511], err)
		}
		if err := im.WriteV(last, im.Size()-511); !errors.Is(err, ErrRange) {
			t.Errorf("a write past the end: %v", err)
		}
		if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
			t.Errorf("%+v: %+v, %v", o, res, err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHeaderBeyondItsFirstPiece reads headers that end before, at and behind what is read at
// first, and takes from them what is there.
func TestHeaderBeyondItsFirstPiece(t *testing.T) {
	for _, version := range []uint32{2, 3} {
		for _, n := range []int{0, 100, headerPiece - 200, headerPiece - 160, headerPiece - 120, headerPiece - 80, headerPiece, 3 * headerPiece} {
			for _, name := range []string{"", "base.qcow2", strings.Repeat("n", 1000)} {
				h := &header{
					version: version, clusterBits: 16, size: 1 << 20, l1Size: 1, l1Offset: 0x30000, refTable: 0x10000, refClusters: 1,
					refcountOrder: 4, extensions: []extension{{0xabcdef01, bytes.Repeat([]byte{7}, n)}, {0xabcdef02, []byte("last")}}, backingFile: name,
				}
				b, err := h.marshal()
				if err != nil {
					t.Fatal(err)
				}
				f := &memFile{data: make([]byte, 1<<16)}
				copy(f.data, b)
				got, err := readHeader(f)
				if err != nil {
					t.Errorf("version %d, %d bytes, name of %d: %v", version, n, len(name), err)
					continue
				}
				if again, err := got.marshal(); err != nil || !bytes.Equal(again, b) {
					t.Errorf("version %d, %d bytes, name of %d: read another header, %v", version, n, len(name), err)
				}
			}
		}
	}
}
