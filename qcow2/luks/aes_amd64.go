package luks

import (
	"encoding/binary"
	"math/bits"
	"sync"
)

// aesKeys are the round keys of AES for the processor's own instructions, to do
// eight blocks at a time: the blocks of a sector don't depend on each other, and
// crypto/aes does them one by one.
type aesKeys struct {
	enc, dec [15 * 4]uint32
	rounds   int
}

// hasAES reports whether the processor has AES, and SSE4.1. It is asked when there is a key, and
// not at every start of a program: to a virtual machine each question is an exit.
var hasAES = sync.OnceValue(func() bool {
	const sse41, aes = 1 << 19, 1 << 25 // of leaf 1 in ECX
	return cpuFeatures()&(sse41|aes) == sse41|aes
})

// newAESKeys expands a key (FIPS 197, section 5.2); nil without the processor's
// instructions.
func newAESKeys(key []byte) *aesKeys {
	if !hasAES() {
		return nil
	}
	nk := len(key) / 4
	k := &aesKeys{rounds: nk + 6}
	w := k.enc[:4*(k.rounds+1)]
	for i := range nk {
		w[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	rcon := uint32(1)
	for i := nk; i < len(w); i++ {
		t := w[i-1]
		switch {
		case i%nk == 0:
			t = subWord(bits.RotateLeft32(t, -8)) ^ rcon
			rcon = rcon<<1 ^ rcon>>7*0x11b
		case nk > 6 && i%nk == 4:
			t = subWord(t)
		}
		w[i] = w[i-nk] ^ t
	}
	invertKeys(&k.dec[0], &k.enc[0], k.rounds)
	return k
}

// xts does dst = tweaks ^ AES(src ^ tweaks) for the blocks of a sector.
func (k *aesKeys) xts(dst, src []byte, tweaks *[SectorSize]byte, encrypt bool) {
	_, _ = dst[:SectorSize], src[:SectorSize]
	if encrypt {
		encryptXTS(&k.enc[0], k.rounds, &dst[0], &src[0], &tweaks[0])
	} else {
		decryptXTS(&k.dec[0], k.rounds, &dst[0], &src[0], &tweaks[0])
	}
}

// cpuFeatures is what CPUID says in ECX of leaf 1, which all processors of 64 bits have.
//
//go:noescape
func cpuFeatures() uint32

// subWord applies the S-box to each byte of a word.
//
//go:noescape
func subWord(w uint32) uint32

// invertKeys makes the round keys of decryption from those of encryption.
//
//go:noescape
func invertKeys(dec, enc *uint32, rounds int)

// encryptXTS and decryptXTS do the 32 blocks of a sector; keys has 4*(rounds+1)
// words.
//
//go:noescape
func encryptXTS(keys *uint32, rounds int, dst, src, tweaks *byte)

//go:noescape
func decryptXTS(keys *uint32, rounds int, dst, src, tweaks *byte)
