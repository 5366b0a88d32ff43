package block

import (
	"fmt"

	"github.com/govmm/govmm/qcow2"
)

// cacheModes are the names that QEMU's tools have for how a disk is cached.
var cacheModes = map[string]struct{ direct, noFlush, writeThrough bool }{
	"none":         {direct: true},
	"off":          {direct: true},
	"directsync":   {direct: true, writeThrough: true},
	"writeback":    {},
	"writethrough": {writeThrough: true},
	"unsafe":       {noFlush: true},
}

// SetCacheMode sets Direct, NoFlush and WriteThrough by QEMU's name for the
// three: none, directsync, writeback, writethrough or unsafe.
func (s *Spec) SetCacheMode(name string) error {
	m, ok := cacheModes[name]
	if !ok {
		return fmt.Errorf("cache mode %q (none, directsync, writeback, writethrough and unsafe are allowed)", name)
	}
	s.Direct, s.NoFlush, s.WriteThrough = m.direct, m.noFlush, m.writeThrough
	return nil
}

// neverSynced is a file that nothing is made durable in.
type neverSynced struct{ qcow2.File }

func (neverSynced) Sync() error { return nil }

// writeThrough makes each write durable before it returns.
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
