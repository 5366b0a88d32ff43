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
}

// sample is one run of one program.
type sample struct {
	seconds float64       // that the requests took
	cpu     time.Duration // of the whole process
	peak    int64         // largest resident size, in bytes
	size    int64         // of the file that it made, in bytes
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

// compare measures a row: all ways in turn, as often as there are rounds. What
// the first of them finds cold is warmed up by a run that does not count.
func (s *sides) compare(r row, rounds int) (comparison, error) {
	return s.takeTurns(r, rounds, func(w way) (sample, error) { return s.measure(r, w) })
}

// takeTurns is compare by any way to measure.
func (s *sides) takeTurns(r row, rounds int, measure func(way) (sample, error)) (comparison, error) {
	ways := append([]way{ours}, theirs(r.direct)...)
	c := comparison{count: r.count, ways: ways, samples: make([][]sample, len(ways))}
	if !r.fresh {
		if _, err := measure(ways[1]); err != nil {
			return c, err
		}
	}
	for range rounds {
		for i, w := range ways {
			one, err := measure(w)
			if err != nil {
				return c, fmt.Errorf("%s: %w", w.name, err)
			}
			c.samples[i] = append(c.samples[i], one)
		}
	}
	return c, nil
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
