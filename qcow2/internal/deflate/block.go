package deflate

import (
	"encoding/binary"
	"sync"
)

// Symbols of RFC 1951, 3.2.5 and 3.2.7.
const (
	endOfBlock  = 256
	firstLength = 257
	numLiterals = 286
	numDists    = 30
	numCodeLens = 19
	maxBits     = 15 // of a code for literals, lengths and distances
	maxLenBits  = 7  // of a code for code lengths

	repeatLast  = 16 // 3 to 6 times, 2 bits
	repeatZero  = 17 // 3 to 10 times, 3 bits
	repeatZeros = 18 // 11 to 138 times, 7 bits

	maxStored = 65535 // bytes of a stored block
)

// codeLenOrder is the order in which lengths of codes for code lengths come.
var codeLenOrder = [numCodeLens]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// extent is a symbol for a range of lengths or distances: those from base on, with
// extra bits.
type extent struct {
	symbol uint16
	base   uint16
	extra  uint8
}

// symbolTables are what all encoders look up.
type symbolTables struct {
	length    [maxMatch - minMatch + 1]extent // by length - minMatch
	distance  [Window]extent                  // by distance - 1
	fixed     []code                          // RFC 1951, 3.2.6
	fixedDist []code                          // likewise
}

var symbols = sync.OnceValue(func() *symbolTables {
	return &symbolTables{lengths(), distances(), fixedCodes(), codesOf(repeated(5, 30))}
})

func lengths() (t [maxMatch - minMatch + 1]extent) {
	symbol, base := firstLength, minMatch
	for i := 0; symbol < numLiterals-1; i, symbol = i+1, symbol+1 {
		extra := max(0, i/4-1)
		for k := range 1 << extra {
			if base+k < maxMatch {
				t[base+k-minMatch] = extent{uint16(symbol), uint16(base), uint8(extra)}
			}
		}
		base += 1 << extra
	}
	t[maxMatch-minMatch] = extent{numLiterals - 1, maxMatch, 0}
	return t
}

func distances() (t [Window]extent) {
	base := 1
	for symbol := 0; base <= Window; symbol++ {
		extra := max(0, symbol/2-1)
		for k := range 1 << extra {
			if base+k <= Window {
				t[base+k-1] = extent{uint16(symbol), uint16(base), uint8(extra)}
			}
		}
		base += 1 << extra
	}
	return t
}

func repeated(n uint8, times int) []uint8 {
	list := make([]uint8, times)
	for i := range list {
		list[i] = n
	}
	return list
}

func fixedCodes() []code {
	n := append(repeated(8, 144), repeated(9, 112)...)
	return codesOf(append(append(n, repeated(7, 24)...), repeated(8, 8)...))
}

// block writes blocks. It holds what it needs for one.
type block struct {
	literals, dists       [numLiterals]uint32 // how often each symbol comes
	literalBits, distBits [numLiterals]uint8  // of the codes
	literalCode, distCode [numLiterals]code
	lens                  []lenSymbol
	lenCount              [numLiterals]uint32
	lenBits               [numLiterals]uint8
	huffman               huffman
}

// lenSymbol is a symbol of the code lengths, with its extra bits.
type lenSymbol struct{ symbol, value, extra uint8 }

// write writes the tokens of src in a block, or several if they are stored, and reports
// whether there was room for them.
func (b *block) write(w *bitWriter, tokens []token, src []byte, last bool) bool {
	t := symbols()
	clear(b.literals[:])
	clear(b.dists[:])
	extra := 0
	for _, k := range tokens {
		if k&tokenMatch == 0 {
			b.literals[k]++
			continue
		}
		l := &t.length[uint32(k&^tokenMatch)>>tokenLength-minMatch]
		d := &t.distance[uint32(k)&0xffff-1]
		b.literals[l.symbol]++
		b.dists[d.symbol]++
		extra += int(l.extra) + int(d.extra)
	}
	b.literals[endOfBlock] = 1
	b.huffman.lengths(b.literalBits[:numLiterals], b.literals[:numLiterals], maxBits)
	b.huffman.lengths(b.distBits[:numDists], b.dists[:numDists], maxBits)
	numL, numD := used(b.literalBits[:numLiterals], firstLength), used(b.distBits[:numDists], 1)
	headerBits, numC := b.describe(numL, numD)

	dynamic, fix := 3+headerBits+extra, 3+extra
	for i, n := range b.literals[:numLiterals] {
		dynamic += int(n) * int(b.literalBits[i])
		fix += int(n) * int(t.fixed[i].n)
	}
	for i, n := range b.dists[:numDists] {
		dynamic += int(n) * int(b.distBits[i])
		fix += int(n) * int(t.fixedDist[i].n)
	}
	stored := (len(src) + 5*(len(src)/maxStored+1)) * 8
	least := min(dynamic, fix, stored)
	if !w.has(least/8 + 16) {
		return false
	}
	final := uint64(0)
	if last {
		final = 1
	}
	switch least {
	case stored:
		b.store(w, src, final)
		return true
	case fix:
		w.put(final|1<<1, 3)
		b.body(w, tokens, t, t.fixed, t.fixedDist)
		return true
	}
	w.put(final|2<<1, 3)
	w.put(uint64(numL-firstLength)|uint64(numD-1)<<5|uint64(numC-4)<<10, 14)
	for _, s := range codeLenOrder[:numC] {
		w.put(uint64(b.lenBits[s]), 3)
	}
	assign(b.literalCode[:numCodeLens], b.lenBits[:numCodeLens])
	for _, s := range b.lens {
		c := b.literalCode[s.symbol]
		w.put(uint64(c.bits)|uint64(s.value)<<c.n, uint(c.n)+uint(s.extra))
	}
	assign(b.literalCode[:numL], b.literalBits[:numL])
	assign(b.distCode[:numD], b.distBits[:numD])
	b.body(w, tokens, t, b.literalCode[:], b.distCode[:])
	return true
}

// used is how many of the codes have to be described, at least so many.
func used(bits []uint8, least int) int {
	n := len(bits)
	for n > least && bits[n-1] == 0 {
		n--
	}
	return n
}

// describe makes the symbols that describe the codes of a block, and a code for those.
// It returns how many bits they take, and how many lengths of that code are written.
func (b *block) describe(numL, numD int) (size, numC int) {
	b.lens = b.lens[:0]
	all := append(append(make([]uint8, 0, numLiterals+numDists), b.literalBits[:numL]...), b.distBits[:numD]...)
	for i := 0; i < len(all); {
		n := 1
		for i+n < len(all) && all[i+n] == all[i] {
			n++
		}
		i += n
		v := all[i-1]
		if v != 0 {
			b.lens = append(b.lens, lenSymbol{symbol: v})
			n--
		}
		for n > 0 {
			var k int
			switch {
			case v == 0 && n >= 11:
				k = min(n, 138)
				b.lens = append(b.lens, lenSymbol{repeatZeros, uint8(k - 11), 7})
			case v == 0 && n >= 3:
				k = n
				b.lens = append(b.lens, lenSymbol{repeatZero, uint8(k - 3), 3})
			case v != 0 && n >= 3:
				k = min(n, 6)
				b.lens = append(b.lens, lenSymbol{repeatLast, uint8(k - 3), 2})
			default:
				k = 1
				b.lens = append(b.lens, lenSymbol{symbol: v})
			}
			n -= k
		}
	}
	clear(b.lenCount[:numCodeLens])
	for _, s := range b.lens {
		b.lenCount[s.symbol]++
		size += int(s.extra)
	}
	b.huffman.lengths(b.lenBits[:numCodeLens], b.lenCount[:numCodeLens], maxLenBits)
	numC = numCodeLens
	for numC > 4 && b.lenBits[codeLenOrder[numC-1]] == 0 {
		numC--
	}
	for i, n := range b.lenCount[:numCodeLens] {
		size += int(n) * int(b.lenBits[i])
	}
	return size + 14 + 3*numC, numC
}

// body writes the tokens of a block and its end.
func (b *block) body(w *bitWriter, tokens []token, t *symbolTables, literals, dists []code) {
	literals, dists = literals[:numLiterals], dists[:numDists]
	for _, k := range tokens {
		if k&tokenMatch == 0 {
			c := literals[k&0xff]
			w.put(uint64(c.bits), uint(c.n))
			continue
		}
		length, dist := uint32(k&^tokenMatch)>>tokenLength, uint32(k)&0xffff
		l, d := &t.length[length-minMatch], &t.distance[dist-1]
		c, cd := literals[l.symbol], dists[d.symbol]
		v, n := uint64(c.bits), uint(c.n)
		v |= uint64(length-uint32(l.base)) << n
		n += uint(l.extra)
		v |= uint64(cd.bits) << n
		n += uint(cd.n)
		v |= uint64(dist-uint32(d.base)) << n
		w.put(v, n+uint(d.extra)) // 46 bits at most
	}
	c := literals[endOfBlock]
	w.put(uint64(c.bits), uint(c.n))
}

// store writes bytes as they are.
func (b *block) store(w *bitWriter, src []byte, final uint64) {
	for {
		n := min(len(src), maxStored)
		f := final
		if n < len(src) {
			f = 0
		}
		w.put(f, 3)
		w.align()
		w.put(uint64(n)|uint64(^uint16(n))<<16, 32)
		w.align()
		w.copy(src[:n])
		if src = src[n:]; len(src) == 0 {
			return
		}
	}
}

// bitWriter writes bits, the lowest first.
type bitWriter struct {
	buf  []byte
	n    int    // bytes that were written
	acc  uint64 // bits that were not
	bits uint   // how many; less than 8 between calls
}

// has reports whether there is room for n bytes.
func (w *bitWriter) has(n int) bool { return w.n+n <= len(w.buf) }

// put writes the low n bits of v, at most 56; its others are zero.
// Preconditions: there is room for 8 bytes.
func (w *bitWriter) put(v uint64, n uint) {
	acc := w.acc | v<<(w.bits&63)
	n += w.bits
	binary.LittleEndian.PutUint64(w.buf[w.n:], acc)
	w.n += int(n >> 3)
	w.acc = acc >> (n & 0x38 & 63)
	w.bits = n & 7
}

// align fills the last byte up.
func (w *bitWriter) align() {
	if w.bits > 0 {
		w.put(0, 8-w.bits)
	}
}

// copy writes bytes. Preconditions: w is aligned, and there is room.
func (w *bitWriter) copy(p []byte) { w.n += copy(w.buf[w.n:], p) }

// end returns all that was written.
func (w *bitWriter) end() []byte {
	w.align()
	return w.buf[:w.n]
}
