package block

import (
	"bytes"
	"os"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// TestTail grows a disk over what its raw data file has behind it: that shows only where it is
// to be kept, whatever is preallocated, and is cut off where the disk shrinks.
func TestTail(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	for _, keep := range []bool{true, false} {
		for mode := qcow2.PreallocateOff; mode <= qcow2.PreallocateFull; mode++ {
			t.Chdir(t.TempDir())
			data, err := qcow2.OpenFile("data", os.O_RDWR|os.O_CREATE)
			if err != nil {
				t.Fatal(err)
			}
			f, err := qcow2.OpenFile("image", os.O_RDWR|os.O_CREATE)
			if err != nil {
				t.Fatal(err)
			}
			if err := qcow2.Create(f, qcow2.CreateOptions{Size: mib, DataFile: "data", DataFileRaw: true, Data: data}); err != nil {
				t.Fatal(err)
			}
			text := bytes.Repeat([]byte{7}, 3*mib)
			if err := data.WriteV([][]byte{text}, mib); err != nil {
				t.Fatal(err)
			}
			for _, f := range []*qcow2.OSFile{data, f} {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}
			tail := new(Tail)
			d, err := Open(Spec{Path: "image", Format: FormatQCOW2, Tail: tail})
			if err != nil {
				t.Fatal(err)
			}
			im := d.(*qcow2.Image)
			resize := func(size int64) {
				t.Helper()
				do := func() error { return im.ResizeWith(size, qcow2.ResizeOptions{Preallocation: mode}) }
				if keep {
					err = tail.During(im, size, false, do)
				} else {
					err = do()
				}
				if err != nil {
					t.Errorf("%v: resize to %d: %v", mode, size, err)
				}
			}
			check := func(off, n int64, want byte) {
				t.Helper()
				got := make([]byte, n)
				if err := im.ReadV([][]byte{got}, off); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{want}, int(n))) {
					t.Errorf("%v, kept %v: bytes at %d are %d (%v), want %d", mode, keep, off, got[0], err, want)
				}
			}
			want := byte(0)
			if keep {
				want = 7
			}
			resize(2 * mib)
			check(mib, mib, want)
			resize(2*mib + 32*kib)
			check(2*mib, 32*kib, want)
			resize(5 * mib) // the rest of a cluster is made zero, and what the file did not have
			check(2*mib+32*kib, 32*kib, 0)
			check(2*mib+64*kib, 2*mib-64*kib, want)
			check(4*mib, mib, 0)
			if err := im.WriteV([][]byte{text[:kib]}, 3*mib); err != nil {
				t.Error(err)
			}
			check(3*mib, kib, 7)
			if mode == qcow2.PreallocateOff {
				resize(mib)
				if st, err := os.Stat("data"); err != nil || st.Size() != mib {
					t.Errorf("the data file has %d bytes (%v) behind a disk of %d", st.Size(), err, mib)
				}
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
