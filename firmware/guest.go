package firmware

import (
	"errors"
	"fmt"
	"io"
)

// copyBuffer is the size of the buffer through which a file is copied into a
// Memory without windows.
const copyBuffer = 256 << 10

// guest is the RAM of the guest while a kernel is loaded. Nothing is written
// to it but inside its ranges.
type guest struct {
	mem  Memory
	ram  Range // below the PCI hole
	high Range // above 4 GiB, or empty
}

// write stores p at addr.
func (g *guest) write(p []byte, addr uint64) error {
	if err := g.check(Range{addr, uint64(len(p))}); err != nil {
		return err
	}
	return g.mem.WriteAt(p, addr)
}

// copyIn stores n bytes of src, from offset off on, at addr.
func (g *guest) copyIn(src Source, off int64, addr, n uint64) error {
	if err := g.check(Range{addr, n}); err != nil {
		return err
	}
	hint(g.mem, addr, n)
	if w, ok := g.mem.(Windows); ok {
		windows, err := w.Append(nil, addr, n)
		if err != nil {
			return err
		}
		for _, p := range windows {
			if err := readFull(src, p, off); err != nil {
				return err
			}
			off += int64(len(p))
		}
		return nil
	}
	buf := make([]byte, min(n, copyBuffer))
	for n > 0 {
		p := buf[:min(n, copyBuffer)]
		if err := readFull(src, p, off); err != nil {
			return err
		}
		if err := g.mem.WriteAt(p, addr); err != nil {
			return err
		}
		off += int64(len(p))
		addr += uint64(len(p))
		n -= uint64(len(p))
	}
	return nil
}

func (g *guest) check(r Range) error {
	if !g.ram.Contains(r) && !g.high.Contains(r) {
		return fmt.Errorf("%d bytes at %#x are not inside the RAM %v", r.Size, r.Base, g.ram)
	}
	return nil
}

// readFull fills p from offset off; a file that ends before is an error.
func readFull(src io.ReaderAt, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := src.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at offset %d: %w", len(p), off, err)
}

// readSparse fills p, which is zero, from offset off, as readFull does.
func readSparse(src Source, p []byte, off int64) error {
	sparse, ok := src.(Sparse)
	end := off + int64(len(p))
	if !ok || end > src.Size() {
		return readFull(src, p, off)
	}
	for at := off; at < end; {
		from, to := sparse.NextData(at, end)
		if err := readFull(src, p[from-off:to-off], from); err != nil {
			return err
		}
		at = to
	}
	return nil
}
