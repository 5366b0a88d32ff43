package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// pipeFile is a file in memory that writes from pipes, as much at a time as most says.
type pipeFile struct {
	memFile
	most  int64
	piped int64
}

func (f *pipeFile) WritesPipes() bool { return true }

func (f *pipeFile) WritePipe(pipe int, off, n int64) (taken int64, err error) {
	b := make([]byte, min(n, f.most))
	m, err := unix.Read(pipe, b)
	if err != nil || m <= 0 {
		return 0, nil
	}
	f.piped += int64(m)
	return int64(m), f.WriteV([][]byte{b[:m]}, off)
}

// fullPipe is a pipe with data, and its room of 1 MiB.
func fullPipe(t *testing.T, data []byte) (r int) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[1])
	t.Cleanup(func() { unix.Close(ends[0]) })
	if _, err := unix.FcntlInt(uintptr(ends[1]), unix.F_SETPIPE_SZ, int(mib)); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Write(ends[1], data); err != nil || n != len(data) {
		t.Fatalf("%d of %d bytes fit in a pipe: %v", n, len(data), err)
	}
	return ends[0]
}

// drained is what is left in a pipe.
func drained(t *testing.T, pipe int) (rest []byte) {
	t.Helper()
	for b := make([]byte, mib); ; {
		n, err := unix.Read(pipe, b)
		if err != nil || n == 0 {
			return rest
		}
		rest = append(rest, b[:n]...)
	}
}

// TestWritePipe writes from pipes to clusters that are there, to new ones, to parts of
// either, compressed ones and those with a snapshot: what WritePipe leaves in the pipe is
// written by WriteV, and then the disk reads as it should.
func TestWritePipe(t *testing.T) {
	const size, cluster = 4 * mib, 64 * kib
	dir := t.TempDir()
	files := map[string]func() File{
		"os": func() File {
			f, err := OpenFile(filepath.Join(dir, "disk"), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
			if err != nil {
				t.Fatal(err)
			}
			return f
		},
		"memory, all at once": func() File { return &pipeFile{memFile: memFile{noPunch: true}, most: size} },
		"memory, a few bytes": func() File { return &pipeFile{memFile: memFile{noPunch: true}, most: 5000} },
	}
	for name, open := range files {
		t.Run(name, func(t *testing.T) {
			f := open()
			if err := Create(f, CreateOptions{Size: size}); err != nil {
				t.Fatal(err)
			}
			im, err := Open(f, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !im.WritesPipes() {
				t.Fatal("it writes no pipes")
			}
			want := make([]byte, size)
			reads := func() {
				t.Helper()
				got := make([]byte, size)
				if err := im.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("the disk has something else: %v", err)
				}
			}
			write := func(off, n int64) (left int) {
				t.Helper()
				data := make([]byte, n)
				for i := range data {
					data[i] = byte(i>>9*13) + byte(off>>16) + 1
				}
				pipe := fullPipe(t, data)
				taken, err := im.WritePipe(pipe, off, n)
				if err != nil || taken < 0 || taken > n {
					t.Fatalf("%d bytes at %d: %d, %v", n, off, taken, err)
				}
				rest := drained(t, pipe)
				if int64(len(rest)) != n-taken {
					t.Fatalf("%d bytes are left of %d, of which %d were taken", len(rest), n, taken)
				}
				if err := im.WriteV([][]byte{rest}, off+taken); err != nil {
					t.Fatal(err)
				}
				copy(want[off:], data)
				reads()
				return len(rest)
			}
			if err := im.AddBitmap("b", BitmapOptions{Granularity: cluster}); err != nil {
				t.Fatal(err)
			}
			if left := write(0, 4*cluster); left != 0 {
				t.Errorf("new clusters: %d bytes are left", left)
			}
			if n, err := im.DirtyBytes("b"); n != 4*cluster || err != nil {
				t.Errorf("%d bytes are dirty, %v", n, err)
			}
			write(4096, 2*cluster)
			write(4*cluster, cluster+512)
			write(8*cluster+4096, cluster)
			if err := im.WriteCompressed(pattern(3, cluster)[0], 12*cluster); err != nil {
				t.Fatal(err)
			}
			copy(want[12*cluster:], pattern(3, cluster)[0])
			write(12*cluster, cluster)
			if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(want)
			write(cluster, 3*cluster)
			write(512, 1000)
			if err := im.Discard(0, 2*cluster); err != nil {
				t.Fatal(err)
			}
			clear(want[:2*cluster])
			write(0, 16*cluster)
			if err := im.Discard(0, 4*cluster); err != nil {
				t.Fatal(err)
			}
			clear(want[:4*cluster])
			if err := im.Flush(); err != nil { // so that their storage is free
				t.Fatal(err)
			}
			write(0, cluster+512) // the storage behind that had something else
			if err := im.RemoveBitmap("b"); err != nil {
				t.Fatal(err)
			}
			if err := im.ApplySnapshot("s"); err != nil {
				t.Fatal(err)
			}
			want = before
			reads()
			if m, ok := f.(*pipeFile); ok && m.piped == 0 {
				t.Error("nothing was written from a pipe")
			}
			if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions+res.Leaks+res.CheckErrors != 0 {
				t.Errorf("check: %+v, %v", res, err)
			}
			if err := im.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWritePipeFails lets a write to new clusters fail after a part of it was taken out of
// the pipe: that is said, the disk is as before, and the clusters are free.
func TestWritePipeFails(t *testing.T) {
	f := &pipeFile{most: 100}
	if err := Create(f, CreateOptions{Size: mib}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(1, 4*kib), 15*64*kib); err != nil { // there is a table now
		t.Fatal(err)
	}
	f.failAfter(2) // the first write is that of 100 bytes
	n, err := im.WritePipe(fullPipe(t, pattern(2, 128*kib)[0]), 0, 128*kib)
	if !errors.Is(err, errInjected) {
		t.Errorf("%d, %v", n, err)
	}
	got := make([]byte, 128*kib)
	if err := im.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got, make([]byte, len(got))) {
		t.Errorf("not zeroes, %v", err)
	}
	if err := im.Flush(); err != nil {
		t.Error(err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions+res.Leaks+res.CheckErrors != 0 {
		t.Errorf("check: %+v, %v", res, err)
	}
}

// TestWritePipeRefuses leaves the pipe alone where WriteV has something to say, or where no
// data goes by the file as it is.
func TestWritePipeRefuses(t *testing.T) {
	f := new(pipeFile)
	f.most = mib
	if err := Create(f, CreateOptions{Size: mib}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	pipe := fullPipe(t, make([]byte, 64*kib))
	for _, off := range []int64{0, mib, -1} {
		if n, err := im.WritePipe(pipe, off, 64*kib); n != 0 || err != nil {
			t.Error(fmt.Sprint(off, ": "), n, err)
		}
	}
	if n := int64(len(drained(t, pipe))); n != 64*kib {
		t.Errorf("%d bytes are left", n)
	}
	direct := directImage(t)
	if direct.WritesPipes() {
		t.Error("direct I/O writes pipes")
	}
}
