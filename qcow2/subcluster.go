package qcow2

// entriesPerPage is the number of L2 entries in a page.
func (g *geometry) entriesPerPage() int64 { return g.pageSize >> g.entryBits }

// storeMapping makes L2 entry i refer to a host cluster. In an entry with
// subclusters none of them is allocated, as far as that goes.
func (g *geometry) storeMapping(b []byte, i int64, e uint64) {
	if g.entryBits == 3 {
		storeEntry(b, i, e)
		return
	}
	storeEntry(b, 2*i, e)
	storeEntry(b, 2*i+1, 0)
}

// unmapped reports whether L2 entry i says nothing: not even zeroes.
func (g *geometry) unmapped(b []byte, i int64) bool {
	if g.entryBits == 3 {
		return loadEntry(b, i) == 0
	}
	return loadEntry(b, 2*i) == 0 && loadEntry(b, 2*i+1) == 0
}
