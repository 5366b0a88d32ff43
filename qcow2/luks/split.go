package luks

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

// Anti-forensic splitting: a key becomes stripes as long as itself, and losing
// any one of them loses the key.

// split returns the stripes of a key, after one another.
func split(key []byte, newHash func() hash.Hash) []byte {
	n := len(key)
	out := make([]byte, n*stripes)
	_, _ = rand.Read(out[:n*(stripes-1)]) // it never fails
	last := out[n*(stripes-1):]
	subtle.XORBytes(last, key, fold(out[:n*(stripes-1)], n, newHash()))
	return out
}

// merge returns the key of n bytes that stripes were made of.
func merge(material []byte, n int, newHash func() hash.Hash) []byte {
	key := fold(material[:n*(stripes-1)], n, newHash())
	subtle.XORBytes(key, key, material[n*(stripes-1):n*stripes])
	return key
}

// fold mixes whole stripes of n bytes into one.
func fold(material []byte, n int, h hash.Hash) []byte {
	acc := make([]byte, n)
	for ; len(material) >= n; material = material[n:] {
		subtle.XORBytes(acc, acc, material[:n])
		diffuse(acc, h)
	}
	return acc
}

// diffuse replaces b, piece by piece of the hash's size, by hashes of the
// piece's number and the piece.
func diffuse(b []byte, h hash.Hash) {
	var sum [64]byte
	for i := uint32(0); len(b) > 0; i++ {
		piece := b[:min(len(b), h.Size())]
		h.Reset()
		_ = binary.Write(h, binary.BigEndian, i) // a hash takes all
		_, _ = h.Write(piece)
		copy(piece, h.Sum(sum[:0]))
		b = b[len(piece):]
	}
}
