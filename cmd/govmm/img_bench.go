package main

import (
	"fmt"
	"strconv"

	"github.com/govmm/govmm/internal/bench"
	"github.com/govmm/govmm/internal/block"
	"github.com/spf13/cobra"
)

// benchFlags are the flags of govmm img bench.
type benchFlags struct {
	bench.Options
	bufferSize, step, offset byteSize
	format                   choice
	aio                      choice
	native                   bool
	cache                    string
	pattern                  string
	quiet                    bool
	share                    bool
}

func (a *app) imgBenchCommand() *cobra.Command {
	f := benchFlags{
		bufferSize: byteSize{bytes: 4096, unit: 1},
		step:       byteSize{unit: 1},
		offset:     byteSize{unit: 1},
		format:     choice{allowed: []string{"qcow2", "raw"}},
		aio:        choice{value: "threads", allowed: []string{"threads", "native", "io_uring"}},
	}
	cmd := &cobra.Command{
		Use:   "bench [flags] FILE",
		Short: "Measure how fast a disk image is",
		Long: `bench sends requests to a disk image and says how long they took. The requests
are those of qemu-img bench with the same flags, so that the two compare: request
N goes to the offset plus N times the step size, around the end of the disk.

Cache modes of -t:
  writeback     through the page cache of the host (the default)
  none          direct I/O, past the page cache
  writethrough  as writeback, and every write is made durable
  directsync    as none, and every write is made durable
  unsafe        as writeback, and nothing is ever made durable`,
		Example: `  govmm img bench -t none disk.qcow2
  govmm img bench -w -c 100000 -d 32 -s 64K --flush-interval 1000 scratch.qcow2`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("img bench: Expecting one image file name")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.imgBench(&f, args[0]) },
	}
	fl := cmd.Flags()
	fl.IntVarP(&f.Count, "count", "c", 75000, "`NUMBER` of requests")
	fl.IntVarP(&f.Depth, "depth", "d", 64, "`NUMBER` of requests in flight")
	fl.VarP(&f.format, "format", "f", "format of the image (default: qcow2, if it is that)")
	f.format.complete(cmd, "format")
	fl.VarP(&f.aio, "aio", "i", "taken for the sake of scripts; there is one way to do I/O")
	f.aio.complete(cmd, "aio")
	fl.BoolVarP(&f.native, "native", "n", false, "taken for the sake of scripts, as -i")
	fl.VarP(&f.offset, "offset", "o", "where the first request goes")
	fl.StringVar(&f.pattern, "pattern", "0", "`BYTE` to write")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print no warnings")
	fl.VarP(&f.bufferSize, "buffer-size", "s", "size of a request")
	fl.VarP(&f.step, "step", "S", "distance from one request to the next (default: the size of a request)")
	fl.StringVarP(&f.cache, "cache", "t", "writeback", "cache `MODE`")
	fl.BoolVarP(&f.Write, "write", "w", false, "write; what was in the image is lost")
	fl.BoolVarP(&f.share, "force-share", "U", false, "open the image also when others use it")
	fl.IntVar(&f.FlushInterval, "flush-interval", 0, "flush after every `NUMBER` of writes")
	fl.BoolVar(&f.NoDrain, "no-drain", false, "let requests go on during a flush")
	return cmd
}

func (a *app) imgBench(f *benchFlags, file string) (err error) {
	spec := block.Spec{Path: file, Format: f.format.value, ReadOnly: !f.Write}
	through, err := spec.SetCacheMode(f.cache)
	if err != nil {
		return err
	}
	o := f.Options
	o.BufferSize, o.Step, o.Offset = int64(f.bufferSize.bytes), int64(f.step.bytes), int64(f.offset.bytes)
	if o.Step == 0 {
		o.Step = o.BufferSize
	}
	pattern, err := strconv.ParseUint(f.pattern, 0, 8)
	if err != nil {
		return fmt.Errorf("--pattern %s: Invalid pattern byte specified", f.pattern)
	}
	o.Pattern = byte(pattern)
	if err := o.Validate(); err != nil {
		return err
	}
	d, err := block.Open(spec)
	if err != nil {
		return err
	}
	if through {
		d = block.WriteThrough(d)
	}
	defer func() {
		if e := d.Close(); err == nil {
			err = e
		}
	}()
	fmt.Fprint(a.stdout, o.Describe())
	took, err := bench.Run(d, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "Run completed in %.3f seconds.\n", took.Seconds())
	return nil
}
