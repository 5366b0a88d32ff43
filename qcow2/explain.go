package qcow2

import (
	"encoding/binary"
	"fmt"
)

// Note is a line of an explanation of an image: some bytes of the file, and what
// they mean.
type Note struct {
	Part    string // the structure that the bytes belong to: "header", "L1 table"
	Offset  int64  // of the bytes in the file; -1: the note is about none
	Raw     []byte // the bytes, or those of the first of several entries
	Name    string // of the field, or the numbers of the entries
	Text    string // what the bytes mean
	Problem string // what is impossible about them; "" if nothing is
}

// ExplainOptions say of which structures everything is told. Of the others the
// beginning is, and how much more there is.
type ExplainOptions struct {
	L1        bool    // the whole L1 table
	L2        []int64 // the whole L2 tables of these L1 entries
	Refcounts bool    // the whole refcount table, and all blocks
	All       bool    // all of that for every L2 table, and all snapshots and bitmaps
}

// What an explanation tells of a structure that it need not tell all of, and
// what it reads at most.
const (
	fewRuns    = 16       // of entries of a table
	fewTables  = 4        // L2 tables, refcount blocks
	fewRecords = 32       // snapshots, bitmaps, header extensions
	maxNoteRaw = 64       // bytes of a field
	explainMax = 16 << 30 // bytes of metadata
	explainBuf = 64 << 10 // bytes of a table that are read at a time
	seenTables = 1 << 20  // tables that are remembered, in order not to read them twice
)

// Explain tells what is in the image in f: header, extensions, tables, snapshots,
// bitmaps and encryption header, in this order, by calls of visit. The image may
// be damaged in any way: what is impossible is said, what it says of other
// structures is followed as far as that can be. Only a file without any sign of
// a qcow2 header is refused, with ErrFormat. Other errors are those of visit.
//
// Nothing is written and no other file is opened. Memory and time are bounded
// whatever the image says.
func Explain(f File, o ExplainOptions, visit func(Note) error) error {
	e, err := newExplainer(f, o, visit)
	if err != nil {
		return err
	}
	e.explainHeader()
	if !e.sane {
		return e.err
	}
	e.explainL1()
	e.explainRefcounts()
	e.explainSnapshots()
	e.explainBitmaps()
	e.explainLUKS()
	return e.err
}

// explainer is one explanation.
type explainer struct {
	f     File
	size  int64 // of the file
	first []byte
	o     ExplainOptions
	visit func(Note) error
	err   error // of visit; nothing more is told after one
	part  string
	read  int64    // bytes
	bufs  [][]byte // for tables; as many as are walked within each other

	h    *header // as the file has it: none of it can be relied on
	g    geometry
	sane bool // the cluster size is known, and g can be used
	refs bool // the refcount width is, too

	headerLength int64
}

// newExplainer reads the first cluster and decodes the header, whatever its
// values.
func newExplainer(f File, o ExplainOptions, visit func(Note) error) (*explainer, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	e := &explainer{f: f, size: size, o: o, visit: visit, headerLength: headerSizeV2}
	fixed := make([]byte, headerSizeV3)
	if err := readFull(f, fixed, 0); err != nil {
		return nil, fmt.Errorf("read qcow2 header: %w", err)
	}
	be := binary.BigEndian
	version := be.Uint32(fixed[4:])
	if be.Uint32(fixed) != headerMagic && version != 2 && version != 3 {
		return nil, ErrFormat
	}
	h := &header{
		version: version, clusterBits: be.Uint32(fixed[20:]), size: be.Uint64(fixed[24:]), cryptMethod: be.Uint32(fixed[32:]),
		l1Size: be.Uint32(fixed[36:]), l1Offset: be.Uint64(fixed[40:]), refTable: be.Uint64(fixed[48:]),
		refClusters: be.Uint32(fixed[56:]), snapshotCount: be.Uint32(fixed[60:]), snapshots: be.Uint64(fixed[64:]),
		refcountOrder: 4,
	}
	if version >= 3 {
		h.incompatible, h.compatible, h.autoclear = be.Uint64(fixed[hdrIncompat:]), be.Uint64(fixed[hdrCompat:]), be.Uint64(fixed[hdrAutoclear:])
		h.refcountOrder = be.Uint32(fixed[96:])
		e.headerLength = int64(be.Uint32(fixed[100:]))
	}
	e.h, e.first = h, fixed
	e.sane = h.clusterBits >= minClusterBits && h.clusterBits <= maxClusterBits
	e.refs = e.sane && h.refcountOrder <= maxRefcountOrder
	if !e.sane {
		return e, nil
	}
	known := *h
	known.refcountOrder = min(known.refcountOrder, maxRefcountOrder)
	e.g = newGeometry(&known)
	e.first = make([]byte, e.g.clusterSize)
	if err := readFull(f, e.first, 0); err != nil {
		return nil, fmt.Errorf("read qcow2 header: %w", err)
	}
	return e, nil
}

// begin starts the next structure.
func (e *explainer) begin(format string, args ...any) { e.part = fmt.Sprintf(format, args...) }

func (e *explainer) note(n Note) {
	if e.err != nil {
		return
	}
	n.Part = e.part
	n.Raw = n.Raw[:min(len(n.Raw), maxNoteRaw)]
	e.err = e.visit(n)
}

// say tells what is about no bytes in particular.
func (e *explainer) say(name, format string, args ...any) {
	e.note(Note{Offset: -1, Name: name, Text: fmt.Sprintf(format, args...)})
}

// complain tells what can't be.
func (e *explainer) complain(name, format string, args ...any) {
	e.note(Note{Offset: -1, Name: name, Problem: fmt.Sprintf(format, args...)})
}

// load reads a part of a structure.
func (e *explainer) load(p []byte, off int64) error {
	if e.read += int64(len(p)); e.read > explainMax {
		return fmt.Errorf("gave up after %d GiB of metadata", explainMax>>30)
	}
	return readFull(e.f, p, off)
}

// problem is the text of an error, for a note.
func problem(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// when is a problem that there is if the condition holds.
func when(bad bool, format string, args ...any) string {
	if !bad {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// place says what is wrong with the place of a structure of n bytes.
func (e *explainer) place(off, n uint64) string {
	switch {
	case off&uint64(e.g.clusterSize-1) != 0:
		return "not at the start of a cluster"
	case off > maxHostOffset || n > maxHostOffset-off:
		return "beyond what an image can have"
	case int64(off) >= e.size && n > 0:
		return fmt.Sprintf("beyond the end of the file (%#x)", e.size)
	}
	return ""
}

// fields decodes the fields of a record.
type fields struct {
	e    *explainer
	b    []byte
	base int64 // offset of b in the file
}

// add tells of the n bytes at off in the record.
func (f fields) add(off, n int, name, text, problem string) {
	f.e.note(Note{Offset: f.base + int64(off), Raw: f.b[off : off+n], Name: name, Text: text, Problem: problem})
}

// run is a number of table entries of which each follows from the one before it:
// by the next cluster, or the same.
type run struct {
	first, n int64
	entry    l2Entry
	raw      []byte
	off      int64 // in the file, of the first
}

// name is the numbers of the entries.
func (r *run) name() string {
	if r.n == 1 {
		return fmt.Sprintf("[%d]", r.first)
	}
	return fmt.Sprintf("[%d-%d]", r.first, r.first+r.n-1)
}

// tableRuns calls visit with the runs of a table of n entries of 1<<bits bytes
// each. mask is that of the offset in an entry. What lies beyond the end of the
// file reads as zeroes, and is not visited.
func (e *explainer) tableRuns(off, n int64, bits uint, mask uint64, visit func(*run) bool) error {
	var r run
	per := int64(explainBuf) >> bits
	if n == 0 || off < 0 || off >= e.size {
		return nil
	}
	buf := e.buffer()
	defer func() { e.bufs = append(e.bufs, buf) }()
	n = min(n, (e.size-off+1<<bits-1)>>bits)
	for at := int64(0); at < n; at += per {
		part := buf[:min(per, n-at)<<bits]
		if err := e.load(part, off+at<<bits); err != nil {
			return err
		}
		for i := range int64(len(part)) >> bits {
			raw := part[i<<bits : (i+1)<<bits]
			entry := l2Entry{word: binary.BigEndian.Uint64(raw)}
			if bits == 4 {
				entry.bitmap = binary.BigEndian.Uint64(raw[8:])
			}
			if r.n > 0 && r.goesOn(entry, mask, e.g.clusterSize) {
				r.n++
				continue
			}
			if r.n > 0 && !visit(&r) {
				return nil
			}
			r = run{first: at + i, n: 1, entry: entry, raw: append([]byte(nil), raw...), off: off + (at+i)<<bits}
		}
	}
	if r.n > 0 {
		visit(&r)
	}
	return nil
}

// buffer returns a buffer of explainBuf bytes.
func (e *explainer) buffer() []byte {
	if n := len(e.bufs); n > 0 {
		buf := e.bufs[n-1]
		e.bufs = e.bufs[:n-1]
		return buf
	}
	return make([]byte, explainBuf)
}

// goesOn reports whether an entry goes on with the run.
func (r *run) goesOn(entry l2Entry, mask uint64, clusterSize int64) bool {
	next := r.entry
	switch {
	case mask == entryOffset && next.word&entryCompressed != 0: // each has a length of its own
		return false
	case next.word&mask != 0:
		next.word += uint64(r.n * clusterSize)
	}
	return entry == next
}

// showRuns tells the runs of a table, all or the first few, by describe.
func (e *explainer) showRuns(off, n int64, bits uint, mask uint64, all bool, describe func(*run) (text, problem string)) {
	var shown, more int64
	err := e.tableRuns(off, n, bits, mask, func(r *run) bool {
		if !all && shown == fewRuns {
			more += r.n
			return true
		}
		shown++
		text, problem := describe(r)
		e.note(Note{Offset: r.off, Raw: r.raw, Name: r.name(), Text: text, Problem: problem})
		return e.err == nil
	})
	if err != nil {
		e.complain("", "can't read the rest: %v", err)
	}
	if more > 0 {
		e.say("...", "%d more entries", more)
	}
	if have := max(0, e.size-off+1<<bits-1) >> bits; have < n {
		e.say("...", "entries from %d on lie beyond the end of the file: zeroes", have)
	}
}
