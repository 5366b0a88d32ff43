package deflate

import (
	"io"
	"math/bits"
	"sync"
)

// Tables are looked up by the next bits of a stream. Codes that are longer have a second
// table, behind the first, for those that begin alike.
const (
	literalBits    = 11
	literalEntries = 1 << 12 // what 288 codes of 15 bits take at most is 2342 (zlib's examples/enough.c)
	distBits       = 8
	distEntries    = 1 << 9 // 402 for 32 codes, likewise
)

// tables are those of a block.
type tables struct {
	literals [literalEntries]entry
	dists    [distEntries]entry
}

// entry says what bits mean. The lowest byte is how many they are.
//
// Of one or two literals, bits 8 to 23 are the bytes, and the first one's code has as many
// bits as 24 to 27 say. Of a length or distance, bits 8 to 11 are the bits of its code, which
// extra bits follow, and those from 12 on are what they are added to. Of a second table, bits
// 8 to 11 are those that it is looked up by, and those from 12 on say where it is.
type entry uint32

const (
	entryLiteral entry = 1 << 31
	entryTwo     entry = 1 << 30 // with entryLiteral: there is a second
	entryOther   entry = 1 << 29 // neither literal, length nor distance
	entrySub     entry = 1 << 28 // a second table; with entryOther
	entryEnd     entry = 1 << 27 // the end of a block; with entryOther

	entryValue = 8  // shift of literals
	entryCode  = 8  // shift of the bits of a code
	entryFirst = 24 // shift of the bits of a first literal's code
	entryBase  = 12 // shift of what extra bits are added to
)

// bits is how many bits e is.
func (e entry) bits() uint { return uint(e & 0xff) }

// first is how many bits the first literal is.
func (e entry) first() uint { return uint(e >> entryFirst & 15) }

// sub is which entry of all follows, by the bits behind those of e.
func (e entry) sub(acc uint64) uint {
	return uint(e>>entryBase&0x7fff) + uint(acc&(1<<(e>>entryCode&15)-1))
}

// extra is what the extra bits say.
func (e entry) extra(acc uint64) int { return int(acc & (1<<(e&63) - 1) >> (e >> entryCode & 15)) }

// extent is a length or distance.
func (e entry) extent(acc uint64) int { return int(e>>entryBase&0x7fff) + e.extra(acc) }

// meaning is what a symbol's entry has beside its code; its lowest byte is how many extra
// bits there are.
type meaning = entry

// meaningOfLiteral is that of a symbol of literals and lengths.
func meaningOfLiteral(symbol int) meaning {
	switch {
	case symbol < endOfBlock:
		return entryLiteral | entry(symbol)<<entryValue
	case symbol == endOfBlock:
		return entryOther | entryEnd
	case symbol == numLiterals-1:
		return maxMatch << entryBase
	case symbol >= numLiterals:
		return entryOther
	}
	i := symbol - firstLength
	extra := max(0, i/4-1)
	base := minMatch + i
	if extra > 0 {
		base = minMatch + (4+i%4)<<extra
	}
	return entry(base)<<entryBase | entry(extra)
}

// meaningOfDist is that of a symbol of distances.
func meaningOfDist(symbol int) meaning {
	if symbol >= numDists {
		return entryOther
	}
	extra := max(0, symbol/2-1)
	base := 1 + symbol
	if extra > 0 {
		base = 1 + (2+symbol%2)<<extra
	}
	return entry(base)<<entryBase | entry(extra)
}

// coded is the entry of a symbol whose code has n bits behind those that were looked at.
func (m meaning) coded(n uint) entry {
	switch {
	case m&entryLiteral != 0:
		return m | entry(n)<<entryFirst | entry(n)
	case m&entryOther != 0:
		return m | entry(n)
	}
	return m + entry(n) | entry(n)<<entryCode
}

// allSymbols is how many symbols fixed codes have, two more of each than mean anything.
const (
	allLiterals = 288
	allDists    = 32
)

var meanings = sync.OnceValue(func() *meaningTables {
	m := new(meaningTables)
	for i := range m.literals {
		m.literals[i] = meaningOfLiteral(i)
	}
	for i := range m.dists {
		m.dists[i] = meaningOfDist(i)
	}
	for i := range m.lens {
		m.lens[i] = meaning(i) << entryBase
	}
	m.lens[repeatLast] |= 2
	m.lens[repeatZero] |= 3
	m.lens[repeatZeros] |= 7
	return m
})

type meaningTables struct {
	literals [allLiterals]meaning
	dists    [allDists]meaning
	lens     [numCodeLens]meaning
}

// fixedTables are those of RFC 1951, 3.2.6.
var fixedTables = sync.OnceValue(func() *tables {
	t, b := new(tables), new(builder)
	lengths := append(append(repeated(8, 144), repeated(9, 112)...), append(repeated(7, 24), repeated(8, 8)...)...)
	if b.build(t.literals[:], lengths, meanings().literals[:], literalBits) != nil ||
		b.build(t.dists[:], repeated(5, allDists), meanings().dists[:], distBits) != nil {
		panic("deflate: the fixed codes are not complete")
	}
	pairs(&t.literals)
	return t
})

// builder makes tables. It holds what it needs for that.
type builder struct {
	lengths [numLiterals + numDists]uint8
	sorted  [allLiterals]uint16 // symbols, by the length of their codes
	lens    [1 << maxLenBits]entry
}

// read reads the description of a dynamic block and makes its tables.
func (b *builder) read(r *bitReader, t *tables) error {
	r.refill()
	if r.n < 14 {
		return io.ErrUnexpectedEOF
	}
	numL, numD, numC := int(r.acc&31)+firstLength, int(r.acc>>5&31)+1, int(r.acc>>10&15)+4
	r.drop(14)
	if numL > numLiterals || numD > numDists {
		return errCounts
	}
	var lens [numCodeLens]uint8
	for _, s := range codeLenOrder[:numC] {
		r.refill()
		if r.n < 3 {
			return io.ErrUnexpectedEOF
		}
		lens[s] = uint8(r.acc & 7)
		r.drop(3)
	}
	m := meanings()
	if err := b.build(b.lens[:], lens[:], m.lens[:], maxLenBits); err != nil {
		return err
	}
	lengths := b.lengths[:numL+numD]
	if err := b.readLengths(r, lengths); err != nil {
		return err
	}
	if lengths[endOfBlock] == 0 {
		return errNoEnd
	}
	if err := b.build(t.literals[:], lengths[:numL], m.literals[:], literalBits); err != nil {
		return err
	}
	pairs(&t.literals)
	return b.build(t.dists[:], lengths[numL:], m.dists[:], distBits)
}

// readLengths reads the lengths of codes.
func (b *builder) readLengths(r *bitReader, lengths []uint8) error {
	for i := 0; i < len(lengths); {
		r.refill()
		e := b.lens[r.acc&(1<<maxLenBits-1)]
		if r.n < e.bits() {
			return io.ErrUnexpectedEOF
		}
		symbol, extra := int(e>>entryBase), e.extra(r.acc)
		r.drop(e.bits())
		var v uint8
		var n int
		switch symbol {
		case repeatLast:
			if i == 0 {
				return errRepeat
			}
			v, n = lengths[i-1], 3+extra
		case repeatZero:
			n = 3 + extra
		case repeatZeros:
			n = 11 + extra
		default:
			lengths[i] = uint8(symbol)
			i++
			continue
		}
		if n > len(lengths)-i {
			return errRepeat
		}
		for end := i + n; i < end; i++ {
			lengths[i] = v
		}
	}
	return nil
}

// build makes the table, looked up by width bits, of the code with the lengths given. As
// zlib has it, a code must be complete, unless it is one of a single bit, or of none, for
// literals or distances: the other bits mean nothing then.
func (b *builder) build(table []entry, lengths []uint8, meanings []meaning, width uint) error {
	var number, at [maxBits + 2]int
	for _, n := range lengths {
		number[n]++
	}
	number[0] = 0
	longest, left := 0, 1
	for n := 1; n <= maxBits; n++ {
		at[n+1] = at[n] + number[n]
		if left = left<<1 - number[n]; left < 0 {
			return errCode
		}
		if number[n] > 0 {
			longest = n
		}
	}
	if left > 0 && (longest > 1 || width == maxLenBits) {
		return errIncomplete
	}
	symbols := b.sorted[:at[maxBits+1]]
	for s, n := range lengths {
		if n > 0 {
			symbols[at[n]] = uint16(s)
			at[n]++
		}
	}
	table[0], table[1] = entryOther|1, entryOther|1
	// Codes of n bits fill the first 1<<n entries, which are what longer ones begin with
	// otherwise: so the table doubles with every bit.
	code, next := uint16(0), 0
	for n := uint(1); n <= width; n++ {
		if n > 1 {
			copy(table[1<<(n-1):1<<n], table[:1<<(n-1)])
		}
		code <<= 1
		for range number[n] {
			s := symbols[next]
			table[bits.Reverse16(code)>>(16-n)] = meanings[s].coded(n)
			code, next = code+1, next+1
		}
	}
	second(table, symbols[next:], number[:], meanings, width, code)
	return nil
}

// second makes the tables for symbols whose codes are longer than width bits: there are
// number[n] of n bits, and the first one's begins with the width bits given.
func second(table []entry, symbols []uint16, number []int, meanings []meaning, width uint, code uint16) {
	end := 1 << width // of the entries in use
	prefix, wide := -1, uint(0)
	for n := width + 1; n <= maxBits; n++ {
		behind := n - width
		code <<= 1
		for ; number[n] > 0; number[n]-- {
			if p := int(code >> behind); p != prefix {
				prefix, wide = p, behind
				for free := 1<<wide - number[n]; free > 0; { // it is as wide as its longest code
					wide++
					free = free<<1 - number[width+wide]
				}
				table[bits.Reverse16(uint16(p))>>(16-width)] = entryOther | entrySub |
					entry(end)<<entryBase | entry(wide)<<entryCode | entry(width)
				end += 1 << wide
			}
			e := meanings[symbols[0]].coded(behind)
			for i := end - 1<<wide + int(bits.Reverse16(code)>>(16-n)>>width); i < end; i += 1 << behind {
				table[i] = e
			}
			symbols, code = symbols[1:], code+1
		}
	}
}

// pairs enters where the bits of a literal are followed by those of another one.
func pairs(table *[literalEntries]entry) {
	for i := 1<<literalBits - 1; i >= 0; i-- {
		e := table[i]
		if e&entryLiteral == 0 {
			continue
		}
		// The entry of the bits behind was not looked at yet.
		if f := table[i>>e.bits()]; f&entryLiteral != 0 && e.bits()+f.bits() <= literalBits {
			table[i] = e + f&0xff | entryTwo | f>>entryValue&0xff<<(entryValue+8)
		}
	}
}
