package qcow2

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// pipeReader returns a file of so many bytes, opened for direct I/O, that reads into pipes.
func pipeReader(t *testing.T, size int64) (f *OSFile, path string, data []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	data = make([]byte, size)
	for i := range data {
		data[i] = byte(i>>12 ^ i*7)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, os.O_RDWR|unix.O_DIRECT)
	if err != nil {
		t.Skipf("no direct I/O here: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	if !f.ReadsPipes() {
		t.Skip("the host does not read into pipes (Linux 6.5 and later do)")
	}
	return f, path, data
}

// TestReadPipe reads aligned parts of a file into a pipe, and nothing else.
func TestReadPipe(t *testing.T) {
	f, path, data := pipeReader(t, 512*kib)
	p := newTestPipe(t)
	for _, r := range []struct{ off, n, want int64 }{
		{0, 4096, 4096},
		{64 * kib, 256 * kib, 256 * kib},
		{0, 512 * kib, 512 * kib},
		{100, 4096, 0},
		{4096, 100, 0},
		{508 * kib, 64 * kib, 4096}, // the file ends
		{512 * kib, 4096, 0},
	} {
		got := f.ReadPipe(p.w, r.off, r.n)
		if got != r.want {
			t.Errorf("%d bytes at %d: %d", r.n, r.off, got)
		}
		if b := p.take(t, int(got)); !bytes.Equal(b, data[r.off:][:got]) {
			t.Errorf("%d bytes at %d: others", r.n, r.off)
		}
	}
	buffered, err := OpenFile(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer buffered.Close()
	if buffered.ReadsPipes() || buffered.ReadPipe(p.w, 0, 4096) != 0 {
		t.Error("a file in the page cache is read into a pipe")
	}
}

// TestReadPipeGivesPagesOfItsOwn overwrites what is in a pipe.
func TestReadPipeGivesPagesOfItsOwn(t *testing.T) {
	f, _, data := pipeReader(t, 64*kib)
	p := newTestPipe(t)
	if n := f.ReadPipe(p.w, 0, 64*kib); n != 64*kib {
		t.Fatalf("%d bytes", n)
	}
	if err := f.WriteV([][]byte{alignedBuffer(64 * int(kib))}, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.take(t, 64*int(kib)), data) {
		t.Error("what was in the pipe changed with the file")
	}
}

// TestReadPipeOfAnImage reads what is mapped, in as many parts as that takes, up to what
// is not, from an overlay and its base.
func TestReadPipeOfAnImage(t *testing.T) {
	pipeReader(t, 4096) // or skip
	dir := t.TempDir()
	open := func(name string, flags int, o Options) *Image {
		f, err := OpenFile(filepath.Join(dir, name), os.O_RDWR|unix.O_DIRECT|flags)
		if err != nil {
			t.Fatal(err)
		}
		if flags != 0 {
			c := CreateOptions{Size: mib}
			if o.Backing != nil {
				c.BackingFile, c.BackingFormat = "base", "qcow2"
			}
			if err := Create(f, c); err != nil {
				t.Fatal(err)
			}
		}
		im, err := Open(f, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { im.Close() })
		return im
	}
	write := func(im *Image, b byte, off, n int64) {
		if err := im.WriteV(pattern(b, n), off); err != nil {
			t.Fatal(err)
		}
	}
	base := open("base", os.O_CREATE, Options{})
	write(base, 1, 0, 192*kib)
	over := open("over", os.O_CREATE, Options{Backing: func(string, string) (Backing, error) { return base, nil }})
	write(over, 2, 128*kib, 64*kib) // its clusters are not in the order of the disk
	write(over, 3, 0, 64*kib)
	write(over, 4, 256*kib, 64*kib)
	if err := over.WriteZeroes(320*kib, 64*kib, true); err != nil {
		t.Fatal(err)
	}
	p := newTestPipe(t)
	for _, r := range []struct{ off, n, want int64 }{
		{0, 192 * kib, 192 * kib}, // 3, the base's 1, 2
		{0, 256 * kib, 192 * kib}, // then what nobody has
		{256 * kib, 128 * kib, 64 * kib},
		{320 * kib, 64 * kib, 0},
		{mib, 4096, 0}, // beyond the end
	} {
		got := over.ReadPipe(p.w, r.off, r.n)
		if got != r.want {
			t.Errorf("%d bytes at %d: %d", r.n, r.off, got)
		}
		want := make([]byte, got)
		if err := over.ReadV([][]byte{want}, r.off); got > 0 && err != nil {
			t.Fatal(err)
		}
		if b := p.take(t, int(got)); !bytes.Equal(b, want) {
			t.Errorf("%d bytes at %d: others", r.n, r.off)
		}
	}
	if err := over.Close(); err != nil {
		t.Fatal(err)
	}
	if n := over.ReadPipe(p.w, 0, 4096); n != 0 {
		t.Errorf("%d bytes of a closed image", n)
	}
}
