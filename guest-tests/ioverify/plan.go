package ioverify

import (
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Plan is a load that follows from its numbers alone, so that whoever knows
// them can tell what must be on the device afterwards.
type Plan struct {
	Seed       uint64
	Offset     int64 // first byte of the area used, a multiple of BlockSize
	Length     int64 // bytes of the area, divided among the workers
	Workers    int   // how many work at the same time, each in its own part
	Operations int   // of each worker
	Sizes      []int // sizes of operations in bytes, multiples of BlockSize
	Reads      int   // how many operations of 100 are reads
}

// validate reports the first thing that is wrong with the plan.
func (p *Plan) validate() error {
	if p.Workers < 1 || p.Operations < 0 || p.Reads < 0 || p.Reads > 100 || len(p.Sizes) == 0 {
		return errors.New("a plan needs workers, sizes, and from 0 to 100 reads in 100 operations")
	}
	if p.Offset < 0 || p.Offset%BlockSize != 0 || p.Length%BlockSize != 0 {
		return fmt.Errorf("offset %d and length %d must be multiples of %d", p.Offset, p.Length, BlockSize)
	}
	for _, size := range p.Sizes {
		if size <= 0 || size%BlockSize != 0 {
			return fmt.Errorf("size %d: must be a multiple of %d", size, BlockSize)
		}
		if int64(size) > p.span() {
			return fmt.Errorf("size %d: larger than the %d bytes of a worker's part", size, p.span())
		}
	}
	return nil
}

// span is the size of one worker's part in bytes.
func (p *Plan) span() int64 {
	return p.Length / int64(p.Workers) / BlockSize * BlockSize
}

// operation is one read or write of a worker.
type operation struct {
	write      bool
	offset     int64 // on the device
	size       int
	generation uint32 // of the blocks written, counted from 1 in each worker
}

// operations yields what a worker does, in order.
func (p *Plan) operations(worker int) iter.Seq[operation] {
	return func(yield func(operation) bool) {
		rng := rand.New(rand.NewPCG(p.Seed, uint64(worker)))
		base := p.Offset + int64(worker)*p.span()
		for i := range p.Operations {
			op := operation{
				size:       p.Sizes[rng.IntN(len(p.Sizes))],
				generation: uint32(i + 1),
			}
			places := (p.span()-int64(op.size))/BlockSize + 1
			op.offset = base + rng.Int64N(places)*BlockSize
			op.write = rng.IntN(100) >= p.Reads
			if !yield(op) {
				return
			}
		}
	}
}

// Flags defines the plan's flags in fs.
func (p *Plan) Flags(fs *flag.FlagSet) {
	fs.Uint64Var(&p.Seed, "seed", 1, "number that the load and the data follow from")
	fs.Int64Var(&p.Offset, "offset", 0, "first byte of the area used")
	fs.Int64Var(&p.Length, "length", 16<<20, "bytes of the area")
	fs.IntVar(&p.Workers, "workers", 4, "how many work at the same time")
	fs.IntVar(&p.Operations, "operations", 200, "operations of each worker")
	fs.IntVar(&p.Reads, "reads", 50, "how many operations of 100 are reads")
	p.Sizes = []int{512, 4096, 65536, 1 << 20}
	fs.Func("sizes", "sizes of operations in bytes, with commas (default 512,4096,65536,1048576)", func(list string) error {
		p.Sizes = nil
		for s := range strings.SplitSeq(list, ",") {
			size, err := strconv.Atoi(s)
			if err != nil {
				return fmt.Errorf("size %q: %w", s, err)
			}
			p.Sizes = append(p.Sizes, size)
		}
		return nil
	})
}

// Args returns the flags that make Flags read the same plan.
func (p *Plan) Args() []string {
	sizes := make([]string, len(p.Sizes))
	for i, s := range p.Sizes {
		sizes[i] = strconv.Itoa(s)
	}
	return []string{
		"--seed", strconv.FormatUint(p.Seed, 10),
		"--offset", strconv.FormatInt(p.Offset, 10),
		"--length", strconv.FormatInt(p.Length, 10),
		"--workers", strconv.Itoa(p.Workers),
		"--operations", strconv.Itoa(p.Operations),
		"--reads", strconv.Itoa(p.Reads),
		"--sizes", strings.Join(sizes, ","),
	}
}
