package ioverify

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// BlockSize is the unit of the pattern, in bytes: the smallest that a disk
// writes at once, so that every tear and every misplaced block shows.
const BlockSize = 512

// A block of the pattern, integers little-endian:
//
//	offset  size  field
//	0       4     magic "gvIO"
//	4       4     generation
//	8       8     seed
//	16      8     block number on the device
//	24      488   pseudo-random words that follow from the three
var blockMagic = []byte("gvIO")

const blockHeader = 24

// fill writes generation gen of the given block into p, BlockSize bytes long.
func fill(p []byte, seed, block uint64, gen uint32) {
	copy(p, blockMagic)
	binary.LittleEndian.PutUint32(p[4:], gen)
	binary.LittleEndian.PutUint64(p[8:], seed)
	binary.LittleEndian.PutUint64(p[16:], block)
	state := mix(seed ^ mix(block^mix(uint64(gen))))
	for i := blockHeader; i < BlockSize; i += 8 {
		// Marsaglia's xorshift: cheap, and never stuck as state is not zero.
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		binary.LittleEndian.PutUint64(p[i:], state)
	}
}

// mix spreads the bits of x (the finalizer of MurmurHash3) and is never zero.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x | 1
}

// check compares a block with generation gen; generation 0 is a block that was
// never written and holds zeroes. The error says what is there instead.
func check(p []byte, seed, block uint64, gen uint32) error {
	var want [BlockSize]byte
	if gen != 0 {
		fill(want[:], seed, block, gen)
	}
	if bytes.Equal(p, want[:]) {
		return nil
	}
	return fmt.Errorf("block %d (byte %#x): want generation %d, found %s",
		block, block*BlockSize, gen, describe(p, seed, block, gen))
}

func describe(p []byte, seed, block uint64, gen uint32) string {
	var other [BlockSize]byte
	if bytes.Equal(p, other[:]) {
		return "zeroes"
	}
	if !bytes.HasPrefix(p, blockMagic) {
		return fmt.Sprintf("other data: % x ...", p[:16])
	}
	foundGen := binary.LittleEndian.Uint32(p[4:])
	foundSeed := binary.LittleEndian.Uint64(p[8:])
	foundBlock := binary.LittleEndian.Uint64(p[16:])
	fill(other[:], foundSeed, foundBlock, foundGen)
	for i := range other {
		if p[i] != other[i] {
			return fmt.Sprintf("generation %d of block %d torn from byte %d on", foundGen, foundBlock, i)
		}
	}
	switch {
	case foundSeed != seed:
		return fmt.Sprintf("block %d of another run (seed %d)", foundBlock, foundSeed)
	case foundBlock != block:
		return fmt.Sprintf("misplaced block %d (generation %d)", foundBlock, foundGen)
	default:
		return fmt.Sprintf("generation %d", foundGen)
	}
}
