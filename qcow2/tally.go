package qcow2

import (
	"math"
	"slices"
)

// tally counts references to clusters. Counts of clusters below a limit, the end
// of a file of sane size, are in one array; those beyond are sparse, so that
// their memory follows the number of clusters that are referred to.
type tally struct {
	dense []uint8
	pages map[int64]*tallyPage // by number of the page
	more  map[int64]uint32     // counts of manyRefs and more
	// shared says that some cluster was counted more than once.
	shared bool
}

const (
	tallyPageBits = 7
	manyRefs      = math.MaxUint8
	// maxDense bounds the array, in bytes. Of a sparse file most of it is never
	// touched, and takes no memory.
	maxDense = 1 << 28
)

type tallyPage [1 << tallyPageBits]uint8

// newTally makes a tally for a file of n clusters.
func newTally(n int64) tally {
	t := tally{pages: make(map[int64]*tallyPage), more: make(map[int64]uint32)}
	if n <= maxDense {
		t.dense = make([]uint8, n)
	}
	return t
}

// at is where the count of cluster c is, nil if it is 0 and make is not set.
func (t *tally) at(c int64, make bool) *uint8 {
	if c < int64(len(t.dense)) {
		return &t.dense[c]
	}
	p := t.pages[c>>tallyPageBits]
	if p == nil {
		if !make {
			return nil
		}
		p = new(tallyPage)
		t.pages[c>>tallyPageBits] = p
	}
	return &p[c&(1<<tallyPageBits-1)]
}

// add counts n more references to cluster c; the count saturates.
func (t *tally) add(c int64, n uint32) {
	e := t.at(c, true)
	sum := uint64(t.value(e, c)) + uint64(n)
	t.shared = t.shared || sum > 1
	t.store(e, c, uint32(min(sum, math.MaxUint32)))
}

// addRun counts one more reference to each of n clusters from c on, all below
// the limit of the array.
func (t *tally) addRun(c, n int64) {
	for i := range t.dense[c : c+n] {
		if e := &t.dense[c+int64(i)]; *e == 0 {
			*e = 1
		} else {
			t.add(c+int64(i), 1)
		}
	}
}

// sub takes one reference to cluster c back.
func (t *tally) sub(c int64) {
	if n := t.count(c); n > 0 {
		t.store(t.at(c, true), c, n-1)
	}
}

// count is the number of references to cluster c.
func (t *tally) count(c int64) uint32 {
	e := t.at(c, false)
	if e == nil {
		return 0
	}
	return t.value(e, c)
}

func (t *tally) value(e *uint8, c int64) uint32 {
	if *e == manyRefs {
		return t.more[c]
	}
	return uint32(*e)
}

func (t *tally) store(e *uint8, c int64, n uint32) {
	if n >= manyRefs {
		*e = manyRefs
		t.more[c] = n
		return
	}
	*e = uint8(n)
}

// view is the counts of n clusters from c on, manyRefs for that and more; nil if
// they are not in the array.
func (t *tally) view(c, n int64) []uint8 {
	if c+n > int64(len(t.dense)) {
		return nil
	}
	return t.dense[c : c+n]
}

// groups returns the numbers of all groups of 1<<bits clusters in which any
// cluster is referred to, in order.
func (t *tally) groups(bits uint) []int64 {
	var list []int64
	step := int64(1) << bits
	for c := int64(0); c < int64(len(t.dense)); c += step {
		if anyNonzero(t.dense[c:min(c+step, int64(len(t.dense)))]) {
			list = append(list, c>>bits)
		}
	}
	for n, p := range t.pages {
		for i, count := range p {
			g := (n<<tallyPageBits + int64(i)) >> bits
			if count != 0 && (len(list) == 0 || list[len(list)-1] != g) {
				list = append(list, g)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func anyNonzero(p []uint8) bool {
	for _, n := range p {
		if n != 0 {
			return true
		}
	}
	return false
}

// free is the first of n clusters in a row, from cluster c on, that nothing refers to.
func (t *tally) free(c, n int64) int64 {
	for run := int64(0); run < n; c++ {
		if run++; t.count(c) != 0 {
			run = 0
		}
	}
	return c - n
}

// last is the highest cluster that is referred to, -1 if none.
func (t *tally) last() int64 {
	last := int64(-1)
	for n, p := range t.pages {
		for i, count := range p {
			if count != 0 {
				last = max(last, n<<tallyPageBits+int64(i))
			}
		}
	}
	for c := int64(len(t.dense)) - 1; c > last; c-- {
		if t.dense[c] != 0 {
			return c
		}
	}
	return last
}
