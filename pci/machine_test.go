package pci_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/govmm/govmm/pci"
)

var _ pci.Interrupt = (*pci.Function)(nil)

// machine is a Platform that records what a bus does to it, and a guest's way to
// the bus. Nothing may collide in its address spaces.
type machine struct {
	bus   *pci.Bus
	ports pci.Region // configuration mechanism 1

	mu       sync.Mutex
	memory   []mapping
	io       []mapping
	lines    map[int]bool
	messages []message
}

type mapping struct {
	base, size uint64
	region     pci.Region
}

type message struct {
	addr uint64
	data uint32
}

// newMachine wires pin p of slot s to GSI 16 + (s+p) mod 8.
func newMachine() *machine {
	m := &machine{lines: make(map[int]bool)}
	m.bus = pci.NewBus(m, func(slot, pin int) int { return 16 + (slot+pin)&7 })
	m.ports = m.bus.ConfigMechanism1(nil)
	return m
}

func (m *machine) SetIRQ(gsi int, asserted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines[gsi] = asserted
}

func (m *machine) SendMSI(addr uint64, data uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = append(m.messages, message{addr, data})
	return nil
}

func (m *machine) MapMMIO(base, size uint64, r pci.Region) error {
	return m.enter(&m.memory, mapping{base, size, r})
}
func (m *machine) MapPort(base, size uint64, r pci.Region) error {
	return m.enter(&m.io, mapping{base, size, r})
}
func (m *machine) UnmapMMIO(base, size uint64) { m.leave(&m.memory, base, size) }
func (m *machine) UnmapPort(base, size uint64) { m.leave(&m.io, base, size) }

func (m *machine) enter(space *[]mapping, n mapping) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range *space {
		if n.base < o.base+o.size && o.base < n.base+n.size {
			return errors.New("collision")
		}
	}
	*space = append(*space, n)
	return nil
}

func (m *machine) leave(space *[]mapping, base, size uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(*space, func(o mapping) bool { return o.base == base && o.size == size })
	if i < 0 {
		panic("a range was unmapped that is not mapped")
	}
	*space = slices.Delete(*space, i, i+1)
}

// at is the Region that answers an address, and the offset in it.
func (m *machine) at(space *[]mapping, addr uint64) (pci.Region, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range *space {
		if addr >= o.base && addr-o.base < o.size {
			return o.region, addr - o.base
		}
	}
	return nil, 0
}

func (m *machine) line(gsi int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lines[gsi]
}

// sent returns the messages since the last call.
func (m *machine) sent() []message {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.messages
	m.messages = nil
	return list
}

// read32 and write32 access memory; without anybody there a read gives ones.
func (m *machine) read32(addr uint64) uint32 {
	r, off := m.at(&m.memory, addr)
	if r == nil {
		return 0xFFFFFFFF
	}
	var p [4]byte
	r.Read(off, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

func (m *machine) write32(addr uint64, v uint32) {
	if r, off := m.at(&m.memory, addr); r != nil {
		r.Write(off, binary.LittleEndian.AppendUint32(nil, v))
	}
}

// device is a place as a guest's driver sees it: through mechanism 1.
type device struct {
	m    *machine
	slot int
	fn   int
}

func (d device) selectReg(reg int) uint64 {
	address := uint32(1<<31 | d.slot<<11 | d.fn<<8 | reg&0xFC)
	d.m.ports.Write(0, binary.LittleEndian.AppendUint32(nil, address))
	return uint64(4 + reg&3)
}

func (d device) read(reg, size int) uint32 {
	var p [4]byte
	d.m.ports.Read(d.selectReg(reg), p[:size])
	return binary.LittleEndian.Uint32(p[:])
}

func (d device) write(reg, size int, v uint32) {
	p := binary.LittleEndian.AppendUint32(nil, v)
	d.m.ports.Write(d.selectReg(reg), p[:size])
}

// Registers and bits that the tests use, from the specifications.
const (
	command = 0x04
	status  = 0x06
	bar0    = 0x10
	bar1    = 0x14
	bar2    = 0x18

	cmdIO     = 1 << 0
	cmdMemory = 1 << 1
	cmdMaster = 1 << 2
	cmdNoINTx = 1 << 10
)

// scratch is a Region of plain bytes.
type scratch struct {
	mu   sync.Mutex
	data [0x4000]byte
}

func (s *scratch) Read(off uint64, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(p, s.data[off:])
}

func (s *scratch) Write(off uint64, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(s.data[off:], p)
}

// Offsets of what newController's function has.
const (
	pmCap, expressCap, msiCap, msixCap = 0x50, 0x68, 0xA8, 0xC0
	msixTable, msixPBA, msixVectors    = 0x2000, 0x3800, 15
)

// newController is a function like a storage controller's: ports, registers in
// 64-bit memory with an MSI-X table, and every capability.
func newController() *pci.Function {
	f := pci.NewFunction(pci.Config{
		Name: "controller", Vendor: 0x1000, Device: 0x0079, SubVendor: 0x1000, SubDevice: 0x9261,
		Class: 0x010400, Revision: 5, InterruptPin: 1,
	})
	f.AddBAR(0, pci.IO, 256, new(scratch))
	f.AddBAR(1, pci.Mem64, 0x4000, new(scratch))
	f.AddBAR(3, pci.Mem64, 0x40000, nil)
	f.AddPowerManagement(pmCap)
	f.AddExpress(expressCap, pci.Express{
		MaxPayload: 4096, LinkSpeed: 2, LinkWidth: 8, FunctionReset: true,
	})
	f.AddMSI(msiCap, 1, true)
	f.AddMSIX(msixCap, msixVectors, 1, msixTable, msixPBA)
	return f
}

// attach puts f into function 0 of a slot.
func attach(t *testing.T, m *machine, slot int, f *pci.Function) device {
	t.Helper()
	if err := m.bus.Attach(slot, 0, f); err != nil {
		t.Fatal(err)
	}
	return device{m, slot, 0}
}
