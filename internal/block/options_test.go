package block

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// TestWindow has a part of a file for a disk: it is read and written where it lies, and
// nothing beside it is.
func TestWindow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte{1}, 8<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		w    Window
		size int64 // -1: refused
	}{
		{Window{0, -1}, 8 << 10}, {Window{1000, -1}, 7168}, {Window{512, 1024}, 1024}, {Window{8 << 10, -1}, 0},
		{Window{8<<10 + 1, -1}, -1}, {Window{512, 8 << 10}, -1}, {Window{0, 1000}, -1}, {Window{-1, -1}, -1},
	} {
		d, err := Open(Spec{Path: path, Format: FormatRaw, Window: &tt.w, ReadOnly: true})
		if tt.size < 0 {
			if option := OptionError(""); !errors.As(err, &option) {
				t.Errorf("%+v: %v, want an OptionError", tt.w, err)
			}
			continue
		}
		if err != nil || d.Size() != tt.size {
			t.Fatalf("%+v: %v, size %d, want %d", tt.w, err, d.Size(), tt.size)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	d, err := Open(Spec{Path: path, Format: FormatRaw, Window: &Window{512, 1024}})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(d.WriteV([][]byte{bytes.Repeat([]byte{2}, 512)}, 0), d.WriteZeroes(512, 512, true))
	if beyond := d.WriteV([][]byte{{3}}, 1024); !errors.Is(beyond, ErrRange) {
		t.Errorf("a write behind the part: %v", beyond)
	}
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	want := bytes.Repeat([]byte{1}, 8<<10)
	copy(want[512:], bytes.Repeat([]byte{2}, 512))
	clear(want[1024:1536])
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file is not what was written (%v)", err)
	}
}

// TestOtherBackingFile opens an image over another backing file than its own, over a
// part of a file, and over none.
func TestOtherBackingFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, b := range map[string]byte{"own": 1, "other": 2} {
		if err := os.WriteFile(at(name), append(bytes.Repeat([]byte{b}, 64<<10), bytes.Repeat([]byte{b + 10}, 64<<10)...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := qcow2.OpenFile(at("image"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(qcow2.Create(f, qcow2.CreateOptions{Size: 64 << 10, BackingFile: "own", BackingFormat: FormatRaw}), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		spec Spec
		want byte
	}{
		{Spec{}, 1},
		{Spec{Alone: true}, 0},
		{Spec{Backing: &Spec{Path: at("other"), ReadOnly: true}}, 2}, // of the format that the image has for its own
		{Spec{Backing: &Spec{Path: at("other"), Format: FormatRaw, Window: &Window{64 << 10, -1}, ReadOnly: true}}, 12},
		{Spec{Backing: &Spec{Format: FormatRaw, Window: &Window{64 << 10, -1}, ReadOnly: true}}, 11}, // its own
		{Spec{Backing: &Spec{Format: FormatNull, Size: 1 << 20, ReadOnly: true}}, 0},
	} {
		tt.spec.Path, tt.spec.Format = at("image"), FormatQCOW2
		d, err := Open(tt.spec)
		if err != nil {
			t.Errorf("%+v: %v", tt.spec, err)
			continue
		}
		got := make([]byte, 4096)
		if err := d.ReadV([][]byte{got}, 0); err != nil || got[0] != tt.want || got[4095] != tt.want {
			t.Errorf("%+v: reads %d (%v), want %d", tt.spec.Backing, got[0], err, tt.want)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	left, err := Open(Spec{Path: at("image"), Format: FormatQCOW2, LeaveBacking: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := left.ReadV([][]byte{make([]byte, 512)}, 0); !errors.Is(err, qcow2.ErrBacking) {
		t.Errorf("read of what only the closed backing file has: %v", err)
	}
	if err := left.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(Spec{Path: at("image"), Format: FormatQCOW2, DataFile: at("own")}); !errors.As(err, new(OptionError)) {
		t.Errorf("a data file for an image that has none: %v", err)
	}
}
