package mfi

import (
	"bytes"
	"encoding/binary"
)

// record is a payload under construction: fields are written where they belong,
// the rest stays zero.
type record []byte

func (r record) u8(off int, v uint8)   { r[off] = v }
func (r record) u16(off int, v uint16) { binary.LittleEndian.PutUint16(r[off:], v) }
func (r record) u32(off int, v uint32) { binary.LittleEndian.PutUint32(r[off:], v) }
func (r record) u64(off int, v uint64) { binary.LittleEndian.PutUint64(r[off:], v) }

func (r record) flag(off int, v bool) {
	if v {
		r[off] = 1
	}
}

// str stores s in a field of n bytes, cut so that a NUL always ends it.
func (r record) str(off, n int, s string) {
	if len(s) >= n {
		s = s[:n-1]
	}
	copy(r[off:], s)
}

// text returns the string in a field of n bytes, up to its NUL.
func (r record) text(off, n int) string {
	s, _, _ := bytes.Cut(r[off:off+n], []byte{0})
	return string(s)
}

func (r record) get64(off int) uint64 { return binary.LittleEndian.Uint64(r[off:]) }
func (r record) get16(off int) uint16 { return binary.LittleEndian.Uint16(r[off:]) }
func (r record) get32(off int) uint32 { return binary.LittleEndian.Uint32(r[off:]) }

// bytes stores p in a field of n bytes, cut to fit.
func (r record) bytes(off, n int, p []byte) {
	copy(r[off:off+n], p)
}
