package fwcfg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// ram is guest memory from 0 on.
type ram []byte

var errNotRAM = errors.New("not RAM")

func (m ram) window(n int, addr uint64) ([]byte, error) {
	if addr > uint64(len(m)) || uint64(n) > uint64(len(m))-addr {
		return nil, errNotRAM
	}
	return m[addr:][:n], nil
}

func (m ram) ReadAt(p []byte, addr uint64) error {
	w, err := m.window(len(p), addr)
	copy(p, w)
	return err
}

func (m ram) WriteAt(p []byte, addr uint64) error {
	w, err := m.window(len(p), addr)
	copy(w, p)
	return err
}

const ramSize = 64 << 10

func newDevice(t testing.TB, mem Memory) *Device {
	t.Helper()
	d, err := New(mem, Config{
		Items: map[Key][]byte{KeyCPUs: {2, 0}},
		Files: []File{
			{"opt/second", []byte("two")},
			{"etc/first", []byte("number one")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *Device) choose(key Key) {
	d.Write(portSelector, binary.LittleEndian.AppendUint16(nil, uint16(key)))
}

// bytes reads n bytes of the selected item by the data port.
func (d *Device) bytes(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		d.Read(portData, p[i:i+1])
	}
	return p
}

// start starts the transfer that the control block at addr describes.
func (d *Device) start(addr uint64) {
	d.Write(portDMAHigh, binary.BigEndian.AppendUint32(nil, uint32(addr>>32)))
	d.Write(portDMALow, binary.BigEndian.AppendUint32(nil, uint32(addr)))
}

// block encodes a control block.
func block(word, length uint32, addr uint64) []byte {
	p := binary.BigEndian.AppendUint32(nil, word)
	p = binary.BigEndian.AppendUint32(p, length)
	return binary.BigEndian.AppendUint64(p, addr)
}

func TestDataPort(t *testing.T) {
	d := newDevice(t, ram(nil))
	for _, tt := range []struct {
		name string
		key  Key
		want string
	}{
		{"signature", KeySignature, "QEMU\x00\x00"},
		{"features", KeyID, "\x03\x00\x00\x00\x00"},
		{"item", KeyCPUs, "\x02\x00\x00"},
		{"file", KeyFirstFile, "number one\x00"},
		{"nothing", 0x7FFF, "\x00\x00"},
	} {
		d.choose(tt.key)
		if got := d.bytes(len(tt.want)); string(got) != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	d.choose(KeySignature)
	d.bytes(2)
	d.Reset()
	if got := d.bytes(1); got[0] != 0 {
		t.Errorf("after a reset an item is selected, which reads %q", got)
	}
}

func TestDirectory(t *testing.T) {
	d := newDevice(t, ram(nil))
	d.choose(KeyDirectory)
	be := binary.BigEndian
	if n := be.Uint32(d.bytes(4)); n != 2 {
		t.Fatalf("%d files, want 2", n)
	}
	for i, want := range []string{"etc/first", "opt/second"} {
		e := d.bytes(entrySize)
		name := string(bytes.TrimRight(e[entryName:], "\x00"))
		if name != want || be.Uint16(e[4:]) != uint16(KeyFirstFile)+uint16(i) {
			t.Errorf("entry %d: %q with key %#x, want %q", i, name, be.Uint16(e[4:]), want)
		}
		if size := be.Uint32(e); i == 0 && size != uint32(len("number one")) {
			t.Errorf("%s has %d bytes", name, size)
		}
	}
}

func TestPortsOfOtherWidthsAreNotThere(t *testing.T) {
	d := newDevice(t, ram(nil))
	d.choose(KeySignature)
	p := make([]byte, 2)
	d.Read(portSelector, p)
	if p[0] != 0xFF || p[1] != 0xFF {
		t.Errorf("the selector reads % x", p)
	}
	d.Write(portSelector, []byte{byte(KeyCPUs)})
	if got := d.bytes(4); string(got) != "QEMU" {
		t.Errorf("a byte written to the selector chose another item: %q", got)
	}
	p = make([]byte, 8)
	d.Read(portDMAHigh, p)
	if string(p) != "QEMU CFG" {
		t.Errorf("the DMA ports read %q", p)
	}
}

func TestTransfers(t *testing.T) {
	const control, data = 0x100, 0x200
	file := uint32(KeyFirstFile) << dmaKeyShift
	for _, tt := range []struct {
		name   string
		word   uint32
		length uint32
		addr   uint64
		result uint32
		want   string // at data, which had dots
		next   string // from the data port
	}{
		{"select and read", file | dmaSelect | dmaRead, 6, data, 0, "number....", " "},
		{"read behind the end", file | dmaSelect | dmaRead, 12, data, 0, "number one\x00\x00....", "\x00"},
		{"select", file | dmaSelect, 6, data, 0, "....", "n"},
		{"skip", file | dmaSelect | dmaSkip, 7, data, 0, "....", "o"},
		{"skip all and more", file | dmaSelect | dmaSkip, 1 << 31, data, 0, "....", "\x00"},
		{"go on with what is selected", dmaRead, 3, data, 0, "QEM.", "U"},
		{"nothing", 0, 3, data, 0, "....", "Q"},
		{"an item that is not there", 0x77<<dmaKeyShift | dmaSelect | dmaRead, 2, data, 0, "\x00\x00..", "\x00"},
		{"write", file | dmaSelect | dmaWrite, 3, data, dmaError, "....", "n"},
		{"to where no memory is", file | dmaSelect | dmaRead, 3, 1 << 40, dmaError, "....", "b"},
		{"over the end of memory", file | dmaSelect | dmaRead, 3, ramSize - 2, dmaError, "....", "b"},
		{"around the end of addresses", dmaRead, 3, 1<<64 - 2, dmaError, "....", "Q"},
		{"too much", dmaRead, MaxTransfer + 1, data, dmaError, "....", "Q"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := ram(bytes.Repeat([]byte("."), ramSize))
			d := newDevice(t, mem)
			d.choose(KeySignature)
			copy(mem[control:], block(tt.word, tt.length, tt.addr))
			d.start(control)
			if got := binary.BigEndian.Uint32(mem[control:]); got != tt.result {
				t.Errorf("result %#x, want %#x", got, tt.result)
			}
			if got := mem[data:][:len(tt.want)]; string(got) != tt.want {
				t.Errorf("memory has %q, want %q", got, tt.want)
			}
			if got := d.bytes(1); string(got) != tt.next {
				t.Errorf("next byte %q, want %q", got, tt.next)
			}
		})
	}
}

// A zero-filled tail that leaves RAM half-way must report that.
func TestTailBeyondMemory(t *testing.T) {
	const control = 0x100
	mem := make(ram, ramSize)
	d := newDevice(t, mem)
	copy(mem[control:], block(uint32(KeyCPUs)<<dmaKeyShift|dmaSelect|dmaRead, MaxTransfer, 0x1000))
	d.start(control)
	if got := binary.BigEndian.Uint32(mem[control:]); got != dmaError {
		t.Errorf("result %#x, want %#x", got, dmaError)
	}
}

// The high half of an address does not stay for the next transfer.
func TestHighHalfIsUsedOnce(t *testing.T) {
	const control = 0x100
	mem := make(ram, ramSize)
	d := newDevice(t, mem)
	d.start(1<<32 | control)
	copy(mem[control:], block(dmaRead, 0, 0))
	d.Write(portDMALow, binary.BigEndian.AppendUint32(nil, control))
	if got := binary.BigEndian.Uint32(mem[control:]); got != 0 {
		t.Errorf("the transfer did not happen: control word %#x", got)
	}
}

func TestNewRefuses(t *testing.T) {
	for want, c := range map[string]Config{
		"must have 1 to 55 bytes":       {Files: []File{{Name: strings.Repeat("x", 56)}}},
		`file name ""`:                  {Files: []File{{}}},
		`two files are called "a"`:      {Files: []File{{Name: "a"}, {Name: "b"}, {Name: "a"}}},
		`key 0x20 of file "a" is taken`: {Files: []File{{Name: "a"}}, Items: map[Key][]byte{KeyFirstFile: nil}},
	} {
		if _, err := New(ram(nil), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// guarded is memory that fails a test which reaches outside of it.
type guarded struct {
	t   *testing.T
	mem ram
	n   int // bytes moved
}

func (g *guarded) ReadAt(p []byte, addr uint64) error {
	g.n += len(p)
	return g.mem.ReadAt(p, addr)
}

func (g *guarded) WriteAt(p []byte, addr uint64) error {
	g.n += len(p)
	if addr+uint64(len(p)) < addr {
		g.t.Errorf("a write of %d bytes at %#x wraps around", len(p), addr)
	}
	return g.mem.WriteAt(p, addr)
}

// FuzzPorts makes accesses of any width with any control block in memory: none
// crashes, moves more than it may, or changes what it serves.
func FuzzPorts(f *testing.F) {
	f.Add([]byte{1, portSelector, 0x20, 0x00, 0, 0}, block(dmaRead, 10, 0x300))
	f.Add([]byte{2, portDMALow, 0, 0, 1, 0}, block(uint32(KeyDirectory)<<dmaKeyShift|dmaSelect|dmaRead, 0x1000, 0x80))
	f.Add([]byte{2, portDMALow, 0, 0, 1, 0}, block(dmaRead, MaxTransfer, 1<<64-100))
	f.Add([]byte{2, portDMAHigh, 255, 255, 255, 255, 2, portDMALow, 255, 255, 255, 255}, block(dmaWrite, 1<<32-1, 0))
	f.Fuzz(func(t *testing.T, accesses, control []byte) {
		const step, at = 6, 0x100
		g := &guarded{t: t, mem: make(ram, ramSize)}
		d := newDevice(t, g)
		for ; len(accesses) >= step; accesses = accesses[step:] {
			copy(g.mem[at:], control)
			off, n := uint64(accesses[1]%Size), 1<<(accesses[0]%3)
			g.n = 0
			if off+uint64(n) <= Size {
				d.Write(off, accesses[2:][:n])
				d.Read(off, make([]byte, n))
			}
			if g.n > MaxTransfer+2*controlSize {
				t.Fatalf("one access moved %d bytes", g.n)
			}
		}
		d.choose(KeyFirstFile)
		if got := d.bytes(11); string(got) != "number one\x00" {
			t.Errorf("a file has become %q", got)
		}
	})
}
