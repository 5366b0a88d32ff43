package main

import (
	"fmt"
	"slices"
)

// comparison holds the samples of a row, by way and round; the first way is
// ours.
type comparison struct {
	count   int // requests in a run
	ways    []way
	samples [][]sample
}

// header names the columns: requests per second and their ratio, CPU time per
// request and its ratio, and the largest resident sizes.
const header = "row                                        govmm/s    QEMU/s (way)      ratio   us CPU    QEMU  ratio    MiB  QEMU"

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
	return fmt.Sprintf("%-40s %9.0f %9.0f %-10s %6.2f %8.1f %7.1f %6.2f %6.0f %5.0f", name,
		c.rate(0), c.rate(b), "("+c.ways[b].name+")",
		c.paired(b, func(o, t sample) float64 { return t.seconds / o.seconds }),
		c.cpu(0), c.cpu(b),
		c.paired(b, func(o, t sample) float64 { return float64(o.cpu) / float64(t.cpu) }),
		c.peak(0), c.peak(b))
}

// median of a list that is not empty.
func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}
