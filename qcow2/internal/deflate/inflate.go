package deflate

import (
	"encoding/binary"
	"errors"
	"io"
)

// What a stream can be refused for; one that ends too early is io.ErrUnexpectedEOF.
var (
	errBlockKind  = errors.New("block of the reserved kind")
	errStored     = errors.New("the length of a stored block is not what its complement says")
	errCounts     = errors.New("more codes than there are symbols")
	errCode       = errors.New("more codes of a length than there can be")
	errIncomplete = errors.New("incomplete code")
	errRepeat     = errors.New("code length repeated before the first or behind the last")
	errNoEnd      = errors.New("no code for the end of the block")
	errSymbol     = errors.New("bits that are no code, or the code of no symbol")
	errDistance   = errors.New("distance to before the beginning")
	errFewerBytes = errors.New("the stream has fewer bytes than are wanted")
)

// Decoder decompresses. It is not safe for concurrent use, and can be used again.
type Decoder struct {
	own     tables // of the block that is being read
	builder builder
}

// Decode fills dst from the stream that src begins with. What comes once dst is full is
// not looked at; distances may be as far as the format has them, 32 KiB, as in all
// readers that keep what they wrote in one piece.
func (d *Decoder) Decode(dst, src []byte) error {
	r := bitReader{src: src}
	for done := 0; done < len(dst); {
		r.refill()
		if r.n < 3 {
			return io.ErrUnexpectedEOF
		}
		last, kind := r.acc&1 != 0, r.acc>>1&3
		r.drop(3)
		var err error
		switch kind {
		case 0:
			done, err = r.stored(dst, done)
		case 1:
			done, err = r.block(dst, done, fixedTables())
		case 2:
			if err = d.builder.read(&r, &d.own); err == nil {
				done, err = r.block(dst, done, &d.own)
			}
		default:
			err = errBlockKind
		}
		if err != nil {
			return err
		}
		if last && done < len(dst) {
			return errFewerBytes
		}
	}
	return nil
}

// bitReader reads bits, the lowest first.
type bitReader struct {
	src []byte
	pos int    // bytes of src that are in acc, or were
	acc uint64 // bits to come; those above n are as in src, or zero
	n   uint   // how many
}

// refill makes n at least 56, or all that there is.
func (r *bitReader) refill() {
	if len(r.src)-r.pos >= 8 {
		r.acc |= binary.LittleEndian.Uint64(r.src[r.pos:]) << (r.n & 63)
		r.pos += int(63-r.n) >> 3
		r.n |= 56
		return
	}
	for r.n < 56 && r.pos < len(r.src) {
		r.acc |= uint64(r.src[r.pos]) << r.n
		r.pos++
		r.n += 8
	}
}

// drop passes over n bits. Preconditions: there are as many.
func (r *bitReader) drop(n uint) {
	r.acc >>= n & 63
	r.n -= n
}

// stored copies a stored block to dst from done on, and returns what is done then.
func (r *bitReader) stored(dst []byte, done int) (int, error) {
	r.pos -= int(r.n >> 3) // what is left of a byte is passed over
	r.acc, r.n = 0, 0
	if len(r.src)-r.pos < 4 {
		return done, io.ErrUnexpectedEOF
	}
	head := binary.LittleEndian.Uint32(r.src[r.pos:])
	size := int(head & 0xffff)
	if head>>16 != ^head&0xffff {
		return done, errStored
	}
	r.pos += 4
	n := copy(dst[done:], r.src[r.pos:min(r.pos+size, len(r.src))])
	r.pos += n
	if done += n; n < size && done < len(dst) {
		return done, io.ErrUnexpectedEOF
	}
	return done, nil
}

// block decompresses a block to dst from done on, and returns what is done then: up to
// its end, or all of dst.
func (r *bitReader) block(dst []byte, done int, t *tables) (int, error) {
	for {
		var ended bool
		var err error
		if done, ended, err = r.fast(dst, done, t); ended || err != nil {
			return done, err
		}
		if done, ended, err = r.careful(dst, done, t); ended || err != nil {
			return done, err
		}
	}
}

// careful decompresses one literal or match, near the end of src or dst. It reports
// whether that was the end of the block, or dst is full.
func (r *bitReader) careful(dst []byte, done int, t *tables) (int, bool, error) {
	r.refill()
	e := t.literals[r.acc&(1<<literalBits-1)]
	if e&entrySub != 0 {
		if r.n < literalBits {
			return done, false, io.ErrUnexpectedEOF
		}
		r.drop(literalBits)
		e = t.literals[e.sub(r.acc)&(literalEntries-1)]
	}
	if e&entryLiteral != 0 {
		if r.n < e.first() {
			return done, false, io.ErrUnexpectedEOF
		}
		r.drop(e.first())
		dst[done] = byte(e >> entryValue)
		return done + 1, done+1 == len(dst), nil
	}
	if r.n < e.bits() {
		return done, false, io.ErrUnexpectedEOF
	}
	if e&entryOther != 0 {
		if e&entryEnd == 0 {
			return done, false, errSymbol
		}
		r.drop(e.bits())
		return done, true, nil
	}
	length := e.extent(r.acc)
	r.drop(e.bits())
	r.refill()
	e = t.dists[r.acc&(1<<distBits-1)]
	if e&entrySub != 0 {
		if r.n < distBits {
			return done, false, io.ErrUnexpectedEOF
		}
		r.drop(distBits)
		e = t.dists[e.sub(r.acc)&(distEntries-1)]
	}
	if r.n < e.bits() {
		return done, false, io.ErrUnexpectedEOF
	}
	if e&entryOther != 0 {
		return done, false, errSymbol
	}
	dist := e.extent(r.acc)
	r.drop(e.bits())
	if dist > done {
		return done, false, errDistance
	}
	end := min(done+length, len(dst))
	for ; done < end; done++ {
		dst[done] = dst[done-dist]
	}
	return done, done == len(dst), nil
}
