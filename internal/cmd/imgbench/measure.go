package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// sides runs both programs.
type sides struct {
	ctx   context.Context
	dir   string // of the images
	govmm string
	fio   string // the program; empty: it is not installed

	rawSize int64 // of the files that fio uses in place of full images, in bytes

	lines, met, beyond int // of the tables, so far; beyond: missed, and more than the host does
}

// count enters a line that was printed.
func (s *sides) count(c *comparison) {
	s.lines++
	verdict, beyond := c.verdict(c.best())
	switch {
	case verdict == reached:
		s.met++
	case beyond:
		s.beyond++
	}
}

// summary is the last line.
func (s *sides) summary(took time.Duration) string {
	line := fmt.Sprintf("%d of %d goals met, in %v", s.met, s.lines, took.Round(time.Second))
	if missed := s.lines - s.met; missed > 0 && s.fio != "" {
		line += fmt.Sprintf("; %d of the %d missed are beyond what the host does alone", s.beyond, missed)
	}
	return line
}

// sample is one run of one program.
type sample struct {
	seconds float64       // that the requests took
	cpu     time.Duration // of the whole process
	peak    int64         // largest resident size, in bytes
	size    int64         // of the file that it made, in bytes
	read    int64         // bytes that it had the disk read; only of rows with tables
}

// way is a program with a way of doing I/O.
type way struct {
	name string
	args []string
}

var ours = way{name: "govmm"}

// theirs are QEMU's ways of I/O; native is for direct I/O alone.
func theirs(direct bool) []way {
	list := []way{
		{"threads", []string{"-i", "threads"}},
		{"io_uring", []string{"-i", "io_uring"}},
	}
	if direct {
		list = append(list, way{"native", []string{"-n", "-i", "native"}})
	}
	return list
}

// compare measures a row: ours and QEMU's fastest way in turn, as often as there are
// rounds.
func (s *sides) compare(r row, rounds int) (comparison, error) {
	c, err := begin(&r, s.measure)
	for range rounds {
		if err == nil {
			err = c.round(r, s.measure)
		}
	}
	return c, err
}

// begin makes a comparison of a row by any way to measure: it probes, and sets the number of
// the row's requests.
func begin(r *row, measure func(row, way) (sample, error)) (comparison, error) {
	fastest, err := r.probe(measure)
	return comparison{count: r.count, goal: r.goal, ways: []way{ours, fastest}, samples: make([][]sample, 2)}, err
}

// round measures both sides once more.
func (c *comparison) round(r row, measure func(row, way) (sample, error)) error {
	for i, w := range c.ways {
		one, err := measure(r, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		c.samples[i] = append(c.samples[i], one)
	}
	return nil
}

// Runs are so long at QEMU's side that what they measure is steady, and no longer: other
// things on the host change in minutes, so that many short pairs say more than a long one.
const (
	runTime  = 0.4 // seconds
	probeOf  = 10  // a probe has that part of the requests
	leastRun = 3   // requests for each that is in flight
)

// probe runs each of QEMU's ways once, with a part of the requests, which also warms up
// what the first one finds cold. It returns the fastest, and sets the number of requests to
// what that carries out in the time of a run.
func (r *row) probe(measure func(row, way) (sample, error)) (fastest way, err error) {
	least := min(r.count, leastRun*r.depth)
	part := *r
	part.count = max(least, r.count/probeOf)
	rate := 0.0
	for _, w := range theirs(r.direct) {
		one, err := measure(part, w)
		if err != nil {
			return w, fmt.Errorf("%s: %w", w.name, err)
		}
		if here := float64(part.count) / one.seconds; here > rate {
			fastest, rate = w, here
		}
	}
	seconds := r.seconds
	if seconds == 0 {
		seconds = runTime
	}
	r.count = min(r.count, max(least, int(rate*seconds)))
	return fastest, nil
}

// measure runs one program once.
func (s *sides) measure(r row, w way) (sample, error) {
	file, err := s.file(r.image)
	if err != nil {
		return sample{}, err
	}
	program, args := "qemu-img", append(r.args(), w.args...)
	if w.name == ours.name {
		program, args = s.govmm, append([]string{"img"}, args...)
	}
	cmd := exec.CommandContext(s.ctx, program, append(args, file)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if r.fresh {
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil {
		return sample{}, fmt.Errorf("%q: %w: %s", cmd.Args, err, bytes.TrimSpace(out.Bytes()))
	}
	seconds, err := completed(out.String())
	one := sample{seconds: seconds}
	return one, errors.Join(err, one.used(cmd.ProcessState))
}

var completedLine = regexp.MustCompile(`(?m)^Run completed in (\d+\.\d+) seconds\.$`)

// completed finds the result in what a program printed.
func completed(out string) (seconds float64, err error) {
	m := completedLine.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no result in %q", out)
	}
	seconds, err = strconv.ParseFloat(m[1], 64)
	return max(seconds, 0.0005), err // it is rounded to milliseconds
}
