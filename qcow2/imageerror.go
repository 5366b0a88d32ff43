package qcow2

import (
	"errors"
	"fmt"
	"strings"
)

// ImageError says what is wrong with an image: its header, or a table that it names, is
// not what the format or this package allows, or metadata contradicts itself.
type ImageError struct {
	// Kind is ErrInvalid, ErrUnsupported, ErrTooLarge or ErrCorrupt.
	Kind error
	// Problem is what is wrong, in the words that QEMU has for it where it refuses the
	// same: programs compare them.
	Problem string
	// Detail is the value that was found, and what is allowed.
	Detail string
	// Hint is what can be done about it, a sentence without a full stop; it may be empty.
	Hint string
}

func (e *ImageError) Error() string {
	text := strings.TrimPrefix(e.Problem, "qcow2: ")
	if first, rest := text[:1], text[1:]; rest[:1] == strings.ToLower(rest[:1]) && (rest[0] < '0' || rest[0] > '9') {
		text = strings.ToLower(first) + rest // but not of "L1"
	}
	if !errors.Is(e.Kind, ErrUnsupported) {
		text = e.Kind.Error() + ": " + text
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap returns the Kind.
func (e *ImageError) Unwrap() error { return e.Kind }

// invalid makes an ImageError of kind ErrInvalid.
func invalid(problem, detail string, args ...any) error {
	return &ImageError{Kind: ErrInvalid, Problem: problem, Detail: fmt.Sprintf(detail, args...)}
}

// unknownKind makes an ImageError of kind ErrUnsupported. Its problem begins with
// "Unsupported".
func unknownKind(problem, detail string, args ...any) error {
	return &ImageError{Kind: ErrUnsupported, Problem: problem, Detail: fmt.Sprintf(detail, args...)}
}

// corrupt makes an ImageError of kind ErrCorrupt.
func corrupt(problem, detail string, args ...any) error {
	return &ImageError{Kind: ErrCorrupt, Problem: problem, Detail: fmt.Sprintf(detail, args...)}
}

// overlaps says that a write would hit metadata of kind k.
func overlaps(k metaKind, detail string, args ...any) error {
	return corrupt(overlapProblem(k), detail, args...)
}

func overlapProblem(k metaKind) string {
	return "Preventing invalid write on metadata (overlaps with " + k.area() + ")"
}

// allocationOf names what clusters were to be taken for in the error of taking the header's.
func allocationOf(what string, err error) error {
	var e *ImageError
	if errors.As(err, &e) && e.Problem == overlapProblem(metaHeader) { // refcounts call the header's cluster free
		return corrupt("Preventing invalid allocation of "+what+" at offset 0", "%s", e.Detail)
	}
	return err
}

// area is QEMU's name of what metadata of a kind is in.
func (k metaKind) area() string {
	switch k.class() {
	case OverlapMainHeader:
		return "qcow2_header"
	case OverlapActiveL1:
		return "active L1 table"
	case OverlapActiveL2:
		return "active L2 table"
	case OverlapRefcountTable:
		return "refcount table"
	case OverlapRefcountBlock:
		return "refcount block"
	case OverlapSnapshotTable:
		return "snapshot table"
	case OverlapInactiveL1:
		return "inactive L1 table"
	case OverlapInactiveL2:
		return "inactive L2 table"
	}
	return "bitmap directory"
}

// unalignedL2 says that an L1 entry is no good.
func unalignedL2(table, l1i int64) error {
	return corrupt(fmt.Sprintf("L2 table offset %s unaligned (L1 index: %s)", hex(table), hex(l1i)), "")
}

// unalignedCluster says that an L2 entry is no good: where its cluster would be.
type unalignedCluster int64

func (e unalignedCluster) Error() string {
	return fmt.Sprintf("cluster offset %#x unaligned", int64(e))
}

// badEntry says that the entry with an index in the L2 table at host offset table is no good;
// err, of classify, says why.
func badEntry(table, index int64, err error) error {
	where := fmt.Sprintf("(L2 offset: %s, L2 index: %s)", hex(table), hex(index))
	if u := unalignedCluster(0); errors.As(err, &u) {
		return corrupt(fmt.Sprintf("Cluster allocation offset %s unaligned %s", hex(int64(u)), where), "")
	}
	return corrupt(invalidEntry+" "+where, "%v", err)
}

// invalidEntry begins the problem with an entry that can't be. QEMU has one blank more where it
// reads than where it writes.
const invalidEntry = "Invalid cluster entry found "

// whenWriting is the error of looking guest offset off up in the words that it has for a write.
// Preconditions: mu is held.
func (im *Image) whenWriting(off int64, err error) error {
	var e *ImageError
	if !errors.As(err, &e) {
		return err
	}
	if where, ok := strings.CutPrefix(e.Problem, invalidEntry+" "); ok {
		return corrupt(invalidEntry+where, "%s", e.Detail)
	}
	table, bad := im.l2Table(off)
	if bad != nil || table == 0 {
		return err
	}
	at, i := im.g.l2Page(table, off)
	if p := im.l2.get(at); p != nil && p.buf != nil {
		entry, u := im.g.entry(p.buf, i), unalignedCluster(0)
		if _, bad = im.g.classify(entry.word); errors.As(bad, &u) {
			return im.badCluster(entry, off>>im.g.clusterBits, bad)
		}
	}
	return err
}

// hex is a number as C's printf has it by "%#x".
func hex[T int64 | uint64](n T) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", n)
}
