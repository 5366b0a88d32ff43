package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// comparison holds the samples of a row, by way and round; the first way is
// ours.
type comparison struct {
	count   int // requests in a run
	goal    goal
	ways    []way
	samples [][]sample
}

// header names the columns: requests per second and their ratio, CPU time per
// request and its ratio, and the largest resident sizes, and the goal for both ratios.
const header = "row                                        govmm/s    QEMU/s (way)      ratio   us CPU    QEMU  ratio    MiB  QEMU  goal      met"

// best is QEMU's fastest way by the median.
func (c *comparison) best() int {
	best := 1
	for i := range c.ways[1:] {
		if c.rate(i+1) > c.rate(best) {
			best = i + 1
		}
	}
	return best
}

func (c *comparison) rate(way int) float64 {
	return median(c.each(way, func(s sample) float64 { return float64(c.count) / s.seconds }))
}

// cpu is the CPU time per request in microseconds.
func (c *comparison) cpu(way int) float64 {
	return median(c.each(way, func(s sample) float64 { return float64(s.cpu.Microseconds()) / float64(c.count) }))
}

func (c *comparison) peak(way int) float64 {
	return median(c.each(way, func(s sample) float64 { return float64(s.peak) / mib }))
}

func (c *comparison) each(way int, of func(sample) float64) []float64 {
	var list []float64
	for _, s := range c.samples[way] {
		list = append(list, of(s))
	}
	return list
}

// paired is the median over the rounds of what ratio makes of a sample of ours
// and the one beside it.
func (c *comparison) paired(way int, ratio func(ours, theirs sample) float64) float64 {
	var list []float64
	for i := range c.samples[way] {
		list = append(list, ratio(c.samples[0][i], c.samples[way][i]))
	}
	return median(list)
}

func (c *comparison) line(name string) string {
	b := c.best()
	return fmt.Sprintf("%-40s %9.0f %9.0f %-10s %6.2f %8.1f %7.1f %6.2f %6.0f %5.0f  %v  %s", name,
		c.rate(0), c.rate(b), "("+c.ways[b].name+")", c.ratio(b),
		c.cpu(0), c.cpu(b), c.cpuRatio(b),
		c.peak(0), c.peak(b), c.goal, c.verdict(b))
}

func (c *comparison) ratio(way int) float64 {
	return c.paired(way, func(o, t sample) float64 { return t.seconds / o.seconds })
}

func (c *comparison) cpuRatio(way int) float64 {
	return c.paired(way, func(o, t sample) float64 { return o.cpu.Seconds() / max(t.cpu.Seconds(), 1e-9) })
}

// reached is the verdict on a goal that was met.
const reached = "yes"

// verdict says whether the goal was reached, or what was not.
func (c *comparison) verdict(way int) string {
	var short []string
	if round(c.ratio(way)) < c.goal.ratio {
		short = append(short, "rate")
	}
	if c.goal.cpu > 0 && round(c.cpuRatio(way)) > c.goal.cpu {
		short = append(short, "CPU")
	}
	if c.peak(0) > c.peak(way)+memoryOver {
		short = append(short, "memory")
	}
	if short != nil {
		return "no: " + strings.Join(short, ", ")
	}
	return reached
}

// round is to what the table shows.
func round(x float64) float64 { return math.Round(x*100) / 100 }

// median of a list that is not empty.
func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}
