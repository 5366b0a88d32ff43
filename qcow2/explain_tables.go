package qcow2

import (
	"fmt"
	"slices"
)

// explainL1 tells the L1 table of the disk and its L2 tables.
func (e *explainer) explainL1() {
	e.begin("L1 table")
	off, n := e.h.l1Offset, e.l1Entries(uint64(e.h.l1Size))
	if p := e.place(off, uint64(n)*8); p != "" {
		e.complain("", "at %#x: %s", off, p)
		if off > maxHostOffset {
			return
		}
	}
	e.showL1(off, n, e.o.L1 || e.o.All)
	var tables []run
	more := 0
	err := e.tableRuns(int64(off), n, 3, 0, func(r *run) bool {
		if r.entry.word&entryOffset == 0 {
			return true
		}
		if len(tables) == fewTables && !e.o.All {
			more++
			return true
		}
		if e.o.All {
			e.explainL2(r.first, r.entry.word, r.n)
			return e.err == nil
		}
		tables = append(tables, *r)
		return true
	})
	if err != nil {
		e.begin("L1 table")
		e.complain("", "can't read the L1 table: %v", err)
	}
	for _, r := range tables {
		if !slices.Contains(e.o.L2, r.first) {
			e.explainL2(r.first, r.entry.word, r.n)
		}
	}
	for _, i := range e.o.L2 {
		e.explainL2At(i, n)
	}
	if more > 0 {
		e.begin("L2 tables")
		e.say("...", "%d more tables", more)
	}
}

// l1Entries is the number of entries of an L1 table that may be looked at.
func (e *explainer) l1Entries(n uint64) int64 { return int64(min(n, maxL1Bytes/8)) }

// showL1 tells the runs of an L1 table.
func (e *explainer) showL1(off uint64, n int64, all bool) {
	e.showRuns(int64(off), n, 3, entryOffset, all, func(r *run) (string, string) {
		return e.l1Text(r), e.l1Problem(r)
	})
}

// l1Text says what L1 entries mean.
func (e *explainer) l1Text(r *run) string {
	guest := hexSpan(r.first<<e.g.l1Shift, r.n<<e.g.l1Shift)
	off := int64(r.entry.word & entryOffset)
	if off == 0 {
		return fmt.Sprintf("guest %s: no L2 table", guest)
	}
	text := fmt.Sprintf("guest %s: L2 table at %#x", guest, off)
	if r.n > 1 {
		text = fmt.Sprintf("guest %s: L2 tables at %s", guest, hexSpan(off, r.n*e.g.clusterSize))
	}
	return text + copiedText(r.entry.word)
}

func copiedText(word uint64) string {
	if word&entryCopied != 0 {
		return ", COPIED"
	}
	return ""
}

func (e *explainer) l1Problem(r *run) string {
	off := r.entry.word & entryOffset
	if r.entry.word&l1Reserved != 0 {
		return fmt.Sprintf("reserved bits are set: %#x", r.entry.word&l1Reserved)
	}
	if off == 0 {
		return when(r.entry.word != 0, "COPIED without a table")
	}
	return e.place(off+uint64((r.n-1)*e.g.clusterSize), uint64(e.g.clusterSize))
}

// hexSpan is a range of bytes, its last one included.
func hexSpan(off, n int64) string { return fmt.Sprintf("%#x-%#x", off, off+n-1) }

// explainL2At tells the L2 table of an L1 entry that the user named.
func (e *explainer) explainL2At(i, n int64) {
	e.begin("L2 table %d", i)
	if i < 0 || i >= n {
		e.complain("", "the L1 table has %s", plural(n, "entry"))
		return
	}
	var raw [8]byte
	if err := e.load(raw[:], int64(e.h.l1Offset)+i*8); err != nil {
		e.complain("", "can't read L1 entry %d: %v", i, err)
		return
	}
	e.explainL2(i, loadEntry(raw[:], 0), 1)
}

// explainL2 tells the L2 table that L1 entry i names, which times entries share.
func (e *explainer) explainL2(i int64, word uint64, times int64) {
	e.begin("L2 table %d", i)
	off := word & entryOffset
	if times > 1 {
		e.complain("", "%d L1 entries name this table", times)
	}
	if off == 0 {
		e.say("", "there is none: unallocated")
		return
	}
	if p := e.place(off, uint64(e.g.clusterSize)); p != "" {
		e.complain("", "at %#x: %s", off, p)
	}
	all := e.o.All || slices.Contains(e.o.L2, i)
	e.showRuns(int64(off), 1<<e.g.l2Bits, e.g.entryBits, entryOffset, all, func(r *run) (string, string) {
		text, p := e.l2Text(r.entry, i<<e.g.l1Shift+r.first<<e.g.clusterBits, r.n)
		return text, p
	})
}

// l2Text says what n L2 entries mean that map guest offsets from guest on.
func (e *explainer) l2Text(entry l2Entry, guest, n int64) (text, problem string) {
	g := &e.g
	text = fmt.Sprintf("guest %s: ", hexSpan(guest, n<<g.clusterBits))
	kind, err := g.classify(entry.word)
	host := int64(entry.word & entryOffset)
	hosts := hexSpan(host, n<<g.clusterBits)
	switch {
	case err != nil:
		return text + "invalid", err.Error()
	case kind == kindCompressed:
		off, length, err := g.compressed(entry.word)
		if err != nil {
			return text + "compressed", err.Error()
		}
		text += fmt.Sprintf("compressed, at %#x, at most %s", off, plural(length, "byte"))
		switch {
		case entry.word&entryCopied != 0:
			problem = "a compressed cluster is never COPIED"
		case off >= e.size:
			problem = e.place(uint64(off)&^uint64(g.clusterSize-1), 1)
		case entry.bitmap != 0:
			problem = fmt.Sprintf("a compressed cluster has no subclusters: bitmap %#x", entry.bitmap)
		}
		return text, problem
	case kind == kindUnallocated:
		text += "unallocated"
	case kind == kindZero:
		text += "zeroes"
	case kind == kindZeroAlloc:
		text += "zeroes, kept host " + hosts
	default:
		text += "data at host " + hosts
	}
	text += copiedText(entry.word)
	if g.extended() && entry.bitmap != 0 {
		text += fmt.Sprintf(", subclusters allocated 0x%08x, zero 0x%08x", entry.alloc(), entry.zero())
	}
	return text, e.l2Problem(entry, kind, guest, n)
}

// l2Problem says what is wrong with n valid L2 entries of a kind.
func (e *explainer) l2Problem(entry l2Entry, kind clusterKind, guest, n int64) string {
	reserved := l2Reserved
	if e.g.extended() {
		reserved |= entryZero
		if err := entry.checkBitmap(kind); err != nil {
			return err.Error()
		}
	}
	if v := entry.word & reserved; v != 0 {
		return fmt.Sprintf("reserved bits are set: %#x", v)
	}
	if kind != kindNormal && kind != kindZeroAlloc {
		return when(entry.word&entryCopied != 0, "COPIED without a cluster")
	}
	if e.g.dataFile {
		return problem(e.g.misplaced(entry.word, guest>>e.g.clusterBits))
	}
	return e.place(entry.word&entryOffset+uint64((n-1)*e.g.clusterSize), uint64(e.g.clusterSize))
}

// clusterSpan is a range of clusters of the file.
func clusterSpan(first, n int64) string {
	if n == 1 {
		return fmt.Sprintf("cluster %d", first)
	}
	return fmt.Sprintf("clusters %d-%d", first, first+n-1)
}

// explainRefcounts tells the refcount table and its blocks.
func (e *explainer) explainRefcounts() {
	e.begin("refcount table")
	off, n := e.h.refTable, e.refTableEntries()
	if !e.refs {
		e.complain("", "the width of refcounts is not known")
		return
	}
	if p := e.place(off, uint64(n)*8); p != "" {
		e.complain("", "at %#x: %s", off, p)
		if off > maxHostOffset {
			return
		}
	}
	all := e.o.Refcounts || e.o.All
	covers := int64(1) << e.g.refBlockBits
	e.showRuns(int64(off), n, 3, refTableOffset, all, func(r *run) (string, string) {
		block := r.entry.word & refTableOffset
		text := clusterSpan(r.first*covers, r.n*covers) + ": "
		if block == 0 {
			return text + "all free", when(r.entry.word != 0, "reserved bits are set: %#x", r.entry.word)
		}
		p := when(r.entry.word&^refTableOffset != 0, "reserved bits are set: %#x", r.entry.word&^refTableOffset)
		if p == "" {
			p = e.place(block+uint64((r.n-1)*e.g.clusterSize), uint64(e.g.clusterSize))
		}
		return fmt.Sprintf("%srefcount block at %#x", text, block), p
	})
	blocks, more := 0, 0
	seen := make(map[uint64]bool)
	err := e.eachEntry(int64(off), n, func(i int64, word uint64) bool {
		block := word & refTableOffset
		switch {
		case block == 0 || block >= uint64(e.size):
		case blocks == fewTables && !all:
			more++
		case seen[block]:
			e.begin("refcount block %d", i)
			e.complain("", "at %#x: it is another entry's block, too", block)
		default:
			blocks++
			if len(seen) < seenTables {
				seen[block] = true
			}
			e.explainBlock(i, int64(block), all)
		}
		return e.err == nil
	})
	if err != nil {
		e.begin("refcount table")
		e.complain("", "can't read the refcount table: %v", err)
	}
	if more > 0 {
		e.begin("refcount blocks")
		e.say("...", "%d more blocks", more)
	}
}

// refTableEntries is the number of refcount table entries that may be looked at.
func (e *explainer) refTableEntries() int64 {
	return int64(min(uint64(e.h.refClusters)<<e.g.clusterBits, maxRefTableBytes)) / 8
}

// eachEntry calls visit with the entries, not zero, of a table.
func (e *explainer) eachEntry(off, n int64, visit func(i int64, word uint64) bool) error {
	return e.tableRuns(off, n, 3, 0, func(r *run) bool {
		if r.entry.word == 0 {
			return true
		}
		for i := range r.n {
			if !visit(r.first+i, r.entry.word) {
				return false
			}
		}
		return true
	})
}

// explainBlock tells the refcounts of a block, by runs of equal ones.
func (e *explainer) explainBlock(index, off int64, all bool) {
	e.begin("refcount block %d", index)
	buf := make([]byte, e.g.clusterSize)
	if err := e.load(buf, off); err != nil {
		e.complain("", "can't read the block at %#x: %v", off, err)
		return
	}
	n, order := int64(1)<<e.g.refBlockBits, e.g.refcountOrder
	shown := 0
	for i := int64(0); i < n && e.err == nil; {
		count, first := loadRefcount(buf, i, order), i
		for i++; i < n && loadRefcount(buf, i, order) == count; i++ {
		}
		if shown++; shown > fewRuns && !all {
			e.say("...", "more from cluster %d on", index*n+first)
			return
		}
		r := run{first: first, n: i - first}
		at := first << order >> 3
		cluster := index*n + first
		text := fmt.Sprintf("refcount %d: %s, host %s", count, clusterSpan(cluster, r.n), hexSpan(cluster<<e.g.clusterBits, r.n<<e.g.clusterBits))
		e.note(Note{Offset: off + at, Raw: buf[at : at+max(1, int64(1)<<order>>3)], Name: r.name(), Text: text,
			Problem: when(count > 0 && cluster<<e.g.clusterBits >= e.g.roundUp(e.size), "beyond the end of the file")})
	}
}
