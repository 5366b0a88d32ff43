package chipset

import "sync/atomic"

// Port92 is system control port A: a Handler for port 0x92. The A20 gate can be
// set and read back, but memory does not wrap around without it.
type Port92 struct {
	byteRegisters
	value atomic.Uint32
}

// Bits of system control port A.
const (
	port92Init = 1 << 0 // setting it resets the processor
	port92A20  = 1 << 1
)

// NewPort92 returns a port that calls reset when the guest sets its INIT bit.
func NewPort92(reset func()) *Port92 {
	p := &Port92{}
	p.Reset()
	p.read = func(uint64) byte { return byte(p.value.Load()) }
	p.write = func(_ uint64, v byte) {
		old := p.value.Swap(uint32(v))
		if v&^byte(old)&port92Init != 0 {
			reset()
		}
	}
	return p
}

// Reset is the machine's reset.
func (p *Port92) Reset() { p.value.Store(port92A20) }
