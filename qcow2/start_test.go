package qcow2

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is far more than anything here takes.
const patience = 5 * time.Minute

// endings collects the ends of started transfers.
type endings chan error

func (e endings) Ended(err error) { e <- err }

// wait returns the first error of n transfers.
func (e endings) wait(t *testing.T, n int) (err error) {
	t.Helper()
	for range n {
		select {
		case one := <-e:
			err = errors.Join(err, one)
		case <-time.After(patience):
			t.Fatal("a transfer does not end")
		}
	}
	return err
}

// directImage is an image of 1 MiB in clusters of 64 KiB whose first two have data,
// with direct I/O through a ring.
func directImage(t *testing.T) *Image {
	t.Helper()
	f := directFile(t, "image")
	if !f.UsesRing() {
		t.Skip("no io_uring on this host")
	}
	if err := Create(f, CreateOptions{Size: mib}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	if err := im.WriteV(pattern(0x55, 128*kib), 0); err != nil {
		t.Fatal(err)
	}
	return im
}

// TestStart overwrites and reads clusters by many transfers that are started
// together, and finds all of it.
func TestStart(t *testing.T) {
	im := directImage(t)
	const n, size = 32, 4096
	out, in := alignedBuffer(n*size), alignedBuffer(n*size)
	for i := range out {
		out[i] = byte(i>>12 + i>>3)
	}
	ends := make(endings, n)
	for _, write := range []bool{true, false} {
		for i := range n {
			piece := [][]byte{in[i*size:][:512], in[i*size+512:][:size-512]}
			begin := im.StartReadV
			if write {
				piece, begin = [][]byte{out[i*size:][:size]}, im.StartWriteV
			}
			if !begin(piece, int64(i*size), ends) {
				t.Fatalf("transfer %d, write %v: not begun", i, write)
			}
			clear(piece) // it is the caller's again
		}
		im.Submit()
		if err := ends.wait(t, n); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(in, out) {
		t.Error("read back something else")
	}
	writes := im.writes.Load()
	for _, c := range []struct {
		name   string
		n, off int64
		write  bool
	}{
		{"a hole", 4096, 512 * kib, false},
		{"data and a hole", 8192, 124 * kib, false},
		{"beyond the end", 4096, mib, false},
		{"nothing", 0, 0, false},
		{"part of a block", 100, 0, true},
	} {
		begin := im.StartReadV
		if c.write {
			begin = im.StartWriteV
		}
		if begin([][]byte{in[:c.n]}, c.off, ends) {
			t.Errorf("%s: begun", c.name)
		}
	}
	if im.writes.Load() != writes || len(ends) != 0 {
		t.Error("what was not begun has left traces")
	}
}

// TestStartReadsBacking reads through an overlay what only its backing file has, and
// not what reaches beyond that.
func TestStartReadsBacking(t *testing.T) {
	base := directImage(t)
	f := directFile(t, "overlay")
	if err := Create(f, CreateOptions{Size: 2 * mib, BackingFile: "base", BackingFormat: "qcow2"}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{Backing: func(string, string) (Backing, error) { return base, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	ends := make(endings, 1)
	in := alignedBuffer(4096)
	if !im.StartReadV([][]byte{in}, 64*kib, ends) {
		t.Fatal("not begun")
	}
	im.Submit()
	if err := ends.wait(t, 1); err != nil || !bytes.Equal(in, bytes.Repeat([]byte{0x55}, 4096)) {
		t.Errorf("%v, % x...", err, in[:8])
	}
	for _, off := range []int64{512 * kib, mib, 2*mib - 4096} {
		if im.StartReadV([][]byte{in}, off, ends) {
			t.Errorf("begun at %d, where there is nothing", off)
		}
	}
	if im.StartWriteV([][]byte{in}, 64*kib, ends) {
		t.Error("a write was begun to a backing file")
	}
}

// TestStartedRequestsAreWaitedFor closes an image while a transfer is underway.
func TestStartedRequestsAreWaitedFor(t *testing.T) {
	im := directImage(t)
	ends := make(endings, 1)
	if !im.StartWriteV([][]byte{alignedBuffer(4096)}, 0, ends) {
		t.Fatal("not begun")
	}
	closed := make(chan error, 1)
	go func() { closed <- im.Close() }()
	for !im.epochs.shut.Load() {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-closed:
		t.Fatalf("closed (%v) before the transfer has ended", err)
	default:
	}
	im.Submit()
	if err := errors.Join(ends.wait(t, 1), <-closed); err != nil {
		t.Error(err)
	}
	if im.StartReadV([][]byte{alignedBuffer(4096)}, 0, ends) {
		t.Error("begun on a closed image")
	}
}

// TestStartedTransferIsFinished has the ring refuse a transfer, or do a part of it:
// the rest is done by system calls, what lies beyond the file's end is zeroes, and
// errors are told.
func TestStartedTransferIsFinished(t *testing.T) {
	f := directFile(t, "file")
	if !f.UsesRing() {
		t.Skip("no io_uring on this host")
	}
	want := bytes.Repeat([]byte{7}, 4096)
	data, in := alignedBuffer(4096), alignedBuffer(8192)
	copy(data, want)
	ends := make(endings, 2)
	r := f.direct.ring
	fd := r.fd
	r.fd = -1
	if !f.StartWriteV([][]byte{data}, 0, ends) {
		t.Fatal("not begun")
	}
	f.Submit()
	if err := ends.wait(t, 1); err != nil {
		t.Errorf("refused by the ring: %v", err)
	}
	r.fd = fd
	for i := range in {
		in[i] = 0xee
	}
	if !f.StartReadV([][]byte{in}, 0, ends) {
		t.Fatal("not begun")
	}
	f.Submit()
	if err := ends.wait(t, 1); err != nil || !bytes.Equal(in, append(want, make([]byte, 4096)...)) {
		t.Errorf("read over the end: %v, % x", err, in[4090:4100])
	}
	if !f.StartReadV([][]byte{in}, -4096, ends) {
		t.Fatal("not begun")
	}
	f.Submit()
	if err := ends.wait(t, 1); !errors.Is(err, unix.EINVAL) {
		t.Errorf("read before the beginning: %v", err)
	}
	if n := len(r.free); n != ringEntries {
		t.Errorf("%d slots are free of %d", n, ringEntries)
	}
	if n := r.active.Load(); n != 0 {
		t.Errorf("%d transfers are in flight", n)
	}
	if !f.direct.blocks.TryLock() {
		t.Error("blocks are still shared")
	}
}

// TestStartNeedsRing leaves all to ReadV and WriteV where there is no ring.
func TestStartNeedsRing(t *testing.T) {
	f, err := OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := [][]byte{alignedBuffer(4096)}
	if f.Starts() || f.StartReadV(p, 0, nil) || f.StartWriteV(p, 0, nil) {
		t.Error("begun")
	}
	f.Submit()
}
