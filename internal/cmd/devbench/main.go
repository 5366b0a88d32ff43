// Command devbench measures govmm's controller beside that of QEMU (megasas-gen2):
// the same guest program (package ldload) in both, in turn, each in a process of its
// own, on the same disk, and prints a table. Ratios are medians of those of pairs:
// what else the host does meanwhile slows both sides.
//
//	devbench [-govmm FILE] [-rounds N] [-commands N] [-dir DIR] [-disk NAME] [-loads PATTERN]
//
// It needs /dev/kvm, qemu-system-x86_64 and qemu-img, and 70 MB in DIR.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"

	"github.com/govmm/govmm/internal/ldload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "devbench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	govmm := flag.String("govmm", "bin/govmm", "the program to measure")
	rounds := flag.Int("rounds", 5, "how often each side runs")
	commands := flag.Int("commands", 4000, "commands of a measurement")
	dir := flag.String("dir", os.TempDir(), "where the disk is made")
	only := flag.String("disk", "", "the one disk to measure, by its name in the table")
	pattern := flag.String("loads", "", "what of the table's loads to measure, as a regular expression")
	flag.Parse()
	if flag.NArg() > 0 || *rounds < 1 || *commands < deepest || *commands > 1e8 {
		return fmt.Errorf("no arguments, at least one round, and %d to 100000000 commands are allowed", deepest)
	}
	wanted, err := regexp.Compile(*pattern)
	if err != nil {
		return fmt.Errorf("-loads: %w", err)
	}
	program, err := filepath.Abs(*govmm)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, *dir, program, uint32(*commands))
	if err != nil {
		return err
	}
	defer b.close()
	return b.run(*rounds, *only, wanted, os.Stdout)
}

// run measures all disks, or only one, under the loads whose names match wanted, and
// writes the table.
func (b *bench) run(rounds int, only string, wanted *regexp.Regexp, out io.Writer) error {
	fmt.Fprintln(out, header)
	for _, d := range b.disks() {
		if only != "" && only != d.name {
			continue
		}
		d.rows = slices.DeleteFunc(d.rows, func(c ldload.Case) bool { return !wanted.MatchString(rowName(c)) })
		if err := b.program(&d); err != nil {
			return err
		}
		c := comparison{commands: float64(b.commands)}
		for range rounds {
			for side := range sideCount {
				s, err := b.measure(side, &d)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", d.name, sideNames[side], err)
				}
				c.samples[side] = append(c.samples[side], s)
			}
			if err := c.addHost(b, &d); err != nil {
				return err
			}
		}
		c.write(out, &d)
	}
	return nil
}
