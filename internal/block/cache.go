package block

import "fmt"

// cacheModes are the names that QEMU's tools have for how a disk is cached.
var cacheModes = map[string]struct{ direct, noFlush, writeThrough bool }{
	"none":         {direct: true},
	"off":          {direct: true},
	"directsync":   {direct: true, writeThrough: true},
	"writeback":    {},
	"writethrough": {writeThrough: true},
	"unsafe":       {noFlush: true},
}

// SetCacheMode sets Direct and NoFlush by QEMU's name for them and for whether
// every write is to be durable: none, directsync, writeback, writethrough or
// unsafe. The last is for the caller to see to; see WriteThrough.
func (s *Spec) SetCacheMode(name string) (writeThrough bool, err error) {
	m, ok := cacheModes[name]
	if !ok {
		return false, fmt.Errorf("cache mode %q (none, directsync, writeback, writethrough and unsafe are allowed)", name)
	}
	s.Direct, s.NoFlush = m.direct, m.noFlush
	return m.writeThrough, nil
}

// WriteThrough returns d with every write made durable before it returns.
func WriteThrough(d Device) Device { return writeThrough{d} }

type writeThrough struct{ Device }

func (d writeThrough) WriteV(bufs [][]byte, off int64) error {
	return d.flushAfter(d.Device.WriteV(bufs, off))
}

func (d writeThrough) WriteZeroes(off, n int64, unmap bool) error {
	return d.flushAfter(d.Device.WriteZeroes(off, n, unmap))
}

func (d writeThrough) Discard(off, n int64) error {
	return d.flushAfter(d.Device.Discard(off, n))
}

func (d writeThrough) flushAfter(err error) error {
	if err != nil {
		return err
	}
	return d.Flush()
}
