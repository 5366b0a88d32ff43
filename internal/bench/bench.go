// Package bench measures a block device by the pattern of `qemu-img bench`: a
// number of requests of one size, a number of them in flight, each a fixed step
// behind the one before, around the end of the device.
package bench

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/internal/block"
	"golang.org/x/sys/unix"
)

// Options say what to send. The zero value of a field is not a default.
type Options struct {
	Write      bool
	Count      int   // requests in all
	Depth      int   // requests in flight
	Offset     int64 // of the first request, in bytes
	BufferSize int64 // bytes in a request
	Step       int64 // bytes from one request to the next
	Pattern    byte  // what is written
	// FlushInterval is after how many writes the device is flushed; 0: never.
	FlushInterval int
	// NoDrain lets requests go on while a flush runs.
	NoDrain bool
}

// complaint is an error in the words of qemu-img, capital letters included.
type complaint string

func (c complaint) Error() string { return string(c) }

// Validate refuses what can't be measured, in the words of qemu-img.
func (o *Options) Validate() error {
	switch {
	case o.Count < 0 || o.Count > math.MaxInt32:
		return complaint("Invalid request count specified")
	case o.Depth < 1 || o.Depth > math.MaxInt32:
		return complaint("Invalid queue depth specified")
	case !o.Write && o.FlushInterval != 0:
		return complaint("--flush-interval is only available in write tests")
	case o.FlushInterval != 0 && o.FlushInterval < o.Depth:
		return complaint("Flush interval can't be smaller than depth")
	case o.BufferSize < 0 || o.BufferSize > math.MaxInt32:
		return complaint(fmt.Sprintf("Invalid buffer size specified. Must be between %d and %d.", 0, math.MaxInt32))
	case o.Step < 0 || o.Step > math.MaxInt32:
		return complaint(fmt.Sprintf("Invalid step_size specified. Must be between %d and %d.", 0, math.MaxInt32))
	case o.Offset < 0:
		return fmt.Errorf("a negative offset: %d", o.Offset)
	}
	return nil
}

// Describe is what qemu-img prints before it starts.
func (o *Options) Describe() string {
	what := "read"
	if o.Write {
		what = "write"
	}
	s := fmt.Sprintf("Sending %d %s requests, %d bytes each, %d in parallel (starting at offset %d, step size %d)\n",
		o.Count, what, o.BufferSize, o.Depth, o.Offset, o.Step)
	if o.FlushInterval > 0 {
		s += fmt.Sprintf("Sending flush every %d requests\n", o.FlushInterval)
	}
	return s
}

// Run sends the requests to d and returns how long that took.
//
// Preconditions: o is valid.
func Run(d block.Device, o Options) (time.Duration, error) {
	if d.Size() == 0 && o.Count > 0 {
		return 0, errors.New("the device is empty")
	}
	memory, err := newBuffers(&o)
	if err != nil {
		return 0, err
	}
	defer memory.free()
	r := run{d: d, o: o}
	start := time.Now()
	for i := range memory.bufs {
		r.workers.Go(func() { r.work(memory.bufs[i]) })
	}
	r.workers.Wait()
	r.flushes.Wait()
	if r.err != nil {
		return 0, fmt.Errorf("request: %w", r.err)
	}
	return time.Since(start), nil
}

// run is one measurement in progress.
type run struct {
	d       block.Device
	o       Options
	next    atomic.Int64 // number of the next request
	failed  atomic.Bool
	workers sync.WaitGroup
	flushes sync.WaitGroup

	// gate is held shared by each write between flushes that drain, exclusively
	// by the flush.
	gate sync.RWMutex

	once sync.Once
	err  error // the first
}

// work sends requests from one buffer until there are none left.
func (r *run) work(buf [][]byte) {
	size, interval := r.d.Size(), int64(r.o.FlushInterval)
	offset := func(i int64) int64 { // Count * Step < 1<<62
		if i == 0 {
			return r.o.Offset // which may lie outside
		}
		return (r.o.Offset + i*r.o.Step) % size
	}
	for i := r.next.Add(1) - 1; i < int64(r.o.Count) && !r.failed.Load(); i = r.next.Add(1) - 1 {
		if interval > 0 && i > 0 && i%interval == 0 {
			r.flush()
		}
		var err error
		switch {
		case !r.o.Write:
			err = r.d.ReadV(buf, offset(i))
		case interval > 0:
			r.gate.RLock()
			err = r.d.WriteV(buf, offset(i))
			r.gate.RUnlock()
		default:
			err = r.d.WriteV(buf, offset(i))
		}
		r.fail(err)
	}
}

// flush flushes the device: with nothing else in flight, or beside it all.
func (r *run) flush() {
	if r.o.NoDrain {
		r.flushes.Go(func() { r.fail(r.d.Flush()) })
		return
	}
	r.gate.Lock()
	defer r.gate.Unlock()
	r.fail(r.d.Flush())
}

func (r *run) fail(err error) {
	if err != nil {
		r.once.Do(func() { r.err = err })
		r.failed.Store(true)
	}
}

// buffers are those of all requests in flight: page-aligned, as direct I/O
// wants them, and outside the heap, as the memory of a guest is.
type buffers struct {
	memory []byte
	bufs   [][][]byte
}

func newBuffers(o *Options) (*buffers, error) {
	depth := min(o.Depth, max(o.Count, 1))
	page := int64(os.Getpagesize())
	each := max((o.BufferSize+page-1)/page, 1) * page
	m, err := unix.Mmap(-1, 0, int(each)*depth, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("memory for %d requests of %d bytes: %w", depth, o.BufferSize, err)
	}
	b := &buffers{memory: m}
	for i := range m {
		m[i] = o.Pattern
	}
	for i := range int64(depth) {
		b.bufs = append(b.bufs, [][]byte{m[i*each : i*each+o.BufferSize]})
	}
	return b, nil
}

func (b *buffers) free() { _ = unix.Munmap(b.memory) }
