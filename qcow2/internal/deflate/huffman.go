package deflate

import (
	"math/bits"
	"slices"
)

// code is the code of a symbol, its first bit lowest.
type code struct {
	bits uint16
	n    uint8 // length; 0: the symbol does not come
}

// huffman finds the lengths of codes. It holds what it needs for that.
type huffman struct {
	list []uint64 // symbols that come, counts above
	work []uint32
}

const symbolBits = 9 // of an entry in huffman.list

// lengths sets the lengths of the codes for symbols that come so often, at most limit
// bits each. If there are fewer than two such symbols, others get a code as well: some
// decoders refuse codes that are not complete.
func (h *huffman) lengths(out []uint8, counts []uint32, limit int) {
	clear(out)
	h.list = h.list[:0]
	for s, n := range counts {
		if n > 0 {
			h.list = append(h.list, uint64(n)<<symbolBits|uint64(s))
		}
	}
	for s := 0; len(h.list) < 2; s++ {
		if counts[s] == 0 {
			h.list = append(h.list, 1<<symbolBits|uint64(s))
		}
	}
	slices.Sort(h.list)
	h.work = h.work[:0]
	for _, e := range h.list {
		h.work = append(h.work, uint32(e>>symbolBits))
	}
	depths(h.work)
	var number [33]int // of codes, by length
	for _, n := range h.work {
		number[min(int(n), limit)]++
	}
	complete(number[:limit+1])
	n := limit
	for _, e := range h.list { // the rarest get the longest
		for number[n] == 0 {
			n--
		}
		number[n]--
		out[e&(1<<symbolBits-1)] = uint8(n)
	}
}

// depths replaces the ascending weights of two leaves or more by their depths in an
// optimal tree: the algorithm in place of Moffat and Katajainen (1995).
func depths(a []uint32) {
	n := len(a)
	// Weights become those of inner nodes, and then links to their parents.
	root, leaf := 0, 0
	for next := range n - 1 {
		sum := uint32(0)
		for range 2 { // the lightest two: inner nodes that have no parent, or leaves
			if leaf >= n || root < next && a[root] < a[leaf] {
				sum += a[root]
				a[root] = uint32(next)
				root++
			} else {
				sum += a[leaf]
				leaf++
			}
		}
		a[next] = sum
	}
	// Links become depths of inner nodes.
	a[n-2] = 0
	for next := n - 3; next >= 0; next-- {
		a[next] = a[a[next]] + 1
	}
	// And those the depths of leaves.
	free, used, depth := 1, 0, uint32(0)
	inner, next := n-2, n-1
	for free > 0 {
		for inner >= 0 && a[inner] == depth {
			used++
			inner--
		}
		for free > used {
			a[next] = depth
			next--
			free--
		}
		free, used, depth = 2*used, 0, depth+1
	}
}

// complete makes the numbers of codes by length, of which the longest may be too many,
// those of a complete code (Kraft's sum is 1).
func complete(number []int) {
	limit := len(number) - 1
	sum := 0
	for n := 1; n <= limit; n++ {
		sum += number[n] << (limit - n)
	}
	for ; sum > 1<<limit; sum-- {
		// One of the longest goes below a shorter one, which gets longer by a bit.
		number[limit]--
		n := limit - 1
		for number[n] == 0 {
			n--
		}
		number[n]--
		number[n+1] += 2
	}
}

// assign sets the codes for lengths (RFC 1951, 3.2.2).
func assign(codes []code, lengths []uint8) {
	var next, number [maxBits + 1]uint16
	for _, n := range lengths {
		number[n]++
	}
	number[0] = 0
	for n := 1; n <= maxBits; n++ {
		next[n] = (next[n-1] + number[n-1]) << 1
	}
	for i, n := range lengths {
		codes[i] = code{n: n}
		if n > 0 {
			codes[i].bits = bits.Reverse16(next[n]) >> (16 - n)
			next[n]++
		}
	}
}

// codesOf is assign for a new list.
func codesOf(lengths []uint8) []code {
	codes := make([]code, len(lengths))
	assign(codes, lengths)
	return codes
}
