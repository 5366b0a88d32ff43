package luks

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
)

// xts does one sector in XTS mode (IEEE 1619).
func (c *Cipher) xts(s *scratch, dst, src []byte, sector uint64, encrypt bool) {
	c.setIV(s, sector)
	c.tweak.Encrypt(s.iv[:], s.iv[:])
	expandTweaks(&s.sector, &s.iv)
	if c.fast != nil {
		c.fast.xts(dst, src, &s.sector, encrypt)
		return
	}
	subtle.XORBytes(dst, src, s.sector[:])
	c.blocks(dst, dst, encrypt)
	subtle.XORBytes(dst, dst, s.sector[:])
}

// expandTweaks lists the tweaks of all blocks of a sector: each is the one
// before times x in the field of 2^128 elements that XTS defines.
func expandTweaks(list *[SectorSize]byte, first *[aes.BlockSize]byte) {
	le := binary.LittleEndian
	lo, hi := le.Uint64(first[:]), le.Uint64(first[8:])
	for i := 0; i < SectorSize; i += aes.BlockSize {
		le.PutUint64(list[i:], lo)
		le.PutUint64(list[i+8:], hi)
		carry := uint64(int64(hi)>>63) & 0x87
		hi = hi<<1 | lo>>63
		lo = lo<<1 ^ carry
	}
}
