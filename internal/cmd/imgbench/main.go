// Command imgbench measures govmm beside QEMU's tools, both in turn, each in a
// process of its own, and prints two tables: the same requests to the same
// images, and whole commands of `govmm img` and `qemu-img`. Requests are made by
// `govmm img bench` and `qemu-img bench` or, in rows that begin with "nbd:", by one
// client of `govmm nbd` and `qemu-nbd`; the CPU time and memory are the server's.
// A row compares medians of pairs: what else the host does meanwhile slows both
// sides.
//
// Each line ends with what it is to reach, and whether it does: the ratio of the rates, that of
// the CPU times if there is one, and QEMU's memory and 8 MiB.
//
// Where requests are plain transfers of a file, fio makes the same ones to a raw file in each
// round, with the same number in flight, with direct I/O or through the page cache, and for new
// clusters with the same holes between them: what the host does alone, without a server. Two
// columns have its rate and its CPU time per request ("-" where there is nothing like it, or no
// fio). Rows whose requests need tables from the disk, too, have scattered reads of a raw file that
// takes as much of the disk as the image, divided by how many of them a request took: the host's
// count of what the servers had the disk read (read_bytes in proc_pid_io(5)) says it. A goal that was missed and that asks for more than that is marked, as in
// "rate (host 0.64 of it)": it is beyond the host, and not met.
//
//	imgbench [-govmm FILE] [-rounds N] [-run REGEXP] [-all] [-dir DIR]
//
// Rows of `img bench` are measured with -all, or if -run names them. It needs qemu-img,
// qemu-io and qemu-nbd, and 28 GB in DIR. The images are removed at the end.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
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
	all := flag.Bool("all", false, "also the rows of img bench")
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
	s := sides{ctx: ctx, dir: work, govmm: program, rawSize: rawSize}
	if s.fio, err = exec.LookPath("fio"); err != nil {
		fmt.Println("fio is not installed: what the host does alone is not measured")
	}
	begun := time.Now()
	if err := s.requests(match, *rounds, *all || *pattern != ""); err != nil {
		return err
	}
	if err := s.commands(match, *rounds); err != nil {
		return err
	}
	fmt.Println("\n" + s.summary(time.Since(begun)))
	return nil
}

// requests prints the first table, with or without the rows of img bench.
func (s *sides) requests(match *regexp.Regexp, rounds int, bench bool) error {
	fmt.Println(header)
	line := func(name string, compare func() (comparison, error)) error {
		if !match.MatchString(name) {
			return nil
		}
		c, err := compare()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Println(c.line(name))
		s.count(&c)
		return nil
	}
	for _, r := range rows() {
		if !bench {
			break
		}
		if err := line(r.name, func() (comparison, error) { return s.compare(r, rounds) }); err != nil {
			return err
		}
	}
	for _, r := range nbdRows() {
		if err := line(r.name, func() (comparison, error) { return s.compareNBD(r, rounds) }); err != nil {
			return err
		}
	}
	return nil
}

// commands prints the second one.
func (s *sides) commands(match *regexp.Regexp, rounds int) error {
	fmt.Println("\n" + taskHeader)
	for _, t := range tasks() {
		if !match.MatchString(t.name) {
			continue
		}
		c, err := s.compareTask(t, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		fmt.Println(c.taskLine(t))
		s.count(&c)
	}
	return nil
}
