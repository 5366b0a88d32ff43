package block

import (
	"os"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// TestPartOfASectorByTheOpenFile cuts a raw disk inside a sector after another file has taken its
// name: that one stays as it is.
func TestPartOfASectorByTheOpenFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"disk", "other"} {
		if err := os.WriteFile(name, make([]byte, 4096), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(Spec{Path: "disk", Format: FormatRaw})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := os.Rename("disk", "moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename("other", "disk"); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{1000, 5000} {
		if err := ResizeBytes(d.(Preallocator), size, qcow2.ResizeOptions{}); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]int64{"moved": size, "disk": 4096} {
			if st, err := os.Stat(name); err != nil || st.Size() != want {
				t.Errorf("%s has %d bytes (%v), want %d", name, st.Size(), err, want)
			}
		}
		if want := (size + 511) &^ 511; d.Size() != want {
			t.Errorf("the disk has %d bytes, want %d", d.Size(), want)
		}
	}
}
