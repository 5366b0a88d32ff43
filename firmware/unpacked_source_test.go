package firmware

import (
	"bytes"
	"errors"
	"testing"
)

// badAt is a file with a bad byte.
type badAt struct {
	*bytes.Reader
	at int64
}

var errBad = errors.New("this can't be read")

func (b badAt) ReadAt(p []byte, off int64) (int, error) {
	if off <= b.at && b.at < off+int64(len(p)) {
		return 0, errBad
	}
	return b.Reader.ReadAt(p, off)
}

// An unpacked kernel that can't be read, wherever that shows, is as none, and nothing of it stays
// in the memory.
func TestUnpackedThatCannotBeRead(t *testing.T) {
	k := newFakeKernel()
	size := int64(len(k.unpacked()))
	c := k.config(t)
	c.Unpacked = nil
	want := make(flat, 128*mib)
	if _, err := Load(want, c); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, elfHeaderSize, int64(k.elf.progs[0].Off), int64(k.elf.progs[1].Off), size - 1} {
		c := k.config(t)
		c.Unpacked = badAt{bytes.NewReader(k.unpacked()), at}
		m := make(flat, 128*mib)
		e, err := Load(m, c)
		if err != nil || e.Format != BzImage || !errors.Is(e.Declined, errBad) {
			t.Errorf("bad at %d: %s, %v, %v", at, e.Format, e.Declined, err)
		}
		if !bytes.Equal(m, want) {
			t.Errorf("bad at %d: the memory is not as without it", at)
		}
	}
}

// sparse is a file that knows of its blocks of zeroes.
type sparse struct{ *bytes.Reader }

const sparseBlock = 64

func (s sparse) zero(off int64) bool {
	p := make([]byte, sparseBlock)
	n, _ := s.Reader.ReadAt(p, off/sparseBlock*sparseBlock)
	return bytes.Equal(p[:n], make([]byte, n))
}

func (s sparse) NextData(off, end int64) (from, to int64) {
	for from = off; from < end && s.zero(from); from++ {
	}
	for to = from; to < end && !s.zero(to); to++ {
	}
	return from, to
}

// Zeroes are not read into memory that is zero, and what is loaded is the same.
func TestLoadSparse(t *testing.T) {
	k := newFakeKernel()
	for _, p := range k.elf.data {
		clear(p[0x400:0x900])
		clear(p[len(p)-sparseBlock:])
	}
	c := k.config(t)
	c.Cmdline = "nokaslr"
	want := make(flat, 128*mib)
	if _, err := Load(want, c); err != nil {
		t.Fatal(err)
	}
	c = k.config(t)
	c.Cmdline, c.Unpacked = "nokaslr", sparse{bytes.NewReader(k.unpacked())}
	m := make(flat, 128*mib)
	if e, err := Load(m, c); err != nil || e.Declined != nil {
		t.Fatal(err, e.Declined)
	}
	if !bytes.Equal(m, want) {
		t.Error("the memory is not as from a file that is not sparse")
	}
	text := k.elf.progs[0]
	hole := int64(text.Off) + 0x600
	c.Unpacked = struct {
		badAt
		Sparse
	}{badAt{bytes.NewReader(k.unpacked()), hole}, sparse{bytes.NewReader(k.unpacked())}}
	if e, err := Load(make(flat, 128*mib), c); err != nil || e.Declined != nil {
		t.Errorf("zeroes were read: %v, %v", e.Declined, err)
	}
}
