package kernelcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func open(t *testing.T) (*Cache, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deep", "kernels")
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func TestWhatIsStoredIsFound(t *testing.T) {
	c, dir := open(t)
	data := bytes.Repeat([]byte("kernel"), 50_000)
	clear(data[64<<10 : 192<<10])
	if _, err := c.Path("id", int64(len(data))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before: %v", err)
	}
	if err := c.Store("id", data); err != nil {
		t.Fatal(err)
	}
	path, err := c.Path("id", int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	k := openKernel(t, path)
	if got, err := io.ReadAll(io.NewSectionReader(k, 0, k.Size())); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v: not what was stored", len(got), err)
	}
	for _, file := range []string{dir, path} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o077 != 0 {
			t.Errorf("%s has the mode %v: others can read it", file, info.Mode())
		}
	}
}

// Nothing is used that somebody else can have written, or that is not what was asked
// for.
func TestUntrusted(t *testing.T) {
	c, dir := open(t)
	const id = "id"
	path := filepath.Join(dir, id+suffix)
	tests := map[string]func() error{
		"cut off":            func() error { return os.Truncate(path, 5) },
		"writable to others": func() error { return os.Chmod(path, 0o602) },
		"a link": func() error {
			return errors.Join(os.Rename(path, path+"2"), os.Symlink(path+"2", path))
		},
	}
	if os.Geteuid() == 0 {
		tests["of another user"] = func() error { return os.Chown(path, 12345, -1) }
	}
	for name, change := range tests {
		if err := errors.Join(c.Store(id, []byte("kernel")), change()); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Path(id, 6); err == nil {
			t.Errorf("%s: %s is used", name, got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a directory in which everybody may write is used")
	}
}

// The kernels that were used last stay, files of writers that did not finish go, and
// what is not the cache's is left alone.
func TestPrune(t *testing.T) {
	c, dir := open(t)
	now := time.Now()
	const kernelSize = 6
	id := func(i int) string { return fmt.Sprintf("%064x", i) }
	file := func(name string, age time.Duration) {
		path, then := filepath.Join(dir, name), now.Add(-age)
		if err := errors.Join(os.WriteFile(path, make([]byte, fileSize(kernelSize)), 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range MaxKernels {
		file(id(i)+suffix, time.Duration(i+2)*time.Hour)
	}
	if _, err := c.Path(id(MaxKernels-1), kernelSize); err != nil { // it is used
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{
		temporary + "left": 2 * time.Hour, temporary + "written": 0,
		"letter": 1000 * time.Hour, id(100): 1000 * time.Hour, "my" + suffix: 1000 * time.Hour,
	} {
		file(name, age)
	}
	if err := c.Store(id(MaxKernels), []byte("kernel")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		id(0) + suffix: true, id(MaxKernels-2) + suffix: false, id(MaxKernels-1) + suffix: true, id(MaxKernels) + suffix: true,
		temporary + "left": false, temporary + "written": true,
		"letter": true, id(100): true, "my" + suffix: true,
	} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", name, err, want)
		}
	}
}

func TestOneFillsTheCache(t *testing.T) {
	c, _ := open(t)
	unlock, ok, err := c.Lock()
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, ok, err := c.Lock(); ok || err != nil {
		t.Errorf("a second one: %v, %v", ok, err)
	}
	unlock()
	unlock, ok, err = c.Lock()
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	unlock()
}
