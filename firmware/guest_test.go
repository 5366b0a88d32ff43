package firmware

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// ram is guest memory for tests, without windows: pages come into being when
// they are written, so that addresses may be high.
type ram map[uint64][]byte

func (m ram) WriteAt(p []byte, addr uint64) error {
	for len(p) > 0 {
		page, off := addr&^(pageSize-1), addr%pageSize
		if m[page] == nil {
			m[page] = make([]byte, pageSize)
		}
		n := copy(m[page][off:], p)
		p, addr = p[n:], addr+uint64(n)
	}
	return nil
}

func (m ram) read(addr, n uint64) []byte {
	out := make([]byte, 0, n)
	for uint64(len(out)) < n {
		page, off := addr&^(pageSize-1), addr%pageSize
		part := make([]byte, pageSize-off)
		if m[page] != nil {
			copy(part, m[page][off:])
		}
		part = part[:min(uint64(len(part)), n-uint64(len(out)))]
		out, addr = append(out, part...), addr+uint64(len(part))
	}
	return out
}

func (m ram) u16(addr uint64) uint16 { return binary.LittleEndian.Uint16(m.read(addr, 2)) }
func (m ram) u32(addr uint64) uint32 { return binary.LittleEndian.Uint32(m.read(addr, 4)) }
func (m ram) u64(addr uint64) uint64 { return binary.LittleEndian.Uint64(m.read(addr, 8)) }

// cstring reads up to the NUL.
func (m ram) cstring(addr uint64) string {
	s, _, _ := bytes.Cut(m.read(addr, 64<<10), []byte{0})
	return string(s)
}

// windowed is the same memory with windows of one page each.
type windowed struct {
	ram
	calls int
}

func (m *windowed) Append(dst [][]byte, addr, n uint64) ([][]byte, error) {
	m.calls++
	for n > 0 {
		page, off := addr&^(pageSize-1), addr%pageSize
		if m.ram[page] == nil {
			m.ram[page] = make([]byte, pageSize)
		}
		w := m.ram[page][off:min(pageSize, off+n)]
		dst, addr, n = append(dst, w), addr+uint64(len(w)), n-uint64(len(w))
	}
	return dst, nil
}

// flat is memory from address 0 on in one piece.
type flat []byte

func (m flat) WriteAt(p []byte, addr uint64) error {
	copy(m[addr:], p)
	return nil
}

func (m flat) Append(dst [][]byte, addr, n uint64) ([][]byte, error) {
	return append(dst, m[addr:addr+n:addr+n]), nil
}

func (m flat) read(addr, n uint64) []byte { return bytes.Clone(m[addr : addr+n]) }

// pattern is n bytes that differ from page to page.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16) | 1
	}
	return p
}

func TestCopyIn(t *testing.T) {
	const at, skip = 0x100123, 77
	data := pattern(3*copyBuffer + 5)
	for name, mem := range map[string]interface {
		Memory
		read(addr, n uint64) []byte
	}{"buffer": ram{}, "windows": &windowed{ram: ram{}}} {
		g := &guest{mem: mem, ram: Range{0, 64 * mib}}
		n := uint64(len(data) - skip)
		if err := g.copyIn(bytes.NewReader(data), skip, at, n); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(mem.read(at, n), data[skip:]) {
			t.Errorf("%s: memory differs from the file", name)
		}
		if got := mem.read(at-1, 1)[0] | mem.read(at+n, 1)[0]; got != 0 {
			t.Errorf("%s: a byte beside the range was written", name)
		}
	}
}

// faulty is a file that fails to be read from an offset on.
type faulty struct {
	*bytes.Reader
	from int64
}

var errBadSector = errors.New("bad sector")

func (f faulty) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, errBadSector
	}
	return f.Reader.ReadAt(p, off)
}

func TestCopyInFails(t *testing.T) {
	data := pattern(3 * pageSize)
	for name, mem := range map[string]Memory{"buffer": ram{}, "windows": &windowed{ram: ram{}}} {
		g := &guest{mem: mem, ram: Range{0, 16 * pageSize}}
		if err := g.copyIn(bytes.NewReader(data), 0, 0, uint64(len(data))+1); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: file too short: %v", name, err)
		}
		if err := g.copyIn(faulty{bytes.NewReader(data), pageSize}, 0, 0, uint64(len(data))); !errors.Is(err, errBadSector) {
			t.Errorf("%s: read error: %v", name, err)
		}
		if err := g.copyIn(bytes.NewReader(data), 0, 15*pageSize, 2*pageSize); err == nil || !strings.Contains(err.Error(), "not inside the RAM") {
			t.Errorf("%s: outside RAM: %v", name, err)
		}
		if err := g.write(data, 1<<64-1); err == nil {
			t.Errorf("%s: a write that wraps around passed", name)
		}
	}
}

// fill makes a printable marker for a test kernel's code.
func fill(n int, s string) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%-16s", s), n/16+1))[:n]
}
