package memory

import "fmt"

// An AccessError is an attempt to reach something that is not RAM.
type AccessError struct {
	Addr, Size uint64 // bytes
	Reason     string
}

// Error tells the range and what is wrong with it.
func (e *AccessError) Error() string {
	return fmt.Sprintf("%d bytes at guest-physical address %#x: %s", e.Size, e.Addr, e.Reason)
}

const (
	notRAM     = "not RAM"
	misaligned = "not aligned"
)

// window is the longest piece of RAM that starts at addr, at most n bytes; nil
// if there is no RAM at addr.
func (m *Memory) window(addr, n uint64) []byte {
	for i := range m.slots {
		s := &m.slots[i]
		if addr < s.Base || addr > s.last() {
			continue
		}
		off := addr - s.Base
		n = min(n, uint64(len(s.Mem))-off)
		return s.Mem[off : off+n : off+n]
	}
	return nil
}

// check reports an error unless all n bytes at addr are RAM.
func (m *Memory) check(addr, n uint64) error {
	for at, left := addr, n; left > 0; {
		w := uint64(len(m.window(at, left)))
		if w == 0 || at+w < at && left > w {
			return &AccessError{addr, n, notRAM}
		}
		at += w
		left -= w
	}
	return nil
}

// Append implements pci.DMA.
func (m *Memory) Append(dst [][]byte, addr, n uint64) ([][]byte, error) {
	if w := m.window(addr, n); uint64(len(w)) == n && n > 0 {
		return append(dst, w), nil // nearly always: one window holds it all
	}
	if err := m.check(addr, n); err != nil {
		return dst, err
	}
	for n > 0 {
		w := m.window(addr, n)
		dst = append(dst, w)
		addr += uint64(len(w))
		n -= uint64(len(w))
	}
	return dst, nil
}

// ReadAt implements pci.DMA.
func (m *Memory) ReadAt(p []byte, addr uint64) error {
	if err := m.check(addr, uint64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		n := copy(p, m.window(addr, uint64(len(p))))
		p = p[n:]
		addr += uint64(n)
	}
	return nil
}

// WriteAt implements pci.DMA.
func (m *Memory) WriteAt(p []byte, addr uint64) error {
	if err := m.check(addr, uint64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		n := copy(m.window(addr, uint64(len(p))), p)
		p = p[n:]
		addr += uint64(n)
	}
	return nil
}

// Load32 implements pci.DMA.
func (m *Memory) Load32(addr uint64) (uint32, error) {
	w, err := m.word(addr)
	if err != nil {
		return 0, err
	}
	return load32(w), nil
}

// Store32 implements pci.DMA.
func (m *Memory) Store32(addr uint64, v uint32) error {
	w, err := m.word(addr)
	if err != nil {
		return err
	}
	store32(w, v)
	return nil
}

// word is the window of the aligned 32-bit word at addr.
func (m *Memory) word(addr uint64) ([]byte, error) {
	if addr%4 != 0 {
		return nil, &AccessError{addr, 4, misaligned}
	}
	w := m.window(addr, 4)
	if len(w) != 4 {
		return nil, &AccessError{addr, 4, notRAM}
	}
	return w, nil
}
