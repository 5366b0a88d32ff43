package qcow2

import (
	"bytes"
	"errors"
	"testing"
)

// startFile is a File in memory whose started transfers end when a test says so.
type startFile struct {
	memFile
	reads  bool // reads can be started, too
	refuse bool // nothing can
	begun  []func(error)
}

func (f *startFile) Starts() bool { return true }

func (f *startFile) StartReadV(bufs [][]byte, off int64, end Ended) bool {
	if !f.reads {
		return false
	}
	kept := append([][]byte(nil), bufs...)
	f.begun = append(f.begun, func(err error) {
		if err == nil {
			err = f.ReadV(kept, off)
		}
		end.Ended(err)
	})
	return true
}

func (f *startFile) StartWriteV(bufs [][]byte, off int64, end Ended) bool {
	if f.refuse {
		return false
	}
	kept := append([][]byte(nil), bufs...)
	f.begun = append(f.begun, func(err error) {
		if err == nil {
			err = f.WriteV(kept, off)
		}
		end.Ended(err)
	})
	return true
}

func (f *startFile) Submit() {}

// startImage is an empty image of 1 MiB in such a file.
func startImage(t *testing.T, o CreateOptions, opts Options) (*Image, *startFile) {
	t.Helper()
	f := new(startFile)
	o.Size = mib
	if err := Create(f, o); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(1, 4*kib), 15*64*kib); err != nil { // there is a table now
		t.Fatal(err)
	}
	return im, f
}

// closeConsistent closes an image, which then must have neither errors nor leaks.
func closeConsistent(t *testing.T, im *Image, f *startFile) {
	t.Helper()
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	f.closed = false
	im, err := Open(f, Options{ReadOnly: true, NoBacking: true})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions+res.Leaks+res.CheckErrors != 0 {
		t.Errorf("check: %+v, %v", res, err)
	}
}

// TestStartFillsNewClusters starts writes to parts of clusters that are not there yet. While
// they are underway the clusters read as before; then they have the data, and zeroes beside.
func TestStartFillsNewClusters(t *testing.T) {
	im, f := startImage(t, CreateOptions{}, Options{})
	ends := make(endings, 8)
	for i := range int64(8) {
		if !im.StartWriteV(pattern(byte(i+1), 4*kib), i*64*kib+8*kib, ends) {
			t.Fatalf("write %d: not begun", i)
		}
	}
	if im.StartWriteV(pattern(9, 4*kib), 0, ends) {
		t.Error("a second write to a cluster on its way: begun")
	}
	got := make([]byte, 64*kib)
	if err := im.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got, make([]byte, len(got))) {
		t.Errorf("before the end of the write: not zeroes, %v", err)
	}
	for _, end := range f.begun {
		end(nil)
	}
	if err := ends.wait(t, 8); err != nil {
		t.Fatal(err)
	}
	for i := range int64(8) {
		want := make([]byte, 64*kib)
		copy(want[8*kib:], pattern(byte(i+1), 4*kib)[0])
		if err := im.ReadV([][]byte{got}, i*64*kib); err != nil || !bytes.Equal(got, want) {
			t.Errorf("cluster %d: something else, %v", i, err)
		}
	}
	closeConsistent(t, im, f)
}

// TestStartedWriteFails lets the write to a new cluster fail: the disk is as before, and the
// cluster free.
func TestStartedWriteFails(t *testing.T) {
	im, f := startImage(t, CreateOptions{}, Options{})
	ends := make(endings, 1)
	if !im.StartWriteV(pattern(1, 4*kib), 0, ends) {
		t.Fatal("not begun")
	}
	f.begun[0](errInjected)
	if err := ends.wait(t, 1); !errors.Is(err, errInjected) {
		t.Errorf("%v, want %v", err, errInjected)
	}
	got := make([]byte, 4*kib)
	if err := im.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got, make([]byte, len(got))) {
		t.Errorf("not zeroes, %v", err)
	}
	closeConsistent(t, im, f)
}

// TestStartedWriteEndsUnderLock ends a write to a new cluster while somebody holds the lock
// of the image, and perhaps waits for the one who tells of the end.
func TestStartedWriteEndsUnderLock(t *testing.T) {
	im, f := startImage(t, CreateOptions{}, Options{})
	ends := make(endings, 1)
	if !im.StartWriteV(pattern(1, 4*kib), 0, ends) {
		t.Fatal("not begun")
	}
	im.mu.Lock()
	f.begun[0](nil)
	im.mu.Unlock()
	if err := ends.wait(t, 1); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4*kib)
	if err := im.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got, pattern(1, 4*kib)[0]) {
		t.Errorf("read back something else, %v", err)
	}
	closeConsistent(t, im, f)
}

// TestRefusedStartLeavesClustersUnwritten has the file refuse to start a write to a new
// cluster: it was never written all the same, and who does it then writes no zeroes beside.
func TestRefusedStartLeavesClustersUnwritten(t *testing.T) {
	im, f := startImage(t, CreateOptions{}, Options{})
	f.refuse, f.record = true, true
	for off := int64(0); off < 4*64*kib; off += 64 * kib {
		if im.StartWriteV(pattern(1, 4*kib), off, make(endings)) {
			t.Fatal("begun")
		}
		if err := im.WriteV(pattern(1, 4*kib), off); err != nil {
			t.Fatal(err)
		}
		if last := f.log[len(f.log)-1]; int64(len(last.data)) != 4*kib {
			t.Errorf("at %d, %d bytes were written", off, len(last.data))
		}
	}
	f.record = false
	closeConsistent(t, im, f)
}

// TestStartLeavesReadingToWrite does not start what has to read first, and leaves nothing
// behind.
func TestStartLeavesReadingToWrite(t *testing.T) {
	base := make(memBacking, mib)
	backed := Options{Backing: func(string, string) (Backing, error) { return base, nil }}
	over := CreateOptions{BackingFile: "base", BackingFormat: "raw"}
	for _, c := range []struct {
		name    string
		create  CreateOptions
		opts    Options
		prepare func(im *Image) error
		off, n  int64
	}{
		{"part of a cluster that a backing file has", over, backed, nil, 0, 4 * kib},
		{"part of a compressed cluster", CreateOptions{}, Options{}, func(im *Image) error {
			return im.WriteCompressed(pattern(1, 64*kib)[0], 0)
		}, 0, 4 * kib},
		{"a cluster and part of the next, which has data", CreateOptions{}, Options{}, func(im *Image) error {
			return im.WriteV(pattern(1, 64*kib), 64*kib)
		}, 0, 68 * kib},
		{"counts that are not in memory", CreateOptions{}, Options{}, func(im *Image) error {
			err := im.Flush()
			im.mu.Lock()
			defer im.mu.Unlock()
			im.refs.reset()
			return err
		}, 0, 4 * kib},
	} {
		t.Run(c.name, func(t *testing.T) {
			im, f := startImage(t, c.create, c.opts)
			if c.prepare != nil {
				if err := c.prepare(im); err != nil {
					t.Fatal(err)
				}
			}
			if im.StartWriteV(pattern(2, c.n), c.off, make(endings)) {
				t.Fatal("begun")
			}
			if len(im.inflight) != 0 {
				t.Error("it is in flight")
			}
			if err := im.WriteV(pattern(2, c.n), c.off); err != nil {
				t.Error(err)
			}
			closeConsistent(t, im, f)
		})
	}
	im, f := startImage(t, over, backed)
	ends := make(endings, 1)
	if !im.StartWriteV(pattern(3, 64*kib), 0, ends) {
		t.Fatal("a whole cluster over a backing file: not begun")
	}
	f.begun[0](nil)
	if err := ends.wait(t, 1); err != nil {
		t.Fatal(err)
	}
	closeConsistent(t, im, f)
}
