// Package aml encodes the part of the ACPI machine language (ACPI
// specification 6.5, chapter 20) that describes a fixed machine: named objects,
// packages, buffers, scopes, devices, methods that return a constant, and
// resource templates (section 6.4).
//
// A Term is the encoding of one object; larger terms are made of smaller ones,
// as in the source language:
//
//	aml.Scope(`\_SB_`,
//		aml.Device("COM1",
//			aml.Name("_HID", aml.EISAID("PNP0501")),
//			aml.Name("_CRS", aml.ResourceTemplate(aml.IO(0x3f8, 0x3f8, 1, 8), aml.IRQ(4)))))
//
// Operators, control flow, fields and operation regions are not supported.
// Names and identifiers are constants of the program: a malformed one panics.
// All functions are pure.
package aml

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Term is the encoding of an object.
type Term []byte

// Opcodes (ACPI 6.5, table 20.2).
const (
	opZero       = 0x00
	opOne        = 0x01
	opName       = 0x08
	opByte       = 0x0A
	opWord       = 0x0B
	opDWord      = 0x0C
	opString     = 0x0D
	opQWord      = 0x0E
	opScope      = 0x10
	opBuffer     = 0x11
	opPackage    = 0x12
	opVarPackage = 0x13
	opMethod     = 0x14
	opDualName   = 0x2E
	opMultiName  = 0x2F
	opExtended   = 0x5B
	opReturn     = 0xA4

	extDevice = 0x82
)

// Int is an integer, in its shortest encoding.
func Int(v uint64) Term {
	le := binary.LittleEndian
	switch {
	case v == 0:
		return Term{opZero}
	case v == 1:
		return Term{opOne}
	case v < 1<<8:
		return Term{opByte, byte(v)}
	case v < 1<<16:
		return le.AppendUint16(Term{opWord}, uint16(v))
	case v < 1<<32:
		return le.AppendUint32(Term{opDWord}, uint32(v))
	}
	return le.AppendUint64(Term{opQWord}, v)
}

// String is a string of ASCII characters other than NUL.
func String(s string) Term {
	for _, c := range []byte(s) {
		if c == 0 || c > 0x7F {
			panic(fmt.Sprintf("aml: string %q is not ASCII", s))
		}
	}
	return append(append(Term{opString}, s...), 0)
}

// EISAID is a compressed identifier such as "PNP0A03": three letters and four
// hexadecimal digits (section 19.3.4).
func EISAID(id string) Term {
	if len(id) != 7 {
		panic(fmt.Sprintf("aml: bad EISA identifier %q", id))
	}
	product, err := strconv.ParseUint(id[3:], 16, 16)
	if err != nil {
		panic(fmt.Sprintf("aml: bad EISA identifier %q", id))
	}
	var vendor uint32
	for _, c := range []byte(id[:3]) {
		if c < 'A' || c > 'Z' {
			panic(fmt.Sprintf("aml: bad EISA identifier %q", id))
		}
		vendor = vendor<<5 | uint32(c-'A'+1)
	}
	// The number is big-endian inside a little-endian integer.
	return Int(uint64(bits.ReverseBytes32(vendor<<16 | uint32(product))))
}

// Package is a list of objects.
func Package(elements ...Term) Term {
	if len(elements) > 0xFF {
		return sized(Term{opVarPackage}, append([]Term{Int(uint64(len(elements)))}, elements...)...)
	}
	return sized(Term{opPackage}, append([]Term{{byte(len(elements))}}, elements...)...)
}

// Buffer is a run of bytes.
func Buffer(data []byte) Term {
	return sized(Term{opBuffer}, Int(uint64(len(data))), data)
}

// Name gives an object a name in the current scope, or at a path.
func Name(path string, value Term) Term {
	return append(append(Term{opName}, namePath(path)...), value...)
}

// Scope opens an existing object for more names.
func Scope(path string, terms ...Term) Term {
	return sized(Term{opScope}, append([]Term{namePath(path)}, terms...)...)
}

// Device is a device with what belongs to it.
func Device(path string, terms ...Term) Term {
	return sized(Term{opExtended, extDevice}, append([]Term{namePath(path)}, terms...)...)
}

// Method is a method that takes args arguments (0 to 7).
func Method(path string, args int, terms ...Term) Term {
	if args < 0 || args > 7 {
		panic(fmt.Sprintf("aml: method %s with %d arguments", path, args))
	}
	return sized(Term{opMethod}, append([]Term{namePath(path), {byte(args)}}, terms...)...)
}

// Return ends a method with a value.
func Return(value Term) Term { return append(Term{opReturn}, value...) }

// sized is an opcode, the length of what follows and the terms that follow.
func sized(op Term, terms ...Term) Term {
	n := 0
	for _, t := range terms {
		n += len(t)
	}
	out := append(op, pkgLength(n)...)
	for _, t := range terms {
		out = append(out, t...)
	}
	return out
}

// pkgLength encodes the length of n bytes and of the encoding itself (section
// 20.2.4): one byte up to 63, else a count of 1 to 3 more bytes in the upper
// two bits, the lowest four bits of the length in the lower four.
func pkgLength(n int) Term {
	if n+1 < 1<<6 {
		return Term{byte(n + 1)}
	}
	for extra := 1; extra <= 3; extra++ {
		total := n + 1 + extra
		if total >= 1<<(4+8*extra) {
			continue
		}
		out := Term{byte(extra<<6 | total&0xF)}
		for i := range extra {
			out = append(out, byte(total>>(4+8*i)))
		}
		return out
	}
	panic(fmt.Sprintf("aml: object of %d bytes", n))
}

// namePath encodes a path: an optional root or parent prefix and segments
// separated by dots. Segments shorter than four characters are filled up.
func namePath(path string) Term {
	rest := strings.TrimLeft(path, `\^`)
	out := Term(path[:len(path)-len(rest)])
	if rest == "" {
		return append(out, 0) // NullName
	}
	segments := strings.Split(rest, ".")
	switch {
	case len(segments) == 2:
		out = append(out, opDualName)
	case len(segments) > 2:
		out = append(out, opMultiName, byte(len(segments)))
	}
	for _, s := range segments {
		if !validSegment(s) {
			panic(fmt.Sprintf("aml: bad name %q", path))
		}
		out = append(out, (s + "___")[:4]...)
	}
	return out
}

func validSegment(s string) bool {
	if len(s) == 0 || len(s) > 4 {
		return false
	}
	for i, c := range []byte(s) {
		switch {
		case c >= 'A' && c <= 'Z', c == '_':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return true
}
