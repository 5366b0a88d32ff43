package nbd

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
)

// ram is a device in memory. What was never written, or was given back, is a
// hole.
type ram struct {
	mu       sync.Mutex
	data     []byte
	written  []bool // by block of ramBlock bytes
	readOnly bool

	flushes atomic.Int32
	fail    atomic.Bool // requests fail from now on

	gate chan struct{} // if set, each read takes one token first
}

const ramBlock = 4096

func newRAM(size int) *ram {
	return &ram{data: make([]byte, size), written: make([]bool, (size+ramBlock-1)/ramBlock)}
}

var errBroken = errors.New("device is broken")

func (r *ram) ReadOnly() bool   { return r.readOnly }
func (r *ram) CanDiscard() bool { return true }

func (r *ram) Size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.data))
}

func (r *ram) resize(size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, written := make([]byte, size), make([]bool, (size+ramBlock-1)/ramBlock)
	copy(data, r.data)
	copy(written, r.written)
	r.data, r.written = data, written
}

// contents is a copy of what is on the device.
func (r *ram) contents() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.data)
}

// holds reports whether block i has storage.
func (r *ram) holds(i int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written[i]
}

func (r *ram) ReadV(bufs [][]byte, off int64) error {
	if r.gate != nil {
		<-r.gate
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail.Load() {
		return errBroken
	}
	for _, b := range bufs {
		off += int64(copy(b, r.data[off:]))
	}
	return nil
}

func (r *ram) WriteV(bufs [][]byte, off int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail.Load() {
		return syscall.ENOSPC
	}
	for _, b := range bufs {
		for i := off / ramBlock; i*ramBlock < off+int64(len(b)); i++ {
			r.written[i] = true
		}
		off += int64(copy(r.data[off:], b))
	}
	return nil
}

// has reports whether data are at off.
func (r *ram) has(off int64, data []byte) bool {
	b := make([]byte, len(data))
	return r.ReadV([][]byte{b}, off) == nil && bytes.Equal(b, data)
}

func (r *ram) WriteZeroes(off, n int64, unmap bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.data[off : off+n])
	for i := (off + ramBlock - 1) / ramBlock; (i+1)*ramBlock <= off+n; i++ {
		r.written[i] = r.written[i] && !unmap
	}
	return nil
}

func (r *ram) Discard(off, n int64) error { return r.WriteZeroes(off, n, true) }

func (r *ram) Flush() error {
	r.flushes.Add(1)
	return nil
}

// status is the device's base:allocation.
func (r *ram) status(off, n int64) (uint32, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := off / ramBlock
	end := i + 1
	for end*ramBlock < off+n && r.written[end] == r.written[i] {
		end++
	}
	var flags uint32
	if !r.written[i] {
		flags = StatusHole | StatusZero
	}
	return flags, min(end*ramBlock-off, n), nil
}

func (r *ram) contexts() []Context {
	return []Context{
		{BaseAllocation, r.status},
		{"qemu:dirty-bitmap:b0", func(off, n int64) (uint32, int64, error) {
			if off < 64<<10 {
				return 1, min(64<<10-off, n), nil
			}
			return 0, n, nil
		}},
	}
}
