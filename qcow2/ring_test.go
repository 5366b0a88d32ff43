package qcow2

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
)

// ringFile is a file whose transfers go through a ring.
func ringFile(t *testing.T) *OSFile {
	t.Helper()
	f := directFile(t, "file")
	if !f.UsesRing() {
		t.Skip("no io_uring on this host")
	}
	f.direct.ring.active.Add(1) // as if a transfer was in flight, so that each goes through the ring
	return f
}

// hammer has many goroutines write and read pieces of their own.
func hammer(t *testing.T, f *OSFile, workers int) {
	const n = 4096
	var wg sync.WaitGroup
	for w := range int64(workers) {
		wg.Go(func() {
			out, in := alignedBuffer(2*n), alignedBuffer(2*n)
			for i := range byte(8) {
				for j := range out {
					out[j] = byte(w) ^ i ^ byte(j>>9)
				}
				err := f.WriteV([][]byte{out[:n], out[n:]}, w*2*n)
				if err = errors.Join(err, f.ReadV([][]byte{in}, w*2*n)); err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(in, out) {
					t.Errorf("piece %d, round %d: read back something else", w, i)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestRing has more transfers in flight than there are slots.
func TestRing(t *testing.T) {
	f := ringFile(t)
	hammer(t, f, 2*ringEntries)
	if got := len(f.direct.ring.free); got != ringEntries {
		t.Errorf("%d slots are free of %d", got, ringEntries)
	}
	if n := f.direct.ring.active.Load(); n != 1 {
		t.Errorf("%d transfers are in flight", n-1)
	}
}

// TestRingError reports what the kernel has to say about a transfer.
func TestRingError(t *testing.T) {
	f := ringFile(t)
	if err := f.ReadV([][]byte{alignedBuffer(4096)}, -4096); err == nil || !strings.Contains(err.Error(), "invalid argument") {
		t.Errorf("read before the beginning: %v", err)
	}
	hammer(t, f, 4)
}

// TestRingRefused falls back on system calls when the kernel takes no more.
func TestRingRefused(t *testing.T) {
	f := ringFile(t)
	r := f.direct.ring
	fd := r.fd
	r.fd = -1
	hammer(t, f, 8)
	r.fd = fd
	hammer(t, f, 8)
}

// TestRingClose ends the goroutine that watches the ring.
func TestRingClose(t *testing.T) {
	f := ringFile(t)
	hammer(t, f, 4)
	watched := f.direct.ring.watched
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-watched:
	default:
		t.Error("the ring is still watched")
	}
}
