package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// comparison holds the samples of a row, by way and round; the first way is
// ours.
type comparison struct {
	count   int // requests in a run
	goal    goal
	ways    []way
	samples [][]sample
	host    []hostSample // by round; nil: there is nothing to measure of the host alone
}

// header names the columns: requests per second and their ratio, CPU time per
// request and its ratio, the largest resident sizes, requests per second and CPU time of
// the host alone, and the goal for both ratios.
const header = "row                                                  govmm/s   QEMU/s (way)      ratio  us CPU   QEMU ratio  MiB QEMU   host/s us CPU  goal       met"

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

// transfers is how many transfers of so many bytes a request took in the last round, as the
// host has counted what the disk was asked for: on the side that needed less.
func (c *comparison) transfers(size int64) float64 {
	bytes := int64(math.MaxInt64)
	for _, list := range c.samples {
		bytes = min(bytes, list[len(list)-1].read)
	}
	return float64(bytes) / float64(size) / float64(c.count)
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
	hostRate, hostCPU := "-", "-"
	if c.host != nil {
		hostRate = fmt.Sprintf("%.0f", median(c.eachHost(func(h hostSample) float64 { return h.rate })))
		hostCPU = fmt.Sprintf("%.1f", median(c.eachHost(func(h hostSample) float64 { return h.cpu })))
	}
	verdict, _ := c.verdict(b)
	return fmt.Sprintf("%-51s %8.0f %8.0f %-10s %5.2f %7.1f %6.1f %5.2f %4.0f %4.0f %8s %6s  %v  %s", name,
		c.rate(0), c.rate(b), "("+c.ways[b].name+")", c.ratio(b),
		c.cpu(0), c.cpu(b), c.cpuRatio(b),
		c.peak(0), c.peak(b), hostRate, hostCPU, c.goal, verdict)
}

func (c *comparison) eachHost(of func(hostSample) float64) []float64 {
	var list []float64
	for _, h := range c.host {
		list = append(list, of(h))
	}
	return list
}

// hostRate is the host's rate as a part of one side's, the median over the rounds.
func (c *comparison) hostRate(way int) float64 {
	return c.hostPaired(way, func(h hostSample, one sample) float64 { return h.rate * one.seconds / float64(c.count) })
}

// hostCPU is the CPU time that the host takes as a part of one side's.
func (c *comparison) hostCPU(way int) float64 {
	return c.hostPaired(way, func(h hostSample, one sample) float64 {
		return h.cpu * float64(c.count) * float64(time.Microsecond) / float64(max(one.cpu, 1))
	})
}

func (c *comparison) hostPaired(way int, ratio func(h hostSample, one sample) float64) float64 {
	var list []float64
	for i, h := range c.host {
		list = append(list, ratio(h, c.samples[way][i]))
	}
	return median(list)
}

func (c *comparison) ratio(way int) float64 {
	return c.paired(way, func(o, t sample) float64 { return t.seconds / o.seconds })
}

func (c *comparison) cpuRatio(way int) float64 {
	return c.paired(way, func(o, t sample) float64 { return o.cpu.Seconds() / max(t.cpu.Seconds(), 1e-9) })
}

// reached is the verdict on a goal that was met.
const reached = "yes"

// outrun is by how much a server is to be better than fio, for fio not to be what shows the
// host's limits: runs differ by as much.
const outrun = 1.05

// verdict says whether the goal was reached, or what was not. What was not and is beyond what
// the host does alone has the host's rate as a part of the one asked for, or its CPU time of the
// one allowed; nothing is said of a host whose limits fio does not show.
func (c *comparison) verdict(way int) (verdict string, beyond bool) {
	var short []string
	miss := func(what string, part float64, isBeyond bool) {
		if isBeyond {
			what, beyond = fmt.Sprintf("%s (host %.2f of it)", what, part), true
		}
		short = append(short, what)
	}
	if round(c.ratio(way)) < c.goal.ratio {
		var part float64
		known := c.host != nil && outrun*min(c.hostRate(0), c.hostRate(way)) >= 1
		if known {
			part = round(c.hostRate(way) / c.goal.ratio)
		}
		miss("rate", part, known && part < 1)
	}
	if c.goal.cpu > 0 && round(c.cpuRatio(way)) > c.goal.cpu {
		var part float64
		known := c.host != nil && max(c.hostCPU(0), c.hostCPU(way)) <= outrun
		if known {
			part = round(c.hostCPU(way) / c.goal.cpu)
		}
		miss("CPU", part, known && part > 1)
	}
	if c.peak(0) > c.peak(way)+memoryOver {
		short = append(short, "memory")
	}
	if short != nil {
		return "no: " + strings.Join(short, ", "), beyond
	}
	return reached, false
}

// round is to what the table shows.
func round(x float64) float64 { return math.Round(x*100) / 100 }

// median of a list that is not empty.
func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}
