package chipset

import "sync/atomic"

// ResetControl is the PIIX3's reset control register: a Handler for port 0xCF9.
type ResetControl struct {
	byteRegisters
	value atomic.Uint32
}

// Bits of the reset control register. A write that sets resetCPU resets the
// machine; whether hard (resetSystem) or soft makes no difference here.
const (
	resetSystem = 1 << 1
	resetCPU    = 1 << 2
)

// NewResetControl returns a register that calls reset when the guest asks for
// a reset.
func NewResetControl(reset func()) *ResetControl {
	r := &ResetControl{}
	r.read = func(uint64) byte { return byte(r.value.Load()) }
	r.write = func(_ uint64, v byte) {
		r.value.Store(uint32(v & resetSystem))
		if v&resetCPU != 0 {
			reset()
		}
	}
	return r
}

// Reset is the machine's reset.
func (r *ResetControl) Reset() { r.value.Store(0) }
