package block

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/govmm/govmm/qcow2"
	"golang.org/x/sys/unix"
)

// ends collects the ends of transfers.
type ends chan error

func (e ends) Ended(err error) { e <- err }

// TestRawStarts starts transfers of a raw disk that bypasses the page cache: inside
// the disk, and where a guess that it is raw is safe from what is written.
func TestRawStarts(t *testing.T) {
	const size = 4096
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, make([]byte, 4*size), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Spec{Path: name, Format: FormatRaw, Direct: true, Guessed: true})
	if err != nil {
		t.Skipf("no direct I/O where tests keep their files: %v", err)
	}
	defer d.Close()
	if !d.(*raw).f.UsesRing() {
		t.Skip("no io_uring on this host")
	}
	memory, err := unix.Mmap(-1, 0, 2*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	out, in := memory[:size], memory[size:]
	for i := range out {
		out[i] = byte(i)
	}
	s, done := d.(qcow2.Starter), make(ends, 1)
	for _, begin := range []func() bool{
		func() bool { return s.StartWriteV([][]byte{out}, size, done) },
		func() bool { return s.StartReadV([][]byte{in}, size, done) },
	} {
		if !begin() {
			t.Fatal("not begun")
		}
		s.Submit()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(in, out) {
		t.Error("read back something else")
	}
	if s.StartWriteV([][]byte{out}, 0, done) {
		t.Error("begun where the format of the disk is")
	}
	// A part of the file begins where it begins.
	part, err := Open(Spec{Path: name, Format: FormatRaw, Direct: true, ReadOnly: true, ForceShare: true, Window: &Window{size, 2 * size}})
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	clear(in)
	if w := part.(qcow2.Starter); !w.StartReadV([][]byte{in}, 0, done) {
		t.Error("not begun in a part")
	} else if w.Submit(); <-done != nil || !bytes.Equal(in, out) {
		t.Error("a part of the file was read elsewhere")
	}
	if s.StartReadV([][]byte{in}, 4*size, done) || s.StartWriteV([][]byte{out}, 4*size, done) {
		t.Error("begun beyond the end")
	}
}

// TestRawWindowStarts starts transfers of a part of a raw file: where that part lies.
func TestRawWindowStarts(t *testing.T) {
	const size = 4096
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, make([]byte, 4*size), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Spec{Path: name, Format: FormatRaw, Direct: true, Window: &Window{2 * size, size}})
	if err != nil {
		t.Skipf("no direct I/O where tests keep their files: %v", err)
	}
	defer d.Close()
	if !d.(*raw).f.UsesRing() {
		t.Skip("no io_uring on this host")
	}
	memory, err := unix.Mmap(-1, 0, 2*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	out, in := memory[:size], memory[size:]
	for i := range out {
		out[i] = byte(i) | 1
	}
	s, done := d.(qcow2.Starter), make(ends, 1)
	if !s.StartWriteV([][]byte{out}, 0, done) {
		t.Fatal("not begun")
	}
	s.Submit()
	err = <-done
	if !s.StartReadV([][]byte{in}, 0, done) {
		t.Fatal("not begun")
	}
	s.Submit()
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(file[2*size:][:size], out) || !bytes.Equal(in, out) {
		t.Errorf("read or written elsewhere, %v", err)
	}
	if bytes.IndexFunc(file[:2*size], func(r rune) bool { return r != 0 }) >= 0 {
		t.Error("written before the window")
	}
}
