package pci

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// Registers and bits of the MSI-X capability and its table (PCI 6.8.2).
const (
	msixControl    = 2
	msixEnable     = 1 << 15
	msixMask       = 1 << 14
	msixMaxVectors = 2048

	msixEntrySize  = 16 // address u64, data u32, vector control u32
	msixVectorMask = 1 << 0
)

// msix is the state of an MSI-X capability.
type msix struct {
	off     int // of the capability in configuration space
	vectors []vector
	pending []atomic.Uint64 // the pending bit array; a bit is set under its vector's mu
}

// vector is an entry of the MSI-X table.
type vector struct {
	mu     sync.Mutex
	addr   uint64 // guarded by mu
	data   uint32 // guarded by mu
	masked bool   // guarded by mu
}

// AddMSIX appends an MSI-X capability for vectors messages (1 to 2048). Its table
// (16 bytes a message) and its pending bits (8 bytes for each 64 messages) lie at
// the given offsets, multiples of 8, of memory BAR bar, which must have been
// added. There they hide the BAR's own Region.
func (f *Function) AddMSIX(off, vectors, bar int, tableOff, pbaOff uint64) {
	if vectors < 1 || vectors > msixMaxVectors {
		f.fail("MSI-X cannot have %d messages", vectors)
		return
	}
	if bar < 0 || bar >= len(f.bars) || f.bars[bar] == nil || f.bars[bar].kind.isIO() {
		f.fail("MSI-X table in BAR %d, which is not a memory BAR", bar)
		return
	}
	m := &msix{
		off:     off,
		vectors: make([]vector, vectors),
		pending: make([]atomic.Uint64, (vectors+63)/64),
	}
	m.reset()
	w := &f.bars[bar].window
	table := span{tableOff, uint64(vectors) * msixEntrySize}
	pba := span{pbaOff, uint64(len(m.pending)) * 8}
	if !table.within(w.size) || !pba.within(w.size) || table.overlaps(pba) ||
		tableOff%8 != 0 || pbaOff%8 != 0 {
		f.fail("MSI-X table at %#x and pending bits at %#x do not fit BAR %d", tableOff, pbaOff, bar)
		return
	}
	var body [10]byte
	binary.LittleEndian.PutUint16(body[0:], uint16(vectors-1))
	binary.LittleEndian.PutUint32(body[2:], uint32(tableOff)|uint32(bar))
	binary.LittleEndian.PutUint32(body[6:], uint32(pbaOff)|uint32(bar))
	f.AddCapability(off, capMSIX, body[:], []byte{0, (msixEnable | msixMask) >> 8})
	if f.err != nil {
		return
	}
	f.msix = m
	w.region = &msixWindow{f: f, msix: m, table: table, pba: pba, under: w.region}
}

func (m *msix) signal(f *Function, n int) bool {
	if n < 0 || n >= len(m.vectors) {
		return false
	}
	v := &m.vectors[n]
	v.mu.Lock()
	defer v.mu.Unlock()
	g := f.openGates()
	if !g.has(gateMSIX) {
		return false
	}
	if v.masked || !g.has(gateUnmasked|gateMaster) {
		m.pending[n/64].Or(1 << (n % 64))
		return true
	}
	f.send(v.addr, v.data)
	return true
}

// sendPending sends the messages whose reason to wait is gone, and waits until
// no message is being sent under the gates that were open before.
func (m *msix) sendPending(f *Function) {
	for n := range m.vectors {
		v := &m.vectors[n]
		v.mu.Lock()
		m.release(f, n)
		v.mu.Unlock()
	}
}

// release sends message n if it is pending and nothing keeps it.
//
// Preconditions: the vector's mu is held.
func (m *msix) release(f *Function, n int) {
	v, bit := &m.vectors[n], uint64(1)<<(n%64)
	if v.masked || m.pending[n/64].Load()&bit == 0 ||
		!f.openGates().has(gateMSIX|gateUnmasked|gateMaster) {
		return
	}
	m.pending[n/64].And(^bit)
	f.send(v.addr, v.data)
}

// reset masks all vectors and forgets what is pending.
func (m *msix) reset() {
	for n := range m.vectors {
		v := &m.vectors[n]
		v.mu.Lock()
		v.addr, v.data, v.masked = 0, 0, true
		m.pending[n/64].And(^(uint64(1) << (n % 64)))
		v.mu.Unlock()
	}
}
