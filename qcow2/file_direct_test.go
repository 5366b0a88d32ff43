package qcow2

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// directFile opens a new file for direct I/O.
func directFile(t testing.TB, name string) *OSFile {
	t.Helper()
	f, err := OpenFile(filepath.Join(t.TempDir(), name), os.O_RDWR|os.O_CREATE|unix.O_DIRECT)
	if err != nil {
		t.Skipf("no direct I/O where tests keep their files: %v", err)
	}
	t.Cleanup(func() { f.Close() }) // a second time where an image owned it
	return f
}

// TestDirectFile writes and reads pieces of any length from any address at any
// offset, by direct I/O, and finds in the file what a plain file would hold.
func TestDirectFile(t *testing.T) {
	f := directFile(t, "file")
	model := &memFile{}
	const space = 600 << 10
	rng := rand.New(rand.NewPCG(1, 2))
	vector := func() [][]byte {
		var bufs [][]byte
		unit := []int{1, 100, 512, 4096, 300 << 10}[rng.IntN(5)]
		for range 1 + rng.IntN(4) {
			b := alignedBuffer(unit*(1+rng.IntN(3)) + 4)
			skip := max(0, rng.IntN(10)-6)
			b = b[skip : len(b)-4+skip]
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			bufs = append(bufs, b)
		}
		return bufs
	}
	for range 150 {
		off := rng.Int64N(space)
		if rng.IntN(2) == 0 {
			off &^= 511
		}
		v := vector()
		switch rng.IntN(3) {
		case 0:
			got := bytes.Join(v, nil)
			if err := errors.Join(f.ReadV(v, off), model.ReadV([][]byte{got}, off)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(bytes.Join(v, nil), got) {
				t.Fatalf("read of %d bytes at %d differs", len(got), off)
			}
		default:
			if err := errors.Join(f.WriteV(v, off), model.WriteV(v, off)); err != nil {
				t.Fatal(err)
			}
		}
		size, err := f.Size()
		if want, _ := model.Size(); err != nil || size != want {
			t.Fatalf("the file has %d bytes, %v; want %d", size, err, want)
		}
	}
	got, err := os.ReadFile(f.Path())
	if err != nil || !bytes.Equal(got, model.data) {
		t.Errorf("the file differs from the model, %v", err)
	}
}

// TestDirectFileNeighbours writes to the parts of one block at the same time:
// none undoes another.
func TestDirectFileNeighbours(t *testing.T) {
	f := directFile(t, "file")
	const n, length = 64, 100
	var wg sync.WaitGroup
	for i := range int64(n) {
		wg.Go(func() {
			for round := range byte(5) {
				if err := f.WriteV(pattern(byte(i)+round, length), i*length); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i := range int64(n) {
		got := pattern(0, length)
		if err := f.ReadV(got, i*length); err != nil {
			t.Fatal(err)
		}
		if want := pattern(byte(i)+4, length); !bytes.Equal(got[0], want[0]) {
			t.Fatalf("piece %d is %x", i, got[0][0])
		}
	}
}

// TestDirectImage runs the operations of the random tests on an image that is
// read and written by direct I/O, with clusters smaller than the host's blocks
// among them.
func TestDirectImage(t *testing.T) {
	for _, clusterSize := range []int64{512, 65536} {
		f := directFile(t, "image")
		rng := rand.New(rand.NewPCG(3, uint64(clusterSize)))
		size := 40 * clusterSize
		if err := Create(f, CreateOptions{Size: size, ClusterSize: clusterSize}); err != nil {
			t.Fatal(err)
		}
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		model := make([]byte, size)
		for range 40 {
			op := randomOperation(rng, size, clusterSize)
			if err := op.run(im, rng); err != nil {
				t.Fatalf("%v: %v", op, err)
			}
			op.apply(im, model)
			got := make([]byte, size)
			if err := im.ReadV([][]byte{got}, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, model) {
				t.Fatalf("clusters of %d bytes: %v left something else than it should", clusterSize, op)
			}
		}
		path := f.Path()
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		checkFile(t, path)
	}
}

// checkFile checks an image in a file that was closed.
func checkFile(t *testing.T, path string) {
	t.Helper()
	f, err := OpenFile(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions+res.Leaks+res.CheckErrors != 0 {
		t.Errorf("check: %+v, %v", res, err)
	}
}
