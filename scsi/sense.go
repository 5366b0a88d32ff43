package scsi

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Lengths of sense data in bytes.
const (
	// SenseSize is the length of the fixed format, without additional sense
	// bytes.
	SenseSize = 18
	// MaxSenseSize is the most that the descriptor format takes: a header, an
	// information descriptor and a sense key specific one or, of a SATA drive, an
	// ATA status return descriptor.
	MaxSenseSize = 8 + 12 + 14
)

// Response codes, the low seven bits of byte 0 of sense data (SPC-4).
const (
	responseFixed      = 0x70
	responseDescriptor = 0x72
)

// Sense says why a command was not done: the sense data, before it is put into
// one of its formats. The zero value is NO SENSE: nothing is wrong.
//
// A Sense is an error, so that a [Medium] which knows better than an errno what
// happened can return it; a command that fails with it reports it as it is.
type Sense struct {
	Key  SenseKey
	Code ASC
	// Info is the INFORMATION field, for a block device the address of the
	// logical block that Key is about. It counts only with HasInfo.
	Info    uint64
	HasInfo bool
	Field   FieldPointer
	// Progress is how far that has come which Code is about, in parts of 65536.
	// It counts only with HasProgress, and not beside Field.
	Progress    uint16
	HasProgress bool
}

// FieldPointer points at the field that ILLEGAL REQUEST is about (SPC-4). The
// zero value points nowhere.
type FieldPointer struct {
	In     FieldLocation
	Byte   uint16 // offset in the CDB or parameter list
	Bit    uint8  // most significant bit of the field, with HasBit
	HasBit bool
}

// FieldLocation is what a FieldPointer points into.
type FieldLocation uint8

const (
	InNothing FieldLocation = iota
	InCDB
	InParameterList
)

// OK reports whether nothing is wrong.
func (s Sense) OK() bool { return s.Key == KeyNoSense }

// Error returns the sense key and additional sense in words.
func (s Sense) Error() string {
	text := fmt.Sprintf("%v, %v", s.Key, s.Code)
	switch s.Field.In {
	case InCDB:
		text += fmt.Sprintf(" (byte %d of the CDB)", s.Field.Byte)
	case InParameterList:
		text += fmt.Sprintf(" (byte %d of the parameter list)", s.Field.Byte)
	}
	if s.HasInfo {
		text += fmt.Sprintf(" at block %d", s.Info)
	}
	return text
}

func illegalRequest(code ASC) Sense { return Sense{Key: KeyIllegalRequest, Code: code} }

// invalidField refuses the field of the CDB whose most significant bit is bit
// of byte at.
func invalidField(at, bit int) Sense {
	s := illegalRequest(ASCInvalidFieldInCDB)
	s.Field = FieldPointer{In: InCDB, Byte: uint16(at), Bit: uint8(bit), HasBit: true}
	return s
}

// invalidParameterBit refuses the field of the parameter list whose most
// significant bit is bit of byte at.
func invalidParameterBit(at, bit int) Sense {
	s := invalidParameter(at)
	s.Field.Bit, s.Field.HasBit = uint8(bit), true
	return s
}

// invalidParameter refuses the field that starts at byte at of the parameter
// list.
func invalidParameter(at int) Sense {
	s := illegalRequest(ASCInvalidFieldInParameterList)
	s.Field = FieldPointer{In: InParameterList, Byte: uint16(at)}
	return s
}

// unsupportedBits refuses byte at of the CDB because of its bits that are in
// bad. It points at the most significant bit of the field: the top of the run of
// bits, none of which is in usage, that the highest bad bit belongs to.
func unsupportedBits(at int, bad, usage byte) Sense {
	bit := bits.Len8(bad) - 1
	for bit < 7 && usage>>(bit+1)&1 == 0 {
		bit++
	}
	return invalidField(at, bit)
}

// fixed puts s into fixed format (SPC-4).
func (s Sense) fixed(b *[SenseSize]byte) {
	*b = [SenseSize]byte{0: responseFixed, 2: byte(s.Key), 7: SenseSize - 8}
	if s.HasInfo && s.Info <= math.MaxUint32 {
		b[0] |= 0x80 // VALID
		binary.BigEndian.PutUint32(b[3:], uint32(s.Info))
	}
	b[12], b[13] = s.Code.Code(), s.Code.Qualifier()
	s.putSpecific(b[15:18])
}

// appendDescriptor appends s in descriptor format (SPC-4).
func (s Sense) appendDescriptor(b []byte) []byte {
	start := len(b)
	b = append(b, responseDescriptor, byte(s.Key), s.Code.Code(), s.Code.Qualifier(), 0, 0, 0, 0)
	if s.HasInfo {
		b = append(b, 0x00, 0x0A, 0x80, 0) // information descriptor, VALID
		b = binary.BigEndian.AppendUint64(b, s.Info)
	}
	if s.Field.In != InNothing || s.HasProgress {
		b = append(b, 0x02, 0x06, 0, 0, 0, 0, 0, 0) // sense key specific descriptor
		s.putSpecific(b[len(b)-4:])
	}
	b[start+7] = byte(len(b) - start - 8)
	return b
}

// putSpecific writes the three sense key specific bytes (SPC-4).
func (s Sense) putSpecific(b []byte) {
	if !s.HasProgress {
		s.Field.put(b)
		return
	}
	b[0] = 0x80 // SKSV
	binary.BigEndian.PutUint16(b[1:], s.Progress)
}

// takeSpecific reads what putSpecific wrote.
func (s *Sense) takeSpecific(b []byte) {
	switch {
	case s.Key == KeyIllegalRequest:
		s.Field = parseField(b)
	case (s.Key == KeyNotReady || s.Key == KeyNoSense) && b[0]&0x80 != 0:
		s.HasProgress, s.Progress = true, binary.BigEndian.Uint16(b[1:])
	}
}

// put writes the three sense key specific bytes of ILLEGAL REQUEST (SPC-4).
func (f FieldPointer) put(b []byte) {
	if f.In == InNothing {
		return
	}
	b[0] = 0x80 // SKSV
	if f.In == InCDB {
		b[0] |= 0x40 // C/D
	}
	if f.HasBit {
		b[0] |= 0x08 | f.Bit // BPV
	}
	binary.BigEndian.PutUint16(b[1:], f.Byte)
}

func parseField(b []byte) FieldPointer {
	if b[0]&0x80 == 0 {
		return FieldPointer{}
	}
	f := FieldPointer{In: InParameterList, Byte: binary.BigEndian.Uint16(b[1:])}
	if b[0]&0x40 != 0 {
		f.In = InCDB
	}
	if b[0]&0x08 != 0 {
		f.HasBit, f.Bit = true, b[0]&7
	}
	return f
}

// ParseSense decodes sense data of the fixed or the descriptor format. It
// reports false if b is neither, or too short to hold a sense key and code.
func ParseSense(b []byte) (Sense, bool) {
	if len(b) < 8 {
		return Sense{}, false
	}
	switch b[0] & 0x7F {
	case responseFixed:
		return parseFixed(b)
	case responseDescriptor:
		return parseDescriptor(b), true
	}
	return Sense{}, false
}

func parseFixed(b []byte) (Sense, bool) {
	if len(b) < 14 {
		return Sense{}, false
	}
	s := Sense{Key: SenseKey(b[2] & 0xF), Code: ASC(binary.BigEndian.Uint16(b[12:]))}
	if b[0]&0x80 != 0 {
		s.HasInfo, s.Info = true, uint64(binary.BigEndian.Uint32(b[3:]))
	}
	if len(b) >= 18 {
		s.takeSpecific(b[15:18])
	}
	return s, true
}

func parseDescriptor(b []byte) Sense {
	s := Sense{Key: SenseKey(b[1] & 0xF), Code: ASC(binary.BigEndian.Uint16(b[2:]))}
	rest := b[8:min(len(b), 8+int(b[7]))]
	for len(rest) >= 2 && len(rest) >= 2+int(rest[1]) {
		d := rest[:2+int(rest[1])]
		rest = rest[len(d):]
		switch {
		case d[0] == 0x00 && len(d) == 12 && d[2]&0x80 != 0:
			s.HasInfo, s.Info = true, binary.BigEndian.Uint64(d[4:])
		case d[0] == 0x02 && len(d) == 8:
			s.takeSpecific(d[4:7])
		}
	}
	return s
}
