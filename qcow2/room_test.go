package qcow2

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestGrowthBySteps writes to an image whose file grows by steps: while it is open there is
// room behind the last cluster, and none once it is closed.
func TestGrowthBySteps(t *testing.T) {
	f := &memFile{step: mib}
	if err := Create(f, CreateOptions{Size: 64 * mib}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	truncates := 0
	for i := range int64(64) {
		before := len(f.data)
		if err := im.WriteV(pattern(1, 4*kib), i*64*kib); err != nil {
			t.Fatal(err)
		}
		if len(f.data) != before {
			truncates++
		}
		if int64(len(f.data)) < im.alloc.end {
			t.Fatalf("write %d made the file longer", i)
		}
	}
	if truncates > 5 {
		t.Errorf("the file became longer %d times", truncates)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if int64(len(f.data)) != im.alloc.end {
		t.Errorf("the closed file has %d bytes, want %d", len(f.data), im.alloc.end)
	}
	if err := consistent(f.reopened(), Options{}); err != nil {
		t.Error(err)
	}
}

// fixedFile can't be made longer by Truncate.
type fixedFile struct{ memFile }

func (f *fixedFile) Truncate(int64) error { return errors.ErrUnsupported }

func (f *fixedFile) Grow(int64, int64) error { return errors.ErrUnsupported }

// TestNoRoom writes to an image whose file refuses to grow by steps, and grows by writes.
func TestNoRoom(t *testing.T) {
	f := new(fixedFile)
	if err := Create(&f.memFile, CreateOptions{Size: 64 * mib}); err != nil {
		t.Fatal(err)
	}
	f.step = mib
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(1, 64*kib), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if err := consistent(f.reopened(), Options{}); err != nil {
		t.Error(err)
	}
}

// TestGrowSetsStorageAside makes a file longer twice: what it has stays, and what is added has
// storage and reads as zeroes.
func TestGrowSetsStorageAside(t *testing.T) {
	f, err := OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := pattern(5, 64*kib)
	if err := f.WriteV(data, 0); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][2]int64{{64 * kib, mib}, {mib, 2 * mib}} {
		if err := f.Grow(step[0], step[1]); err != nil {
			t.Fatal(err)
		}
		if size, err := f.Size(); size != step[1] || err != nil {
			t.Errorf("%d bytes, %v", size, err)
		}
		if err := f.fallocate(0, 0, 1); unsupported(err) {
			continue // there is none to be had here
		}
		if have, err := f.Allocated(); have < step[1] || err != nil {
			t.Errorf("storage of %d bytes for %d, %v", have, step[1], err)
		}
	}
	got := pattern(1, 2*mib)
	if err := f.ReadV(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[0][:64*kib], data[0]) || !bytes.Equal(got[0][64*kib:], make([]byte, 2*mib-64*kib)) {
		t.Error("others than were written")
	}
}
