package qcow2

import (
	"bytes"
	"runtime"
	"testing"
)

// missImage is an image with data in its first two clusters, not one behind the other in the
// file, whose tables are not in memory, and whose file can start reads.
func missImage(t *testing.T) (*Image, *startFile) {
	t.Helper()
	im, f := startImage(t, CreateOptions{}, Options{})
	for _, i := range []int64{1, 0} {
		if err := im.WriteV(pattern(byte(i+2), 64*kib), i*64*kib); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	im.l2.reset()
	f.reads = true
	return im, f
}

// startRead starts a read into a list that then is somebody else's.
func startRead(t *testing.T, im *Image, n, off int64, ends endings) []byte {
	t.Helper()
	got := make([]byte, n)
	list := [][]byte{got[:512], got[512:]}
	if !im.StartReadV(list, off, ends) {
		t.Fatal("not begun")
	}
	clear(list)
	return got
}

// tableAwaited reports whether somebody waits for a table that is on its way.
func (im *Image) tableAwaited() bool {
	im.mu.RLock()
	defer im.mu.RUnlock()
	for _, l := range im.l2.loads {
		if l.done != nil {
			return true
		}
	}
	return false
}

// TestStartReadsTable starts a read whose table is not in memory: that comes first, and the
// data after it. Who asks for the same table meanwhile waits for it.
func TestStartReadsTable(t *testing.T) {
	im, f := missImage(t)
	ends := make(endings, 2)
	got := startRead(t, im, 4*kib, 8*kib, ends)
	if len(f.begun) != 1 {
		t.Fatalf("%d reads are begun, want that of the table", len(f.begun))
	}
	if im.StartReadV([][]byte{make([]byte, 4*kib)}, 64*kib, ends) {
		t.Error("another read of the same table: begun")
	}
	other := make([]byte, 4*kib)
	waited := make(chan error, 1)
	go func() { waited <- im.ReadV([][]byte{other}, 64*kib) }()
	for !im.tableAwaited() {
		runtime.Gosched()
	}
	f.begun[0](nil)
	if len(f.begun) != 2 {
		t.Fatalf("%d reads were begun, want those of table and data", len(f.begun))
	}
	f.begun[1](nil)
	if err := ends.wait(t, 1); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, pattern(2, 64*kib)[0][8*kib:][:4*kib]) || !bytes.Equal(other, pattern(3, 64*kib)[0][:4*kib]) {
		t.Error("read something else")
	}
	closeConsistent(t, im, f)
}

// TestStartedTableComesUnderLock has the table come while somebody holds the lock of the image.
func TestStartedTableComesUnderLock(t *testing.T) {
	im, f := missImage(t)
	ends := make(endings, 1)
	got := startRead(t, im, 4*kib, 0, ends)
	f.reads = false // what follows is not started
	im.mu.Lock()
	f.begun[0](nil)
	im.mu.Unlock()
	if err := ends.wait(t, 1); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, pattern(2, 64*kib)[0][:4*kib]) {
		t.Error("read something else")
	}
	closeConsistent(t, im, f)
}

// TestStartedTableIsNotEnough reads from two places, which one transfer can't, and after the
// table could not be read.
func TestStartedTableIsNotEnough(t *testing.T) {
	for _, failure := range []error{nil, errInjected} {
		im, f := missImage(t)
		ends := make(endings, 1)
		got := startRead(t, im, 128*kib, 0, ends)
		f.begun[0](failure)
		if err := ends.wait(t, 1); err != nil {
			t.Fatal(err)
		}
		if want := append(pattern(2, 64*kib)[0], pattern(3, 64*kib)[0]...); !bytes.Equal(got, want) {
			t.Errorf("after %v: read something else", failure)
		}
		closeConsistent(t, im, f)
	}
}

// TestStartReadsTableByRing does so by io_uring: the read of the data is begun by who tells
// of the end of the table's.
func TestStartReadsTableByRing(t *testing.T) {
	im := directImage(t)
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	got := alignedBuffer(4096)
	ends := make(endings, 1)
	for i := range 20 {
		im.mu.Lock()
		im.l2.reset()
		im.mu.Unlock()
		clear(got)
		if !im.StartReadV([][]byte{got}, int64(i)*4096, ends) {
			t.Fatalf("read %d: not begun", i)
		}
		im.Submit()
		if err := ends.wait(t, 1); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, pattern(0x55, 128*kib)[0][i*4096:][:4096]) {
			t.Fatalf("read %d: something else", i)
		}
	}
}
