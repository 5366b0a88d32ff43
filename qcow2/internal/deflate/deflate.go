// Package deflate compresses and decompresses clusters of disk images. It makes raw
// deflate streams (RFC 1951) that refer back no further than 4 KiB, which is the window of
// the qcow2 format.
//
// The Encoder is made for that window: all matches that there are get looked at, also
// those of three bytes, which are short enough to be worth it so near. In it, what encoders
// for windows of 32 KiB pass over makes files a fifteenth larger.
//
// The Decoder reads any deflate stream, from memory into memory, whose sizes are known:
// that takes half the time of readers of files. It has the rules of zlib's inflate.
package deflate

import (
	"encoding/binary"
	"math/bits"
)

const (
	// Window is how far back a stream refers at most, in bytes.
	Window = 1 << 12

	minMatch = 3
	maxMatch = 258

	hashBits  = 13     // of four bytes
	shortBits = 12     // of three bytes
	chainLen  = Window // entries of prev: one for each position in the window
	lookahead = 4      // bytes that hashes are made of
)

// What bounds how hard the longest match is looked for: chain places are tried; with a match
// of lazy bytes in hand the next position is not, and one of nice bytes is long enough.
// So files are 1 to 2 % larger than zlib makes them, at half its time. Four times the
// effort makes them 1 % smaller.
const (
	chain = 4
	lazy  = 8
	nice  = 64
)

// Encoder compresses. It is not safe for concurrent use, and can be used again.
type Encoder struct {
	head   [1 << hashBits]int32  // last position with a hash of four bytes, plus 1; 0: none
	prev   [chainLen]int32       // the one before it, by position modulo chainLen, likewise
	short  [1 << shortBits]int32 // last position with a hash of three bytes, likewise
	tokens []token
	block  block
}

// token is a literal byte or, with tokenMatch set, length and distance of a match.
type token uint32

const (
	tokenMatch  token = 1 << 31
	tokenLength       = 16 // shift
)

func match(length, dist int) token { return tokenMatch | token(length)<<tokenLength | token(dist) }

// maxTokens is how many tokens a block has at most.
const maxTokens = 1 << 14

// Encode compresses src into dst[:0], which it does not grow: the result is nil if the
// stream takes more than cap(dst) bytes.
func (e *Encoder) Encode(dst, src []byte) []byte {
	clear(e.head[:])
	clear(e.short[:])
	if e.tokens == nil {
		e.tokens = make([]token, 0, maxTokens+1)
	}
	e.tokens = e.tokens[:0]
	w := bitWriter{buf: dst[:cap(dst)]}
	done := 0 // what is in blocks
	flush := func(end int, last bool) bool {
		ok := e.block.write(&w, e.tokens, src[done:end], last)
		e.tokens, done = e.tokens[:0], end
		return ok
	}
	var was, wasDist int // the match at pos-1, which may be given up for a longer one
	pending := false     // the byte at pos-1 has no token yet
	pos := 0
	for pos+lookahead <= len(src) {
		length, dist := 0, 0
		candidate, short := e.insert(src, pos)
		if was < lazy {
			length, dist = e.longest(src, pos, candidate, short, was)
		}
		switch {
		case was >= minMatch && length <= was: // the one before it is it
			e.tokens = append(e.tokens, match(was, wasDist))
			end := pos - 1 + was
			for pos++; pos < end; pos++ {
				if pos+lookahead <= len(src) {
					e.insert(src, pos)
				}
			}
			was, pending = 0, false
		default:
			if pending {
				e.tokens = append(e.tokens, token(src[pos-1]))
			}
			was, wasDist, pending = length, dist, true
			pos++
		}
		if len(e.tokens) >= maxTokens {
			end := pos
			if pending {
				end--
			}
			if !flush(end, false) {
				return nil
			}
		}
	}
	switch {
	case was >= minMatch:
		e.tokens = append(e.tokens, match(was, wasDist))
		pos += was - 1
	case pending:
		e.tokens = append(e.tokens, token(src[pos-1]))
	}
	for ; pos < len(src); pos++ {
		e.tokens = append(e.tokens, token(src[pos]))
	}
	if !flush(len(src), true) {
		return nil
	}
	return w.end()
}

// insert enters a position, behind which there are lookahead bytes, and returns the last
// ones, plus 1, with the same hash of four bytes and of three.
func (e *Encoder) insert(src []byte, pos int) (candidate, short int32) {
	const factor = 0x9e3779b1
	v := binary.LittleEndian.Uint32(src[pos:])
	h, k := v*factor>>(32-hashBits), v<<8*factor>>(32-shortBits)
	candidate, short = e.head[h], e.short[k]
	e.prev[pos&(chainLen-1)] = candidate
	e.head[h], e.short[k] = int32(pos)+1, int32(pos)+1
	return candidate, short
}

// longest finds the longest match at pos, among the positions that candidate is the
// last of, and the one of short, if it is longer than best.
func (e *Encoder) longest(src []byte, pos int, candidate, short int32, best int) (length, dist int) {
	room := min(maxMatch, len(src)-pos)
	if best >= room {
		return 0, 0
	}
	here := src[pos : pos+room]
	want := binary.LittleEndian.Uint32(here)
	if at := int(short) - 1; best < minMatch && short > 0 && pos-at <= Window &&
		(binary.LittleEndian.Uint32(src[at:])^want)<<8 == 0 {
		best, length, dist = minMatch, minMatch, pos-at
	}
	last := here[best]
	for tries := chain; candidate > 0 && tries > 0; tries-- {
		at := int(candidate) - 1
		if pos-at > Window {
			break
		}
		if there := src[at : at+room]; binary.LittleEndian.Uint32(there) == want && (best < lookahead || there[best] == last) {
			if n := lookahead + common(there[lookahead:], here[lookahead:]); n > best {
				best, length, dist = n, n, pos-at
				if n >= nice || n == room {
					break
				}
				last = here[best]
			}
		}
		if pos-at == Window {
			break // what is before it in the chain is another one
		}
		candidate = e.prev[at&(chainLen-1)]
	}
	return length, dist
}

// common is how many bytes a and b, of one length, have in common.
func common(a, b []byte) int {
	n := 0
	for len(a) >= 8 && len(b) >= 8 {
		if x := binary.LittleEndian.Uint64(a) ^ binary.LittleEndian.Uint64(b); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		a, b, n = a[8:], b[8:], n+8
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return n + i
		}
	}
	return n + len(a)
}
