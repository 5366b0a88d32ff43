package mfi

import (
	"encoding/binary"
	"math"
)

// SGLKind is the format of a frame's scatter-gather elements.
type SGLKind uint8

// The three formats: address and length of 4+4, 8+4, and 8+4 bytes with a flags
// word.
const (
	SGE32 SGLKind = iota
	SGE64
	SGEIEEE
)

const (
	sge32Len = 8
	sge64Len = 12
	ieeeLen  = 16

	ieeeChain = 0x80 // last byte of an IEEE element: not data, more elements
)

func (k SGLKind) size() int {
	switch k {
	case SGE64:
		return sge64Len
	case SGEIEEE:
		return ieeeLen
	}
	return sge32Len
}

// String returns the format's name.
func (k SGLKind) String() string {
	switch k {
	case SGE64:
		return "SGE64"
	case SGEIEEE:
		return "IEEE"
	}
	return "SGE32"
}

// SGLKind is the format of the frame's elements. Linux sets SGL64 together with
// IEEE, and means IEEE.
func (f Frame) SGLKind() SGLKind {
	switch fl := f.Flags(); {
	case fl.Has(FlagIEEE):
		return SGEIEEE
	case fl.Has(FlagSGL64):
		return SGE64
	}
	return SGE32
}

// SGE is one scatter-gather element: a range of guest memory.
type SGE struct {
	Addr uint64
	Len  uint32
}

// element is the element at an offset of the frame.
func (f Frame) element(off int) SGE {
	if f.SGLKind() == SGE32 {
		return SGE{Addr: uint64(f.u32(off)), Len: f.u32(off + 4)}
	}
	return SGE{Addr: f.u64(off), Len: f.u32(off + 8)}
}

// SGL iterates over the elements of a frame. The zero value is an empty list.
// It is a value: a copy iterates by itself.
type SGL struct {
	rest []byte
	kind SGLKind
}

// SGL is the frame's scatter-gather list.
//
// Preconditions: len(f) >= f.Len().
func (f Frame) SGL() SGL {
	off := 0
	switch f.Cmd() {
	case CmdLDRead, CmdLDWrite, CmdDCMD:
		off = ioSGL
	case CmdLDSCSIIO, CmdPDSCSIIO:
		off = passthruSGL
	default:
		return SGL{}
	}
	k := f.SGLKind()
	return SGL{rest: f[off : off+int(f.SGECount())*k.size()], kind: k}
}

// Next returns the next element that is not empty; ok is false at the end of
// the list. An element that wraps around the address space, or that an IEEE
// list marks as a link to further elements, is an *Error.
func (l *SGL) Next() (e SGE, ok bool, err error) {
	n := l.kind.size()
	for len(l.rest) >= n {
		p := l.rest[:n]
		l.rest = l.rest[n:]
		switch l.kind {
		case SGE32:
			e.Addr = uint64(binary.LittleEndian.Uint32(p))
			e.Len = binary.LittleEndian.Uint32(p[4:])
		default:
			e.Addr = binary.LittleEndian.Uint64(p)
			e.Len = binary.LittleEndian.Uint32(p[8:])
		}
		if l.kind == SGEIEEE && p[ieeeLen-1]&ieeeChain != 0 {
			return SGE{}, false, errorf(StatusInvalidSGL, "scatter-gather element is a chain element")
		}
		if e.Len == 0 {
			continue
		}
		if e.Addr > math.MaxUint64-uint64(e.Len) {
			return SGE{}, false, errorf(StatusInvalidSGL, "scatter-gather element %#x+%#x wraps", e.Addr, e.Len)
		}
		return e, true, nil
	}
	return SGE{}, false, nil
}

// Total is the number of bytes that the list describes, bad elements counted as
// well. It fits: at most 255 elements of less than 4 GiB.
func (l SGL) Total() uint64 {
	var sum uint64
	n, off := l.kind.size(), 4
	if l.kind != SGE32 {
		off = 8
	}
	for ; len(l.rest) >= n; l.rest = l.rest[n:] {
		sum += uint64(binary.LittleEndian.Uint32(l.rest[off:]))
	}
	return sum
}
