package qcow2

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOSFileVectors moves vectors longer than the kernel takes in one call,
// with empty elements, and reads across the end of the file.
func TestOSFileVectors(t *testing.T) {
	f := osFile(t, "file")
	defer f.Close()
	var out, in [][]byte
	for i := range 3*maxIovecs + 7 {
		out = append(out, pattern(byte(i), int64(i%5))[0])
		in = append(in, pattern(0xff, int64(i%5))[0])
	}
	if err := f.WriteV(out, 3); err != nil {
		t.Fatal(err)
	}
	in = append(in, pattern(0xff, 10)[0], nil, pattern(0xff, 10)[0]) // past the end
	if err := f.ReadV(in, 3); err != nil {
		t.Fatal(err)
	}
	for i, b := range in {
		for _, x := range b {
			if want := byte(i); i < len(out) && x != want || i >= len(out) && x != 0 {
				t.Fatalf("element %d: read %#x", i, x)
			}
		}
	}
	if err := errors.Join(f.ReadV(nil, 0), f.WriteV([][]byte{nil, {}}, 0)); err != nil {
		t.Errorf("empty vectors: %v", err)
	}
	size, err := f.Size()
	if want := vecLen(out) + 3; err != nil || size != want {
		t.Errorf("size %d, %v; want %d", size, err, want)
	}
}

// TestOSFileZeroes makes zeroes in each way there is.
func TestOSFileZeroes(t *testing.T) {
	f := osFile(t, "file")
	defer f.Close()
	const n = 300 << 10
	ways := map[string]func() error{
		"zero range":            func() error { return f.ZeroRange(1, n-2) },
		"zero range by writing": func() error { f.noZero.Store(true); return f.ZeroRange(1, n-2) },
		"punch hole": func() error {
			err := f.PunchHole(1, n-2)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Log("no holes on this file system")
				return f.ZeroRange(1, n-2)
			}
			return err
		},
	}
	for name, zero := range ways {
		if err := f.WriteV(pattern(1, n), 0); err != nil {
			t.Fatal(err)
		}
		if err := zero(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := pattern(2, n)
		if err := f.ReadV(got, 0); err != nil {
			t.Fatal(err)
		}
		for i, b := range got[0] {
			if want := b2i(i == 0 || i == n-1); int64(b) != want {
				t.Fatalf("%s: byte %d is %d", name, i, b)
			}
		}
	}
	f.noPunch.Store(true)
	if err := f.PunchHole(0, 512); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a hole where there are none: %v", err)
	}
}

// TestOSFileErrors names the file in every error.
func TestOSFileErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenFile(filepath.Join(dir, "none"), os.O_RDWR); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	if _, err := OpenFile(dir, os.O_RDONLY); err == nil {
		t.Error("a directory was opened")
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(pipe, os.O_RDWR); err == nil {
		t.Error("a pipe was opened")
	}
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("data"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var pathError *os.PathError
	if err := f.WriteV(pattern(1, 10), 0); !errors.As(err, &pathError) || pathError.Path != path {
		t.Errorf("a write to a file opened for reading: %v", err)
	}
}

// TestOSFileIdentity tells files apart, but not names of one file.
func TestOSFileIdentity(t *testing.T) {
	dir := t.TempDir()
	identity := func(name string, flags int) FileID {
		f, err := OpenFile(filepath.Join(dir, name), flags)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		id, err := f.Identity()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a, b := identity("a", os.O_RDWR|os.O_CREATE), identity("b", os.O_RDWR|os.O_CREATE)
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	if c := identity("c", os.O_RDONLY); a != c || a == b {
		t.Errorf("a is %v, b %v, c, a link to a, %v", a, b, c)
	}
}

// TestOSFileSync makes one fdatasync for many callers, none for nothing new.
func TestOSFileSync(t *testing.T) {
	f := osFile(t, "file")
	defer f.Close()
	syncs := 0
	now := f.fsync
	f.fsync = func() error { syncs++; return now() }
	for range 2 {
		if err := f.Sync(); err != nil || syncs != 0 {
			t.Fatalf("%d syncs of an unwritten file, %v", syncs, err)
		}
	}
	var wg sync.WaitGroup
	for i := range int64(20) {
		wg.Go(func() {
			if err := errors.Join(f.WriteV(pattern(1, 512), i*512), f.Sync()); err != nil {
				t.Error(err)
			}
			if f.synced.Load() == 0 {
				t.Error("a write is not synced")
			}
		})
	}
	wg.Wait()
	if syncs == 0 || syncs > 20 {
		t.Errorf("%d syncs", syncs)
	}
	f.DisableSync()
	syncs = 0
	if err := errors.Join(f.WriteV(pattern(1, 512), 0), f.Sync()); err != nil || syncs != 0 {
		t.Errorf("%d syncs of a file that has them disabled, %v", syncs, err)
	}
}
