package kernelcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// testKernel has blocks of zeroes, and does not end with a block.
func testKernel() []byte {
	data := bytes.Repeat([]byte("kernel!"), (6*blockSize+1234)/7)
	clear(data[2*blockSize-100 : 5*blockSize])
	return data
}

// stored is a kernel in a cache.
func stored(t *testing.T, data []byte) (path string) {
	t.Helper()
	c, _ := open(t)
	if err := c.Store("id", data); err != nil {
		t.Fatal(err)
	}
	path, err := c.Path("id", int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func openKernel(t *testing.T, path string) *Kernel {
	t.Helper()
	k, err := OpenKernel(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func TestWhatIsStoredIsRead(t *testing.T) {
	for _, data := range [][]byte{testKernel(), testKernel()[:blockSize], []byte("k"), make([]byte, 3*blockSize)} {
		k := openKernel(t, stored(t, data))
		if k.Size() != int64(len(data)) {
			t.Errorf("size %d, want %d", k.Size(), len(data))
		}
		if err := iotest.TestReader(io.NewSectionReader(k, 0, k.Size()), data); err != nil {
			t.Error(err)
		}
		p := make([]byte, len(data)+1)
		for _, off := range []int{0, 1, blockSize - 1, blockSize, 5*blockSize - 3, len(data) - 1, len(data), len(data) + 5} {
			want, wantErr := bytes.NewReader(data).ReadAt(p, int64(off))
			rest := bytes.Clone(p[:want])
			if n, err := k.ReadAt(p, int64(off)); n != want || err != wantErr || !bytes.Equal(p[:n], rest) {
				t.Errorf("%d bytes at %d: %v, want %d, %v", n, off, err, want, wantErr)
			}
		}
		if _, err := k.ReadAt(p, -1); err == nil {
			t.Error("read before the start")
		}
	}
}

// Blocks of zeroes are known, and take no room in the file.
func TestHoles(t *testing.T) {
	data := testKernel()
	k := openKernel(t, stored(t, data))
	size := int64(len(data))
	for _, tt := range []struct{ off, end, from, to int64 }{
		{0, size, 0, 2 * blockSize}, {5, 10, 5, 10}, {2*blockSize - 1, size, 2*blockSize - 1, 2 * blockSize},
		{2 * blockSize, size, 5 * blockSize, size}, {2*blockSize + 3, 3 * blockSize, 3 * blockSize, 3 * blockSize},
		{5*blockSize + 1, size + 100, 5*blockSize + 1, size}, {size, size, size, size},
	} {
		if from, to := k.NextData(tt.off, tt.end); from != tt.from || to != tt.to {
			t.Errorf("from %d to %d: %d to %d, want %d to %d", tt.off, tt.end, from, to, tt.from, tt.to)
		}
	}
}

// Whatever byte of a file changed, a part of it is missing, or a block of it was never written: no
// kernel is read that is not the one that was stored.
func TestDamageIsNoticed(t *testing.T) {
	data := testKernel()
	path := stored(t, data)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(at int) func([]byte) []byte {
		return func(p []byte) []byte { p[at] ^= 0x10; return p }
	}
	tests := map[string]func([]byte) []byte{
		"empty":                 func(p []byte) []byte { return nil },
		"cut off at a block":    func(p []byte) []byte { return p[:blockSize] },
		"cut off by a byte":     func(p []byte) []byte { return p[:len(p)-1] },
		"longer":                func(p []byte) []byte { return append(p, 0) },
		"all of it zero":        func(p []byte) []byte { clear(p); return p },
		"a page never written":  func(p []byte) []byte { clear(p[4096:8192]); return p },
		"a block never written": func(p []byte) []byte { clear(p[5*blockSize : 6*blockSize]); return p },
		"no checksums": func(p []byte) []byte {
			clear(p[len(data) : len(p)-footerSize])
			return p
		},
		"two blocks swapped": func(p []byte) []byte {
			first := bytes.Clone(p[:blockSize])
			copy(p, p[5*blockSize:6*blockSize])
			copy(p[5*blockSize:], first)
			return p
		},
		"as the cache once was": func(p []byte) []byte { return p[:len(data)] },
	}
	for _, at := range []int{0, blockSize - 1, blockSize, 5 * blockSize, len(data) - 1, len(data), len(file) - 20, len(file) - 12, len(file) - 1} {
		tests[fmt.Sprintf("byte %d of %d", at, len(file))] = flip(at)
	}
	for name, change := range tests {
		damaged := filepath.Join(t.TempDir(), strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(damaged, change(bytes.Clone(file)), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := OpenKernel(damaged)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(io.NewSectionReader(k, 0, k.Size()))
			k.Close()
		}
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(got, data[:len(got)]) {
			t.Errorf("%s: what is wrong is given out", name)
		}
	}
}

// A block that is damaged is an error each time, for parts of it as for all of it, and others
// are not.
func TestDamageOfOneBlock(t *testing.T) {
	data := testKernel()
	path := stored(t, data)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("?"), blockSize+77)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	k := openKernel(t, path)
	for range 2 {
		for _, tt := range []struct {
			off, n int64
			ok     bool
		}{{0, blockSize, true}, {10, 10, true}, {blockSize, blockSize, false}, {blockSize, 1, false}, {2*blockSize - 1, 2, false}, {0, blockSize + 1, false}, {2 * blockSize, 10, true}} {
			p := make([]byte, tt.n)
			if _, err := k.ReadAt(p, tt.off); (err == nil) != tt.ok {
				t.Errorf("%d bytes at %d: %v", tt.n, tt.off, err)
			}
		}
	}
}

// Processes that store one kernel at the same time, others that read it and one that clears up do
// not disturb each other: it is whole whenever it is there.
func TestStoredByTwoAtOnce(t *testing.T) {
	c, dir := open(t)
	data := testKernel()
	if err := c.Store("id", data); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 10 {
				if err := c.Store("id", data); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 10 {
				path, err := c.Path("id", int64(len(data)))
				if err != nil {
					t.Error(err)
					continue
				}
				k, err := OpenKernel(path)
				if err != nil {
					t.Error(err)
					continue
				}
				if got, err := io.ReadAll(io.NewSectionReader(k, 0, k.Size())); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				k.Close()
			}
		})
	}
	wg.Wait()
	left, err := filepath.Glob(filepath.Join(dir, temporary+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func BenchmarkRead(b *testing.B) {
	data := bytes.Repeat([]byte("kernel!."), 60<<20/8)
	c, err := Open(filepath.Join(b.TempDir(), "kernels"))
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Store("id", data); err != nil {
		b.Fatal(err)
	}
	path, err := c.Path("id", int64(len(data)))
	if err != nil {
		b.Fatal(err)
	}
	k, err := OpenKernel(path)
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	for name, src := range map[string]io.ReaderAt{"checked": k, "plain": k.f} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := src.ReadAt(data, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
