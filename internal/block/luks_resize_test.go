package block

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/qcow2/luks"
)

// TestResizeOfLUKSDisk grows and shrinks a disk whose contents stay, with storage provided
// where that is asked for.
func TestResizeOfLUKSDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	f, err := qcow2.OpenFile(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	err = CreateLUKS(f, 1<<20, []byte("key"), luks.Params{KeyParams: luks.KeyParams{Iterations: 1000}})
	if e := f.Close(); err != nil || e != nil {
		t.Fatal(err, e)
	}
	spec := Spec{Path: path, Format: FormatLUKS, Secret: "key"}
	d, err := Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte{7}, 512<<10)
	if err := d.WriteV([][]byte{want}, 0); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		size int64
		mode qcow2.Preallocation
		ok   bool
	}{
		{2 << 20, qcow2.PreallocateOff, true},
		{3 << 20, qcow2.PreallocateFalloc, true},
		{4 << 20, qcow2.PreallocateFull, true},
		{5 << 20, qcow2.PreallocateMetadata, false},
		{1000, qcow2.PreallocateOff, false},
		{512 << 10, qcow2.PreallocateOff, true},
	} {
		was := d.Size()
		err := d.(Preallocator).ResizeWith(step.size, qcow2.ResizeOptions{Preallocation: step.mode})
		if step.ok {
			was = step.size
		}
		if (err == nil) != step.ok || d.Size() != was {
			t.Errorf("%+v: %v, size %d", step, err, d.Size())
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(spec); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got := make([]byte, len(want))
	if err := d.ReadV([][]byte{got}, 0); err != nil || d.Size() != 512<<10 || !bytes.Equal(got, want) {
		t.Errorf("size %d, other contents, or %v", d.Size(), err)
	}
}
