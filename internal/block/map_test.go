package block

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// TestMapOfChain maps an image over a raw file with holes.
func TestMapOfChain(t *testing.T) {
	dir := t.TempDir()
	base, top := filepath.Join(dir, "base"), filepath.Join(dir, "top")
	if err := os.WriteFile(base, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(base, 3<<20); err != nil {
		t.Fatal(err)
	}
	r, err := Open(Spec{Path: base, Format: FormatRaw})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WriteV([][]byte{make([]byte, 1<<20)}, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := qcow2.OpenFile(top, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := qcow2.Create(f, qcow2.CreateOptions{Size: 4 << 20, BackingFile: "base", BackingFormat: "raw"}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Spec{Path: top})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.WriteZeroes(0, 64<<10, true); err != nil {
		t.Fatal(err)
	}
	type E = qcow2.Extent
	want := []E{
		{Offset: 0, Length: 64 << 10, Present: true, Zero: true, Host: -1},
		{Offset: 64 << 10, Length: 960 << 10, Depth: 1, Present: true, Zero: true, Host: 64 << 10},
		{Offset: 1 << 20, Length: 1 << 20, Depth: 1, Present: true, Data: true, Host: 1 << 20},
		{Offset: 2 << 20, Length: 1 << 20, Depth: 1, Present: true, Zero: true, Host: 2 << 20},
		{Offset: 3 << 20, Length: 1 << 20, Zero: true, Host: -1},
	}
	var got []E
	for e, err := range qcow2.Extents(d.(Mapper), 0, d.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if files := Files(d); !slices.Equal(files, []string{top, base}) {
		t.Errorf("files %q", files)
	}
}

// TestResizeRaw changes the size of a raw disk.
func TestResizeRaw(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, []byte("some data"), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Spec{Path: path, Format: FormatRaw})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.(Resizer).Resize(1000); err == nil {
		t.Error("a size that is no multiple of 512 is taken")
	}
	if err := d.(Resizer).Resize(8192); err != nil || d.Size() != 8192 {
		t.Errorf("%d bytes, %v", d.Size(), err)
	}
	if err := d.WriteV([][]byte{make([]byte, 512)}, 8192-512); err != nil {
		t.Error(err)
	}
	if a, n, err := d.(Mapper).Allocated(0, 512); err != nil || !a || n != 512 {
		t.Errorf("allocated: %v, %d, %v", a, n, err)
	}
}
