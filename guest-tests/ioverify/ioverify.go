// Package ioverify loads a block device and proves that it kept its data. Many
// workers write and read at once, each in its own part of the device; every
// block carries its own number, the generation of its last write and data that
// follows from both, so that a lost, torn, repeated or misplaced write is named
// for what it is. As the load follows from a few numbers, the data can also be
// checked later, from another machine, or on the image from outside.
package ioverify

import (
	"fmt"
	"io"
	"sync"
)

// Device is what is loaded.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// Counters say how much was done.
type Counters struct {
	Reads        uint64 `json:"reads"`
	Writes       uint64 `json:"writes"`
	BytesRead    uint64 `json:"bytesRead"`
	BytesWritten uint64 `json:"bytesWritten"`
}

func (c *Counters) add(o Counters) {
	c.Reads += o.Reads
	c.Writes += o.Writes
	c.BytesRead += o.BytesRead
	c.BytesWritten += o.BytesWritten
}

// Allocate returns a buffer of n bytes to read into and write from. Direct I/O
// needs one that is aligned.
type Allocate func(n int) ([]byte, error)

// Run carries out the plan, checking what it reads on the way. The area must
// read as zeroes before.
func Run(dev Device, plan Plan, alloc Allocate) (Counters, error) {
	return eachWorker(plan, alloc, func(worker int, buf []byte) (Counters, error) {
		return load(dev, plan, worker, buf)
	})
}

// Verify checks that the whole area of the plan holds what Run left there.
func Verify(dev io.ReaderAt, plan Plan, alloc Allocate) (Counters, error) {
	return eachWorker(plan, alloc, func(worker int, buf []byte) (Counters, error) {
		return verify(dev, plan, worker, buf)
	})
}

// eachWorker calls work for all workers at once, each with a buffer for the
// largest operation, and returns the sum and the first error.
func eachWorker(plan Plan, alloc Allocate, work func(worker int, buf []byte) (Counters, error)) (Counters, error) {
	if err := plan.validate(); err != nil {
		return Counters{}, err
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards total and first
		total Counters
		first error
	)
	for worker := range plan.Workers {
		buf, err := alloc(plan.largest())
		if err != nil {
			return Counters{}, err
		}
		wg.Go(func() {
			done, err := work(worker, buf)
			mu.Lock()
			defer mu.Unlock()
			total.add(done)
			if err != nil && first == nil {
				first = fmt.Errorf("worker %d: %w", worker, err)
			}
		})
	}
	wg.Wait()
	return total, first
}

func (p *Plan) largest() int {
	largest := 0
	for _, s := range p.Sizes {
		largest = max(largest, s)
	}
	return largest
}

// generations are those of the blocks of one worker's part.
type generations struct {
	first uint64 // number of the first block on the device
	of    []uint32
}

func newGenerations(plan *Plan, worker int) generations {
	return generations{
		first: uint64(plan.Offset+int64(worker)*plan.span()) / BlockSize,
		of:    make([]uint32, plan.span()/BlockSize),
	}
}

func (g generations) wrote(op operation) {
	start := uint64(op.offset)/BlockSize - g.first
	for i := range uint64(op.size / BlockSize) {
		g.of[start+i] = op.generation
	}
}

// check compares what was read at offset with what must be there.
func (g generations) check(p []byte, seed uint64, offset int64) error {
	for i := 0; i < len(p); i += BlockSize {
		block := uint64(offset+int64(i)) / BlockSize
		if err := check(p[i:i+BlockSize], seed, block, g.of[block-g.first]); err != nil {
			return err
		}
	}
	return nil
}

func load(dev Device, plan Plan, worker int, buf []byte) (Counters, error) {
	var done Counters
	gens := newGenerations(&plan, worker)
	for op := range plan.operations(worker) {
		p := buf[:op.size]
		if op.write {
			for i := 0; i < len(p); i += BlockSize {
				fill(p[i:i+BlockSize], plan.Seed, uint64(op.offset+int64(i))/BlockSize, op.generation)
			}
			if _, err := dev.WriteAt(p, op.offset); err != nil {
				return done, err
			}
			gens.wrote(op)
			done.Writes++
			done.BytesWritten += uint64(len(p))
			continue
		}
		if _, err := dev.ReadAt(p, op.offset); err != nil {
			return done, err
		}
		done.Reads++
		done.BytesRead += uint64(len(p))
		if err := gens.check(p, plan.Seed, op.offset); err != nil {
			return done, fmt.Errorf("after %d operations: %w", op.generation-1, err)
		}
	}
	return done, nil
}

func verify(dev io.ReaderAt, plan Plan, worker int, buf []byte) (Counters, error) {
	var done Counters
	gens := newGenerations(&plan, worker)
	for op := range plan.operations(worker) {
		if op.write {
			gens.wrote(op)
		}
	}
	start := int64(gens.first) * BlockSize
	for at := int64(0); at < plan.span(); at += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), plan.span()-at)]
		if _, err := dev.ReadAt(p, start+at); err != nil {
			return done, err
		}
		done.Reads++
		done.BytesRead += uint64(len(p))
		if err := gens.check(p, plan.Seed, start+at); err != nil {
			return done, err
		}
	}
	return done, nil
}
