package pci

import (
	"math/bits"
	"sync"
)

// Registers and bits of the MSI capability (PCI 6.8.1), offsets from its start.
const (
	msiControl  = 2
	msiEnable   = 1 << 0
	msi64       = 1 << 7
	msiAddress  = 4
	msiHigh     = 8 // with a 64-bit address; the data register follows
	msiData32   = 8
	msiData64   = 12
	msiCapShift = 1 // log2 of the messages that the function has
	msiOnShift  = 4 // log2 of the messages that the guest granted
	msiOnMask   = 0x7
	msiMaxLog   = 5
)

// msi is what an MSI capability tells: a copy of its registers that messages
// are sent from without the configuration's lock.
type msi struct {
	off     int // of the capability in configuration space
	vectors int
	addr64  bool

	mu      sync.Mutex
	addr    uint64 // guarded by mu
	data    uint32 // guarded by mu
	granted uint32 // guarded by mu: messages that the guest allows, a power of two
	pending uint32 // guarded by mu: messages that wait for bus mastering
}

// AddMSI appends an MSI capability for vectors messages (1, 2, 4, 8, 16 or 32)
// with 32-bit or 64-bit addresses.
func (f *Function) AddMSI(off, vectors int, addr64 bool) {
	if vectors < 1 || vectors > 1<<msiMaxLog || vectors&(vectors-1) != 0 {
		f.fail("MSI cannot have %d messages", vectors)
		return
	}
	control := uint8(bits.Len(uint(vectors))-1) << msiCapShift
	body := []byte{control, 0, 0, 0, 0, 0, 0, 0}
	writable := []byte{msiEnable | msiOnMask<<msiOnShift, 0, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	if addr64 {
		body[0] |= msi64
		body = append(body, 0, 0, 0, 0)
		writable = append(writable, 0xFF, 0xFF, 0xFF, 0xFF)
	}
	f.AddCapability(off, capMSI, body, writable)
	if f.err == nil {
		f.msi = &msi{off: off, vectors: vectors, addr64: addr64, granted: 1}
	}
}

// latch takes over the registers and sends what may be sent now.
//
// Preconditions: f.mu is held.
func (m *msi) latch(f *Function) {
	granted := f.cfg.uint16At(m.off+msiControl) >> msiOnShift & msiOnMask
	addr, data := uint64(f.cfg.uint32At(m.off+msiAddress)), msiData32
	if m.addr64 {
		addr |= uint64(f.cfg.uint32At(m.off+msiHigh)) << 32
		data = msiData64
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addr, m.data = addr, uint32(f.cfg.uint16At(m.off+data))
	m.granted = min(1<<granted, uint32(m.vectors))
	if !f.openGates().has(gateMSI | gateMaster) {
		return
	}
	for ; m.pending != 0; m.pending &= m.pending - 1 {
		m.send(f, uint32(bits.TrailingZeros32(m.pending)))
	}
}

func (m *msi) signal(f *Function, n int) bool {
	if n < 0 || n >= m.vectors {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	g := f.openGates()
	if !g.has(gateMSI) {
		return false
	}
	if !g.has(gateMaster) {
		m.pending |= 1 << n
		return true
	}
	m.send(f, uint32(n))
	return true
}

// send sends message n, whose number replaces the low bits of the data.
//
// Preconditions: m.mu is held.
func (m *msi) send(f *Function, n uint32) {
	low := m.granted - 1
	f.send(m.addr, m.data&^low|n&low)
}

func (m *msi) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = 0
}
