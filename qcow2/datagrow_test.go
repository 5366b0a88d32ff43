package qcow2

import (
	"bytes"
	"errors"
	"testing"
)

// shows checks that n bytes of the disk from off on are want.
func shows(t *testing.T, im *Image, off, n int64, want byte) {
	t.Helper()
	got := make([]byte, n)
	if err := im.ReadV([][]byte{got}, off); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{want}, int(n))) {
		t.Errorf("bytes at %d begin with %d (%v), want all %d", off, got[0], err, want)
	}
}

// growable returns an image of 1 MiB whose data file has 3 MiB of sevens behind it.
func growable(t *testing.T, o CreateOptions) (im *Image, data *memFile) {
	t.Helper()
	f, data := new(memFile), new(memFile)
	o.DataFile, o.Data = "data", data
	if err := Create(f, o); err != nil {
		t.Fatal(err)
	}
	if err := data.WriteV(pattern(7, 3*mib), o.Size); err != nil {
		t.Fatal(err)
	}
	im = openData(t, f.reopened(), data)
	t.Cleanup(func() {
		if err := im.Close(); err != nil {
			t.Error(err)
		}
	})
	return im, data
}

// TestRawDataShowsAsTheDiskGrows grows a disk, as a running machine and the tools do, over what
// its raw data file has behind it: that shows. The rest of the last cluster is zeroes, of the
// first one it is what the file has by then. What is behind a smaller disk is cut off.
func TestRawDataShowsAsTheDiskGrows(t *testing.T) {
	for mode := PreallocateOff; mode <= PreallocateFull; mode++ {
		t.Run(mode.String(), func(t *testing.T) {
			im, data := growable(t, CreateOptions{Size: mib, DataFileRaw: true})
			resize := func(size int64) {
				t.Helper()
				if err := im.ResizeWith(size, ResizeOptions{Preallocation: mode}); err != nil {
					t.Errorf("resize to %d: %v", size, err)
				}
			}
			resize(2 * mib)
			shows(t, im, mib, mib, 7)
			resize(2*mib + 32*kib)
			shows(t, im, 2*mib, 32*kib, 7)
			if err := data.WriteV(pattern(8, 1), 2*mib+33*kib); err != nil {
				t.Error(err)
			}
			resize(5 * mib)
			shows(t, im, 2*mib+32*kib, kib, 0)
			shows(t, im, 2*mib+33*kib, 1, 8)
			shows(t, im, 2*mib+64*kib, 2*mib-64*kib, 7)
			shows(t, im, 4*mib, mib, 0)
			if err := im.WriteV(pattern(9, kib), 3*mib); err != nil {
				t.Error(err)
			}
			shows(t, im, 3*mib, kib, 9)
			shows(t, im, 3*mib+kib, kib, 7)
			if mode != PreallocateOff {
				return
			}
			resize(mib)
			if n, err := data.Size(); err != nil || n != mib {
				t.Errorf("the data file has %d bytes (%v) behind a disk of %d", n, err, mib)
			}
		})
	}
}

// TestGrowthBehindAHalfClusterKeepsIt maps a cluster of which the disk had the first half, as
// zeroes, over what the data file has there: only the half that is added shows it.
func TestGrowthBehindAHalfClusterKeepsIt(t *testing.T) {
	for mode := PreallocateMetadata; mode <= PreallocateFull; mode++ {
		for _, extended := range []bool{false, true} {
			im, data := growable(t, CreateOptions{Size: mib + 32*kib, ExtendedL2: extended})
			if err := data.WriteV(pattern(7, 32*kib), mib); err != nil {
				t.Fatal(err)
			}
			if err := im.ResizeWith(2*mib+32*kib, ResizeOptions{Preallocation: mode}); err != nil {
				t.Fatal(err)
			}
			want := byte(7)
			if extended {
				want = 0 // subclusters have storage, and no data yet
			}
			shows(t, im, mib, 32*kib, 0)
			shows(t, im, mib+32*kib, mib, want)
			if err := im.ResizeWith(3*mib, ResizeOptions{Preallocation: mode}); err != nil {
				t.Fatal(err)
			}
			shows(t, im, 2*mib+32*kib, 32*kib, 0)
		}
	}
}

// TestGrowthWithoutPreallocationIsZero grows a disk over what a data file that is not raw has behind
// it: nothing maps that, nor does it show around a later write.
func TestGrowthWithoutPreallocationIsZero(t *testing.T) {
	im, _ := growable(t, CreateOptions{Size: mib + 32*kib})
	if err := errors.Join(im.Resize(2*mib), im.WriteV(pattern(9, kib), mib+36*kib)); err != nil {
		t.Fatal(err)
	}
	shows(t, im, mib, 36*kib, 0)
	shows(t, im, mib+37*kib, mib-37*kib, 0)
}
