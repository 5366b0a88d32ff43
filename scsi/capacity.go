package scsi

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// lastBlock returns the address of the last logical block. A medium that shrank
// to nothing has none.
func (u *Unit) lastBlock() (uint64, Sense) {
	n := u.Blocks()
	if n == 0 {
		return 0, Sense{Key: KeyNotReady, Code: ASCMediumNotPresent}
	}
	return n - 1, Sense{}
}

// readCapacity10 is READ CAPACITY(10) (SBC-3).
func readCapacity10(u *Unit, c *Command) Sense {
	last, s := u.lastBlock()
	if !s.OK() {
		return s
	}
	var b [8]byte
	binary.BigEndian.PutUint32(b[0:], uint32(min(last, math.MaxUint32)))
	binary.BigEndian.PutUint32(b[4:], u.config.BlockSize)
	return c.reply(b[:], uint32(len(b)))
}

// readCapacity16 is READ CAPACITY(16) (SBC-3).
func readCapacity16(u *Unit, c *Command) Sense {
	last, s := u.lastBlock()
	if !s.OK() {
		return s
	}
	var b [32]byte
	binary.BigEndian.PutUint64(b[0:], last)
	binary.BigEndian.PutUint32(b[8:], u.config.BlockSize)
	// Logical blocks per physical block exponent.
	b[13] = byte(bits.TrailingZeros32(u.config.PhysicalBlockSize / u.config.BlockSize))
	if canUnmap(u) {
		b[14] |= 0x80 // LBPME
		if u.medium.DiscardZeroes() {
			b[14] |= 0x40 // LBPRZ
		}
	}
	return c.reply(b[:], binary.BigEndian.Uint32(c.CDB[10:]))
}
