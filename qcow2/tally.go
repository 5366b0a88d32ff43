package qcow2

import (
	"math"
	"slices"
)

// tally counts references to clusters. It is sparse: its size follows the
// number of clusters that are referred to, not the length of the file.
type tally struct {
	pages map[int64]*tallyPage
}

const tallyPageBits = 10

type tallyPage [1 << tallyPageBits]uint32

// add counts n more references to cluster c; the count saturates.
func (t *tally) add(c int64, n uint32) {
	p := t.pages[c>>tallyPageBits]
	if p == nil {
		if t.pages == nil {
			t.pages = make(map[int64]*tallyPage)
		}
		p = new(tallyPage)
		t.pages[c>>tallyPageBits] = p
	}
	e := &p[c&(1<<tallyPageBits-1)]
	if *e > math.MaxUint32-n {
		*e = math.MaxUint32
	} else {
		*e += n
	}
}

// sub takes one reference to cluster c back.
func (t *tally) sub(c int64) {
	if p := t.pages[c>>tallyPageBits]; p != nil && p[c&(1<<tallyPageBits-1)] > 0 {
		p[c&(1<<tallyPageBits-1)]--
	}
}

// count is the number of references to cluster c.
func (t *tally) count(c int64) uint32 {
	if p := t.pages[c>>tallyPageBits]; p != nil {
		return p[c&(1<<tallyPageBits-1)]
	}
	return 0
}

// groups returns the numbers of all groups of 1<<bits clusters in which any
// cluster is referred to, in order.
func (t *tally) groups(bits uint) []int64 {
	seen := make(map[int64]bool)
	for n, p := range t.pages {
		for i, count := range p {
			if count != 0 {
				seen[(n<<tallyPageBits+int64(i))>>bits] = true
			}
		}
	}
	list := make([]int64, 0, len(seen))
	for g := range seen {
		list = append(list, g)
	}
	slices.Sort(list)
	return list
}

// last is the highest cluster that is referred to, -1 if none.
func (t *tally) last() int64 {
	last := int64(-1)
	for n, p := range t.pages {
		if n<<tallyPageBits+1<<tallyPageBits <= last {
			continue
		}
		for i, count := range p {
			if count != 0 {
				last = max(last, n<<tallyPageBits+int64(i))
			}
		}
	}
	return last
}
