package qcow2

import (
	"errors"
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
