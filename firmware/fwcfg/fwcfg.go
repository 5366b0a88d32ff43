package fwcfg

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Ports of the device.
const (
	Base = 0x510
	Size = 12
)

// Offsets from Base.
const (
	portSelector = 0 // u16, write
	portData     = 1 // u8, read
	portDMAHigh  = 4 // u32, big-endian
	portDMALow   = 8 // u32, big-endian; writing it starts the transfer
)

// dmaSignature is what the DMA ports read as, most significant byte first.
const dmaSignature = "QEMU CFG"

// Key selects an item.
type Key uint16

// Keys with a fixed meaning. All values are little-endian but the directory's.
const (
	KeySignature    Key = 0x0000 // "QEMU"; made by New
	KeyID           Key = 0x0001 // u32: features of this device; made by New
	KeyCPUs         Key = 0x0005 // u16: processors that are there when the machine starts
	KeyMaxCPUs      Key = 0x000F // u16: highest local APIC id, plus one
	KeyDirectory    Key = 0x0019 // big-endian; made by New
	KeyFirstFile    Key = 0x0020
	KeyIRQ0Override Key = 0x8002 // u8: 1 if ISA interrupt 0 arrives at I/O APIC pin 2
)

// Features in the item KeyID.
const (
	featureTraditional = 1 << 0
	featureDMA         = 1 << 1
)

// Memory is the guest's RAM, by guest-physical address. Anything but RAM is an
// error.
type Memory interface {
	ReadAt(p []byte, addr uint64) error
	WriteAt(p []byte, addr uint64) error
}

// File is a named item.
type File struct {
	Name string // 1 to 55 bytes
	Data []byte
}

// Config is the contents of a device. What New is given must not change
// afterwards.
type Config struct {
	Items map[Key][]byte
	Files []File
}

// Device is the device: a handler for Size ports at Base.
type Device struct {
	mem   Memory
	items map[Key][]byte // read-only

	mu       sync.Mutex
	selected []byte // guarded by mu: what is left of the selected item
	dmaHigh  uint32 // guarded by mu
}

// Layout of the directory: a count, then the entries.
const (
	entrySize   = 64
	entryName   = 8
	maxFileName = entrySize - entryName - 1 // a zero ends it
)

// New makes a device that transfers to and from mem.
func New(mem Memory, c Config) (*Device, error) {
	d := &Device{mem: mem, items: make(map[Key][]byte)}
	for key, data := range c.Items {
		d.items[key] = data
	}
	d.items[KeySignature] = []byte("QEMU")
	d.items[KeyID] = binary.LittleEndian.AppendUint32(nil, featureTraditional|featureDMA)

	files := slices.Clone(c.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	directory := binary.BigEndian.AppendUint32(nil, uint32(len(files)))
	for i, f := range files {
		if f.Name == "" || len(f.Name) > maxFileName {
			return nil, fmt.Errorf("fwcfg: file name %q: must have 1 to %d bytes", f.Name, maxFileName)
		}
		if i > 0 && files[i-1].Name == f.Name {
			return nil, fmt.Errorf("fwcfg: two files are called %q", f.Name)
		}
		key := KeyFirstFile + Key(i)
		if _, taken := d.items[key]; taken {
			return nil, fmt.Errorf("fwcfg: key %#x of file %q is taken", uint16(key), f.Name)
		}
		d.items[key] = f.Data
		entry := make([]byte, entrySize)
		binary.BigEndian.PutUint32(entry, uint32(len(f.Data)))
		binary.BigEndian.PutUint16(entry[4:], uint16(key))
		copy(entry[entryName:], f.Name)
		directory = append(directory, entry...)
	}
	d.items[KeyDirectory] = directory
	return d, nil
}

// Reset is the machine's reset.
func (d *Device) Reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.selected, d.dmaHigh = nil, 0
}

// Read answers a read from the port at off. Reads that no register answers are
// all ones.
func (d *Device) Read(off uint64, p []byte) {
	switch {
	case off == portData && len(p) == 1:
		d.mu.Lock()
		defer d.mu.Unlock()
		clear(p)
		d.selected = d.selected[copy(p, d.selected):]
	case off >= portDMAHigh && off+uint64(len(p)) <= Size:
		copy(p, dmaSignature[off-portDMAHigh:])
	default:
		for i := range p {
			p[i] = 0xFF
		}
	}
}

// Write takes a write to the port at off. It returns when a transfer that it
// started is over.
func (d *Device) Write(off uint64, p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case off == portSelector && len(p) == 2:
		d.selected = d.items[Key(binary.LittleEndian.Uint16(p))]
	case off == portDMAHigh && len(p) == 4:
		d.dmaHigh = binary.BigEndian.Uint32(p)
	case off == portDMALow && len(p) == 4:
		addr := uint64(d.dmaHigh)<<32 | uint64(binary.BigEndian.Uint32(p))
		d.dmaHigh = 0
		d.serve(addr)
	}
}
