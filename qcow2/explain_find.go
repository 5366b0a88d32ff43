package qcow2

import "fmt"

// ExplainGuest tells, step by step, how the active disk of the image in f maps
// guest offset off. What holds for Explain holds here.
func ExplainGuest(f File, off int64, visit func(Note) error) error {
	e, err := newExplainer(f, ExplainOptions{}, visit)
	if err != nil {
		return err
	}
	e.begin("guest offset %#x", off)
	if !e.sane {
		e.complain("", "without a cluster size nothing can be found")
		return e.err
	}
	e.explainGuest(off)
	return e.err
}

func (e *explainer) explainGuest(off int64) {
	g := &e.g
	l1i, l2i := off>>g.l1Shift, off>>g.clusterBits&(1<<g.l2Bits-1)
	e.note(Note{Offset: -1, Name: "address", Text: fmt.Sprintf("L1 index %d, L2 index %d, byte %#x of the cluster", l1i, l2i, off&(g.clusterSize-1)),
		Problem: when(uint64(off) >= e.h.size, "the disk has %d bytes", e.h.size)})
	if l1i >= e.l1Entries(uint64(e.h.l1Size)) || e.h.l1Offset > maxHostOffset {
		e.complain("L1 entry", "none: the L1 table has %s at %#x", plural(int64(e.h.l1Size), "entry"), e.h.l1Offset)
		return
	}
	at := int64(e.h.l1Offset) + l1i*8
	raw := make([]byte, 8)
	if err := e.load(raw, at); err != nil {
		e.complain("L1 entry", "can't read it at %#x: %v", at, err)
		return
	}
	r := run{first: l1i, n: 1, entry: l2Entry{word: loadEntry(raw, 0)}}
	e.note(Note{Offset: at, Raw: raw, Name: "L1 entry", Text: e.l1Text(&r), Problem: e.l1Problem(&r)})
	table := int64(r.entry.word & entryOffset)
	if table == 0 {
		e.explainUnallocated(off)
		return
	}
	at = table + l2i<<g.entryBits
	raw = make([]byte, 1<<g.entryBits)
	if err := e.load(raw, at); err != nil {
		e.complain("L2 entry", "can't read it at %#x: %v", at, err)
		return
	}
	entry := g.entry(raw, 0)
	text, problem := e.l2Text(entry, off&^(g.clusterSize-1), 1)
	e.note(Note{Offset: at, Raw: raw, Name: "L2 entry", Text: text, Problem: problem})
	e.explainContents(off, entry)
}

// explainContents tells where the contents of a guest offset are, by its L2 entry.
func (e *explainer) explainContents(off int64, entry l2Entry) {
	g := &e.g
	kind, err := g.classify(entry.word)
	if err != nil {
		e.complain("contents", "not known")
		return
	}
	if kind == kindCompressed {
		e.say("contents", "byte %#x of what the stream decompresses to", off&(g.clusterSize-1))
		if host, _, err := g.compressed(entry.word); err == nil {
			e.explainRefcountOf(host >> g.clusterBits)
		}
		return
	}
	cluster := kind
	if g.extended() {
		kind, _ = entry.subKind(cluster, g.sub(off))
		e.say("subcluster", "%d, of %s: %s", g.sub(off), plural(g.subSize(), "byte"),
			map[clusterKind]string{kindNormal: "data", kindUnallocated: "unallocated", kindZero: "zeroes", kindZeroAlloc: "zeroes"}[kind])
	}
	host := int64(entry.word & entryOffset)
	switch kind {
	case kindUnallocated:
		e.explainUnallocated(off)
	case kindZero, kindZeroAlloc:
		e.say("contents", "zeroes")
	default:
		at := host + off&(g.clusterSize-1)
		if g.dataFile {
			e.say("contents", "at %#x in the external data file %q", at, e.extensionData(extDataFile))
			return
		}
		e.explainBytes(at)
	}
	if host != 0 && !g.dataFile {
		e.explainRefcountOf(host >> g.clusterBits)
	}
}

// explainBytes shows what is at an offset in the file.
func (e *explainer) explainBytes(at int64) {
	raw := make([]byte, 16)
	if err := e.load(raw, at); err != nil {
		e.complain("contents", "can't read them at %#x: %v", at, err)
		return
	}
	text := fmt.Sprintf("at host %#x", at)
	if e.h.cryptMethod != cryptNone {
		text += ", encrypted"
	}
	if at >= e.size {
		text += ", beyond the end of the file: zeroes"
	}
	e.note(Note{Offset: at, Raw: raw, Name: "contents", Text: text})
}

func (e *explainer) explainUnallocated(off int64) {
	name := e.backingName()
	if len(name) == 0 {
		e.say("contents", "zeroes: there is no backing file")
		return
	}
	e.say("contents", "at guest offset %#x of the backing file %.1024q, or zeroes beyond its end", off, name)
}

// explainRefcountOf tells the refcount of a cluster of the file, which it also
// returns; not ok if it can't be known.
func (e *explainer) explainRefcountOf(cluster int64) (count uint64, ok bool) {
	if !e.refs || e.h.refTable > maxHostOffset {
		e.complain("refcount", "the header does not say where it is")
		return 0, false
	}
	i := cluster >> e.g.refBlockBits
	if i >= e.refTableEntries() {
		e.say("refcount", "0: cluster %d is beyond what the refcount table covers", cluster)
		return 0, true
	}
	raw := make([]byte, 8)
	at := int64(e.h.refTable) + i*8
	if err := e.load(raw, at); err != nil {
		e.complain("refcount", "can't read the refcount table at %#x: %v", at, err)
		return 0, false
	}
	block := loadEntry(raw, 0) & refTableOffset
	if block == 0 {
		e.note(Note{Offset: at, Raw: raw, Name: "refcount", Text: fmt.Sprintf("0: refcount table entry %d has no block", i)})
		return 0, true
	}
	p := e.place(block, uint64(e.g.clusterSize))
	e.note(Note{Offset: at, Raw: raw, Name: "refcount block", Text: fmt.Sprintf("at %#x, by refcount table entry %d", block, i), Problem: p})
	if p != "" {
		return 0, false
	}
	j := cluster & (1<<e.g.refBlockBits - 1)
	at = int64(block) + j<<e.g.refcountOrder>>3
	n := int64(1) << e.g.refcountOrder >> 3
	raw = raw[:max(n, 1)]
	if err := e.load(raw, at); err != nil {
		e.complain("refcount", "can't read the block at %#x: %v", at, err)
		return 0, false
	}
	within := int64(0)
	if n == 0 {
		within = j & (8>>e.g.refcountOrder - 1)
	}
	count = loadRefcount(raw, within, e.g.refcountOrder)
	e.note(Note{Offset: at, Raw: raw, Name: "refcount", Text: fmt.Sprintf("%d, by entry %d of the block", count, j)})
	return count, true
}

// ExplainHost tells which structures, and which guest offsets of the disk and of
// snapshots, use the cluster that has offset off of the file, and whether its
// refcount agrees. What holds for Explain holds here.
func ExplainHost(f File, off int64, visit func(Note) error) error {
	e, err := newExplainer(f, ExplainOptions{}, visit)
	if err != nil {
		return err
	}
	e.begin("host offset %#x", off)
	if !e.sane {
		e.complain("", "without a cluster size nothing can be found")
		return e.err
	}
	if off > maxHostOffset {
		e.complain("", "beyond what an image can have")
		return e.err
	}
	g := &e.g
	start := off &^ (g.clusterSize - 1)
	e.note(Note{Offset: -1, Name: "cluster", Text: fmt.Sprintf("%d, host %s; byte %#x of it", off>>g.clusterBits, hexSpan(start, g.clusterSize), off-start),
		Problem: when(off >= e.size, "beyond the end of the file (%#x)", e.size)})
	e.explainBytes(off)
	count, known := e.explainRefcountOf(off >> g.clusterBits)
	s := ownerSearch{explainer: e, lo: start, tables: make(map[int64]int64)}
	s.run()
	s.judge(count, known)
	return e.err
}

// ownerSearch looks for what refers to a cluster.
type ownerSearch struct {
	*explainer
	lo     int64 // the cluster
	found  int64 // references
	broken bool  // part of the image could not be read
	// tables has the L2 tables that were read, with the references found in each.
	tables map[int64]int64
}

// owner tells that something uses n bytes at off, if the cluster is among them.
// It is at place in the file.
func (s *ownerSearch) owner(off, n, place int64, what func() string) {
	if off < 0 || n <= 0 || off >= s.lo+s.g.clusterSize || n <= s.lo-off {
		return
	}
	s.found++
	switch {
	case s.found == 4*fewRecords+1:
		s.say("...", "more owners, which are only counted")
	case s.found <= 4*fewRecords:
		s.note(Note{Offset: place, Name: "owner", Text: what()})
	}
}

// named is a constant for owner.
func named(text string) func() string { return func() string { return text } }

// check notes that a part of the search failed.
func (s *ownerSearch) check(what string, err error) {
	if err != nil {
		s.broken = true
		s.complain("", "%s: %v", what, err)
	}
}

func (s *ownerSearch) run() {
	h, cs := s.h, s.g.clusterSize
	s.owner(0, cs, 0, named("the header, its extensions and the name of the backing file"))
	s.l1("L1 table", h.l1Offset, uint64(h.l1Size), 40)
	if h.refTable <= maxHostOffset {
		n := s.refTableEntries()
		s.owner(int64(h.refTable), n*8, hdrRefTable, named("the refcount table"))
		s.check("refcount table", s.eachEntry(int64(h.refTable), n, func(i int64, word uint64) bool {
			s.owner(int64(word&refTableOffset), cs, int64(h.refTable)+i*8, func() string { return fmt.Sprintf("refcount block %d", i) })
			return s.err == nil
		}))
	}
	end := int64(h.snapshots)
	s.check("snapshot table", s.walkSnapshots(func(_, at int64, _ []byte, snap *snapshot) bool {
		end = at + (snapshotMinSize+snap.extra+int64(len(snap.id)+len(snap.name))+7)&^7
		s.l1(fmt.Sprintf("snapshot %.80q (%.80q): L1 table", snap.id, snap.name), uint64(snap.l1Offset), uint64(snap.l1Size), at)
		return s.err == nil
	}))
	s.owner(int64(h.snapshots), end-int64(h.snapshots), 64, named("the snapshot table"))
	s.bitmaps()
	if off, n, ok := s.luksPlace(); ok {
		s.owner(off, n, -1, named("the LUKS header and its key material"))
	}
}

// l1 looks at an L1 table, and at the L2 tables it names. The field that says
// where it is lies at place.
func (s *ownerSearch) l1(what string, off, size uint64, place int64) {
	if off > maxHostOffset {
		s.check(what, fmt.Errorf("at %#x, beyond what an image can have", off))
		return
	}
	n := s.l1Entries(size)
	s.owner(int64(off), n*8, place, named(what))
	s.check(what, s.eachEntry(int64(off), n, func(i int64, word uint64) bool {
		table := int64(word & entryOffset)
		if table == 0 {
			return true
		}
		s.owner(table, s.g.clusterSize, int64(off)+i*8, func() string {
			return fmt.Sprintf("%s, entry %d: L2 table for guest %s", what, i, hexSpan(i<<s.g.l1Shift, 1<<s.g.l1Shift))
		})
		if before, ok := s.tables[table]; ok {
			s.found += before
			if before > 0 {
				s.say("owner", "%s, entry %d: the same, by the same L2 table at %#x", what, i, table)
			}
			return s.err == nil
		}
		if table >= s.size {
			return true
		}
		before := s.found
		if err := s.l2(what, i, table); err != nil {
			s.check("L2 table", err)
			return false
		}
		if len(s.tables) < seenTables {
			s.tables[table] = s.found - before
		}
		return s.err == nil
	}))
}

// l2 looks at the L2 table of L1 entry i.
func (s *ownerSearch) l2(what string, i, table int64) error {
	g := &s.g
	return s.tableRuns(table, 1<<g.l2Bits, g.entryBits, entryOffset, func(r *run) bool {
		kind, err := g.classify(r.entry.word)
		off, n := int64(r.entry.word&entryOffset), g.clusterSize*r.n
		first := r.first
		switch {
		case err != nil:
			return true
		case kind == kindCompressed:
			if off, n, err = g.compressed(r.entry.word); err != nil {
				return true
			}
		case off == 0 || g.dataFile:
			return true
		case off <= s.lo && s.lo < off+n: // only one entry of the run
			first += (s.lo - off) >> g.clusterBits
			off, n = s.lo, g.clusterSize
		}
		s.owner(off, n, table+first<<g.entryBits, func() string {
			text, _ := s.l2Text(s.entryOf(r, first), i<<g.l1Shift+first<<g.clusterBits, 1)
			return fmt.Sprintf("%s, entry %d, L2 entry %d: %s", what, i, first, text)
		})
		return s.err == nil
	})
}

// entryOf is the entry with number i of a run.
func (s *ownerSearch) entryOf(r *run, i int64) l2Entry {
	entry := r.entry
	if entry.word&entryOffset != 0 {
		entry.word += uint64((i - r.first) << s.g.clusterBits)
	}
	return entry
}

func (s *ownerSearch) bitmaps() {
	off, n, _, ok := s.bitmapPlace()
	if !ok {
		return
	}
	s.owner(off, n, -1, named("the bitmap directory"))
	s.check("bitmap directory", s.walkBitmapEntries(func(i uint32, at int64, _ []byte, entry *bitmapEntry, _ error) bool {
		if entry.table > maxHostOffset {
			return true
		}
		count := s.bitmapTableEntries(entry)
		s.owner(int64(entry.table), count*8, at, named(fmt.Sprintf("table of bitmap %.80q", entry.name)))
		s.check("bitmap table", s.eachEntry(int64(entry.table), count, func(j int64, word uint64) bool {
			if data := int64(word & entryOffset); data != 0 {
				s.owner(data, s.g.clusterSize, int64(entry.table)+j*8, func() string {
					return fmt.Sprintf("bits of bitmap %.80q, table entry %d", entry.name, j)
				})
			}
			return s.err == nil
		}))
		return s.err == nil
	}))
}

// judge compares the references with the refcount.
func (s *ownerSearch) judge(count uint64, known bool) {
	found := uint64(s.found)
	text := fmt.Sprintf("%s, refcount %d", plural(s.found, "reference"), count)
	dirty := s.h.incompatible&incompatDirty != 0
	switch {
	case s.broken:
		s.complain("verdict", "%s found, but not everything could be read", plural(s.found, "reference"))
	case !known:
		s.say("verdict", "%s, refcount not known", plural(s.found, "reference"))
	case found == count && count == 0:
		s.say("verdict", "free")
	case found == count:
		s.say("verdict", "%s: they agree", text)
	case dirty:
		s.say("verdict", "%s: not counted yet, the image is dirty", text)
	case found > count:
		s.complain("verdict", "%s: too low, the cluster may be overwritten (img check -r all)", text)
	default:
		s.complain("verdict", "%s: too high, storage leaks (img check -r leaks)", text)
	}
}
