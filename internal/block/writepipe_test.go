package block

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/govmm/govmm/qcow2"
	"golang.org/x/sys/unix"
)

// TestRawWritesPipes writes from a pipe into a window of a file, not beyond its end, and not
// where a guess that it is raw is safe from what is written.
func TestRawWritesPipes(t *testing.T) {
	const size = 4096
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, make([]byte, 4*size), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Spec{Path: name, Format: FormatRaw, Guessed: true, Window: &Window{size, 2 * size}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	data := bytes.Repeat([]byte{7}, size)
	if _, err := unix.Write(ends[1], data); err != nil {
		t.Fatal(err)
	}
	to := d.(qcow2.PipeWriter)
	if !to.WritesPipes() {
		t.Fatal("no pipes")
	}
	for _, off := range []int64{0, size + 1, 2 * size, -1} {
		if n, err := to.WritePipe(ends[0], off, size); n != 0 || err != nil {
			t.Errorf("at %d: %d bytes, %v", off, n, err)
		}
	}
	if n, err := to.WritePipe(ends[0], size, size); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	file, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(file, append(make([]byte, 2*size), append(data, make([]byte, size)...)...)) {
		t.Errorf("written elsewhere, %v", err)
	}
}

// TestCompressedWritesNoPipes: what is written to a disk that compresses does not get into
// its clusters as it is.
func TestCompressedWritesNoPipes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	f, err := qcow2.OpenFile(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := qcow2.Create(f, qcow2.CreateOptions{Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	im, err := qcow2.Open(f, qcow2.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	d, err := compressed(im)
	if err != nil {
		t.Fatal(err)
	}
	to, ok := d.(qcow2.PipeWriter)
	if !ok {
		return
	}
	if n, err := to.WritePipe(-1, 0, 64<<10); to.WritesPipes() || n != 0 || err != nil {
		t.Errorf("it writes pipes: %d, %v", n, err)
	}
}
