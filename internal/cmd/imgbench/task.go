package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// task is a line of the second table: a whole command, the same words to both
// programs, in a directory of files that QEMU's tools made.
type task struct {
	name    string
	files   fileSet
	args    []string // of qemu-img and of govmm img
	makes   string   // a file that the command makes, removed after each run
	changes bool     // the command changes its files: each run has a copy of them
	repeat  int      // runs that one sample adds up; 0: one
	goal    goal
}

// runs is how many runs there are in a sample.
func (t *task) runs() int { return max(1, t.repeat) }

// programs that are compared, by what the command line of a task begins with.
func (s *sides) programs() [][]string { return [][]string{{s.govmm, "img"}, {"qemu-img"}} }

// compareTask measures a task: both programs in turn, as often as there are
// rounds, after a run of each that does not count.
func (s *sides) compareTask(t task, rounds int) (comparison, error) {
	c := comparison{count: t.runs(), goal: t.goal, ways: []way{ours, {name: "qemu-img"}}, samples: make([][]sample, 2)}
	dir, err := s.directory(t.files)
	if err != nil {
		return c, err
	}
	for round := 0; round <= rounds; round++ {
		begun := time.Now()
		for i, program := range s.programs() {
			one, err := s.measureTask(t, dir, program)
			if err != nil {
				return c, err
			}
			if round > 0 {
				c.samples[i] = append(c.samples[i], one)
			}
		}
		if time.Since(begun) > longRound {
			rounds = min(rounds, longRounds)
		}
	}
	return c, nil
}

// Rounds that take longer than longRound are as steady as many short ones.
const (
	longRound  = 5 * time.Second
	longRounds = 3
)

// measureTask runs a task in a directory, or in a copy of it.
func (s *sides) measureTask(t task, dir string, program []string) (sum sample, err error) {
	for range t.runs() {
		where := dir
		if t.changes {
			where = filepath.Join(s.dir, "copy")
			if err := s.tool("cp", "-r", dir, where); err != nil {
				return sum, err
			}
		}
		// What was written before is not to be paid for by who comes next.
		err := s.tool("sync", "-f", s.dir)
		if err != nil {
			return sum, err
		}
		one, err := s.runTask(t, where, program)
		if t.changes {
			err = errors.Join(err, os.RemoveAll(where))
		}
		if err != nil {
			return sum, err
		}
		sum.seconds, sum.cpu, sum.size = sum.seconds+one.seconds, sum.cpu+one.cpu, one.size
		sum.peak = max(sum.peak, one.peak)
	}
	return sum, nil
}

func (s *sides) runTask(t task, dir string, program []string) (sample, error) {
	cmd := exec.CommandContext(s.ctx, program[0], append(program[1:len(program):len(program)], t.args...)...)
	cmd.Dir = dir
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	begin := time.Now()
	err := cmd.Run()
	one := sample{seconds: time.Since(begin).Seconds()}
	if err != nil {
		return one, fmt.Errorf("%q: %w: %s", cmd.Args, err, bytes.TrimSpace(complaint.Bytes()))
	}
	if err := one.used(cmd.ProcessState); err != nil {
		return one, err
	}
	if t.makes == "" {
		return one, nil
	}
	made := filepath.Join(dir, t.makes)
	info, err := os.Stat(made)
	if err != nil {
		return one, err
	}
	one.size = info.Size()
	return one, os.Remove(made)
}

// used enters what a process used.
func (one *sample) used(state *os.ProcessState) error {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("the host does not tell what a process used")
	}
	one.cpu = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	one.peak = usage.Maxrss * kib
	return nil
}

// taskHeader names the columns of the second table: seconds and their ratio,
// CPU seconds and their ratio, the largest resident sizes, how much larger the file is
// that was made, and the goal for both ratios.
const taskHeader = "command                                     govmm s   QEMU s  ratio    CPU s    QEMU  ratio    MiB  QEMU   file  goal      met"

func (c *comparison) taskLine(t task) string {
	each := func(way int, of func(sample) float64) float64 { return median(c.each(way, of)) / float64(c.count) }
	seconds := func(s sample) float64 { return s.seconds }
	cpu := func(s sample) float64 { return s.cpu.Seconds() }
	file := "-"
	if t.makes != "" {
		file = fmt.Sprintf("%.3f", c.paired(1, func(o, t sample) float64 { return float64(o.size) / float64(t.size) }))
	}
	verdict, _ := c.verdict(1)
	return fmt.Sprintf("%-42s %8.3f %8.3f %6.2f %8.3f %7.3f %6.2f %6.0f %5.0f %6s  %v  %s", t.name,
		each(0, seconds), each(1, seconds), c.ratio(1),
		each(0, cpu), each(1, cpu), c.cpuRatio(1),
		c.peak(0), c.peak(1), file, c.goal, verdict)
}
