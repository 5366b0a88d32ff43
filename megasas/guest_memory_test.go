package megasas

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// memory is guest RAM from address 0. Words are accessed atomically, which
// orders what the controller wrote before with what the test reads after.
type memory []byte

// newMemory returns RAM whose words are aligned.
func newMemory(size int) memory {
	words := make([]uint64, size/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), size)
}

func (m memory) check(addr, n uint64) error {
	if addr > uint64(len(m)) || n > uint64(len(m))-addr {
		return fmt.Errorf("%#x+%#x is not RAM", addr, n)
	}
	return nil
}

func (m memory) word(addr uint64) (*uint32, error) {
	if addr%4 != 0 {
		return nil, fmt.Errorf("%#x is not aligned", addr)
	}
	if err := m.check(addr, 4); err != nil {
		return nil, err
	}
	return (*uint32)(unsafe.Pointer(&m[addr])), nil
}

func (m memory) Append(dst [][]byte, addr, n uint64) ([][]byte, error) {
	if err := m.check(addr, n); err != nil {
		return dst, err
	}
	return append(dst, m[addr:addr+n:addr+n]), nil
}

// ReadAt may see a word that the controller or another CPU is just changing, as
// hardware does.
//
//go:norace
func (m memory) ReadAt(p []byte, addr uint64) error {
	if err := m.check(addr, uint64(len(p))); err != nil {
		return err
	}
	for i := range p {
		p[i] = m[addr+uint64(i)]
	}
	return nil
}

// WriteAt may meet another access, as ReadAt may.
//
//go:norace
func (m memory) WriteAt(p []byte, addr uint64) error {
	if err := m.check(addr, uint64(len(p))); err != nil {
		return err
	}
	for i := range p {
		m[addr+uint64(i)] = p[i]
	}
	return nil
}

func (m memory) Load32(addr uint64) (uint32, error) {
	w, err := m.word(addr)
	if err != nil {
		return 0, err
	}
	return atomic.LoadUint32(w), nil
}

func (m memory) Store32(addr uint64, v uint32) error {
	w, err := m.word(addr)
	if err != nil {
		return err
	}
	atomic.StoreUint32(w, v)
	return nil
}

func (m memory) u16(addr uint64) uint16 { return binary.LittleEndian.Uint16(m[addr:]) }
func (m memory) u32(addr uint64) uint32 { return binary.LittleEndian.Uint32(m[addr:]) }
func (m memory) u64(addr uint64) uint64 { return binary.LittleEndian.Uint64(m[addr:]) }
