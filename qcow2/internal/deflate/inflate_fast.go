package deflate

import "encoding/binary"

// In one round, fast reads no more than so many bytes of src, and writes no more of dst,
// even though it copies in words.
const (
	roundIn  = 3 * 8
	roundOut = 3*2 + maxMatch + 32
)

// fast decompresses what is not near the end of src or dst, where every step would have to
// be checked. It reports whether that was the end of the block.
func (r *bitReader) fast(dst []byte, done int, t *tables) (int, bool, error) {
	src, pos, acc, n := r.src, r.pos, r.acc, r.n
	lastPos, lastDone := len(src)-roundIn, len(dst)-roundOut
	ended := false
	var err error
	for pos <= lastPos && done <= lastDone {
		acc |= binary.LittleEndian.Uint64(src[pos:]) << (n & 63)
		pos += int(63-n) >> 3
		n |= 56
		e := t.literals[acc&(1<<literalBits-1)]
		// Three of these take 33 of 56 bits at most.
		if e&entryLiteral != 0 {
			binary.LittleEndian.PutUint16(dst[done:], uint16(e>>entryValue))
			done += 1 + int(e>>30&1)
			acc >>= e & 63
			n -= e.bits()
			e = t.literals[acc&(1<<literalBits-1)]
			if e&entryLiteral != 0 {
				binary.LittleEndian.PutUint16(dst[done:], uint16(e>>entryValue))
				done += 1 + int(e>>30&1)
				acc >>= e & 63
				n -= e.bits()
				e = t.literals[acc&(1<<literalBits-1)]
				if e&entryLiteral != 0 {
					binary.LittleEndian.PutUint16(dst[done:], uint16(e>>entryValue))
					done += 1 + int(e>>30&1)
					acc >>= e & 63
					n -= e.bits()
					continue
				}
			}
			acc |= binary.LittleEndian.Uint64(src[pos:]) << (n & 63)
			pos += int(63-n) >> 3
			n |= 56
		}
		if e&entryOther != 0 {
			if e&entrySub != 0 {
				acc >>= literalBits
				n -= literalBits
				e = t.literals[e.sub(acc)&(literalEntries-1)]
			}
			if e&entryLiteral != 0 {
				dst[done] = byte(e >> entryValue)
				done++
				acc >>= e & 63
				n -= e.bits()
				continue
			}
			if e&entryOther != 0 {
				if e&entryEnd == 0 {
					err = errSymbol
					break
				}
				acc >>= e & 63
				n -= e.bits()
				ended = true
				break
			}
		}
		length := e.extent(acc)
		acc >>= e & 63
		n -= e.bits()
		// A length takes 20 bits at most, a distance 28.
		e = t.dists[acc&(1<<distBits-1)]
		if e&entryOther != 0 {
			if e&entrySub == 0 {
				err = errSymbol
				break
			}
			acc >>= distBits
			n -= distBits
			e = t.dists[e.sub(acc)&(distEntries-1)]
			if e&entryOther != 0 {
				err = errSymbol
				break
			}
		}
		dist := e.extent(acc)
		acc >>= e & 63
		n -= e.bits()
		if dist > done {
			err = errDistance
			break
		}
		end := done + length
		if dist < 8 {
			// The first word byte by byte, from where on it is a period of 8 bytes or more.
			for i := range 8 {
				dst[done+i] = dst[done+i-dist]
			}
			done += 8
			dist *= (7 + dist) / dist
		}
		to, from := (*[16]byte)(dst[done:]), (*[16]byte)(dst[done-dist:])
		binary.LittleEndian.PutUint64(to[:8], binary.LittleEndian.Uint64(from[:8]))
		binary.LittleEndian.PutUint64(to[8:], binary.LittleEndian.Uint64(from[8:]))
		for done += 16; done < end; done += 16 {
			to, from := (*[16]byte)(dst[done:]), (*[16]byte)(dst[done-dist:])
			binary.LittleEndian.PutUint64(to[:8], binary.LittleEndian.Uint64(from[:8]))
			binary.LittleEndian.PutUint64(to[8:], binary.LittleEndian.Uint64(from[8:]))
		}
		done = end
	}
	r.pos, r.acc, r.n = pos, acc, n
	return done, ended, err
}
