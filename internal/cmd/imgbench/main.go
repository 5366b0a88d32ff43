// Command imgbench measures govmm beside QEMU's tools: the same requests to the
// same images, `govmm img bench` and `qemu-img bench` in turn, each in a process
// of its own, and prints a table. A row compares medians of pairs: what else
// the host does meanwhile slows both sides.
//
//	imgbench [-govmm FILE] [-rounds N] [-run REGEXP] [-dir DIR]
//
// It needs qemu-img and qemu-io, and 6 GB in DIR. The images are removed at the
// end.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "imgbench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	govmm := flag.String("govmm", "bin/govmm", "the program to measure")
	rounds := flag.Int("rounds", 5, "how often each side runs")
	pattern := flag.String("run", "", "only the rows whose names match")
	dir := flag.String("dir", os.TempDir(), "where images are made")
	flag.Parse()
	if flag.NArg() > 0 || *rounds < 1 {
		return fmt.Errorf("no arguments, and at least one round, are allowed")
	}
	match, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}
	program, err := filepath.Abs(*govmm)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(*dir, "imgbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	s := sides{ctx: ctx, dir: work, govmm: program}
	fmt.Println(header)
	for _, r := range rows() {
		if !match.MatchString(r.name) {
			continue
		}
		c, err := s.compare(r, *rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Println(c.line(r.name))
	}
	return nil
}
