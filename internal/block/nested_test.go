package block

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/qcow2"
)

// TestImageInImage has a qcow2 image in the disk of another: it grows that as it would a
// file, survives being closed, and both are found good.
func TestImageInImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outer")
	outer := makeImage(t, path, 0)
	inner := Spec{Format: FormatQCOW2, Storage: &Spec{Path: path, Format: FormatQCOW2}, Path: path}
	f, err := inner.OpenStorage()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(qcow2.Create(f, qcow2.CreateOptions{Size: 64 << 20, ClusterSize: 4096}), f.Close()); err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte{7}, 300<<10)
	d, err := Open(inner)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(d.WriteV([][]byte{data[:1000], data[1000:]}, 20<<20), d.WriteZeroes(21<<20, 5000, true), d.Close())
	if err != nil {
		t.Fatal(err)
	}
	inner.ReadOnly = true
	if d, err = Open(inner); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if err := d.ReadV([][]byte{got}, 20<<20); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read back: %v, equal %v", err, bytes.Equal(got, data))
	}
	if res, err := d.(*qcow2.Image).Check(qcow2.CheckOptions{}); err != nil || !res.Clean() {
		t.Errorf("the inner image: %+v, %v", res, err)
	}
	if files := Files(d); len(files) != 1 || files[0] != path {
		t.Errorf("files %q", files)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if format, err := (&Spec{Path: path, Storage: inner.Storage}).Guess(); format != FormatQCOW2 {
		t.Errorf("guessed %s, %v", format, err)
	}
	outer.ReadOnly = true
	if d, err = Open(outer); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if res, err := d.(*qcow2.Image).Check(qcow2.CheckOptions{}); err != nil || !res.Clean() || d.Size() < int64(len(data)) {
		t.Errorf("the outer image of %d bytes: %+v, %v", d.Size(), res, err)
	}
}

// makeImage makes a qcow2 image of a size, and returns its spec.
func makeImage(t *testing.T, path string, size int64) Spec {
	t.Helper()
	f, err := qcow2.OpenFile(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(qcow2.Create(f, qcow2.CreateOptions{Size: size}), f.Close()); err != nil {
		t.Fatal(err)
	}
	return Spec{Path: path, Format: FormatQCOW2}
}

// TestPartOfImage has a part of an image's disk for a raw disk, and can't reach beyond it.
func TestPartOfImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	below := makeImage(t, path, 1<<20)
	d, err := Open(Spec{Path: path, Format: FormatRaw, Storage: &below, Window: &Window{64 << 10, 128 << 10}})
	if err != nil {
		t.Fatal(err)
	}
	if under, base := Below(d); d.Size() != 128<<10 || base != 64<<10 || under.Size() != 1<<20 {
		t.Errorf("%d bytes from %d on of %d", d.Size(), base, under.Size())
	}
	if err := d.WriteV([][]byte{make([]byte, 1024)}, 128<<10-512); !errors.Is(err, ErrRange) {
		t.Errorf("a write across the end: %v", err)
	}
	if err := d.(Resizer).Resize(1 << 20); err == nil {
		t.Error("a part of a given size has another now")
	}
	if err := errors.Join(d.WriteV([][]byte{bytes.Repeat([]byte{5}, 64<<10)}, 64<<10), d.Discard(0, 64<<10), d.Close()); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(below); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got := make([]byte, 1<<20)
	want := make([]byte, 1<<20)
	copy(want[128<<10:], bytes.Repeat([]byte{5}, 64<<10))
	if err := d.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the image is not what was written through the part (%v)", err)
	}
}

// namesOf is a fixed set of names.
type namesOf map[string]*Spec

func (n *namesOf) Named(name, _ string) (*Spec, error) {
	if s := (*n)[name]; s != nil {
		return s, nil
	}
	return nil, os.ErrNotExist
}

// TestNamesOfBackingFiles opens a backing file by a name that is no file's, with faults in it,
// for who knows such names only, and never in a circle.
func TestNamesOfBackingFiles(t *testing.T) {
	dir := t.TempDir()
	base := makeImage(t, filepath.Join(dir, "base"), 1<<20)
	top := Spec{Path: filepath.Join(dir, "top"), Format: FormatQCOW2, ReadOnly: true}
	f, err := qcow2.OpenFile(top.Path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(qcow2.Create(f, qcow2.CreateOptions{Size: 1 << 20, BackingFile: "odd:name", BackingFormat: "qcow2"}), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(top); !errors.Is(err, ErrBacking) {
		t.Errorf("without anybody who knows the name: %v", err)
	}
	d, err := Open(base)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.WriteV([][]byte{bytes.Repeat([]byte{9}, 512)}, 0), d.Close()); err != nil {
		t.Fatal(err)
	}
	base.ReadOnly = true
	base.Debug = blkdebug.New([]blkdebug.Rule{{Event: qcow2.EventReadAio, IO: blkdebug.Read, Errno: syscall.ENOSPC, Sector: -1, Once: true}}, nil)
	top.Names = &namesOf{"odd:name": &base}
	if d, err = Open(top); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 512)
	if err := d.ReadV([][]byte{got}, 0); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the fault in the backing file: %v", err)
	}
	if err := d.ReadV([][]byte{got}, 0); err != nil || got[0] != 9 {
		t.Errorf("after it: %v, %d", err, got[0])
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	top.Names = &namesOf{"odd:name": &top}
	if _, err := Open(top); !errors.Is(err, ErrBacking) {
		t.Errorf("a chain that comes back to itself: %v", err)
	}
}
