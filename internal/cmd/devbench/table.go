package main

import (
	"fmt"
	"io"
	"slices"
)

// comparison holds the samples of a disk, by side and round.
type comparison struct {
	commands float64 // of a case
	samples  [sideCount][]sample
}

// header names the columns: commands per second, CPU time per command of all that
// is not the guest's own instructions, exits and interrupts per command, each of
// both sides; and the ratios of the first two.
const header = "4 KiB reads           govmm/s    QEMU/s  ratio    us CPU    QEMU  ratio     exits  QEMU   interrupts  QEMU"

// write writes the lines of a disk.
func (c *comparison) write(out io.Writer, name string) {
	for _, row := range []struct{ number, depth int }{{caseOne, 1}, {caseDeep, deepest}} {
		of := func(f func(c caseSample) float64) func(s *sample) float64 {
			return func(s *sample) float64 { return f(s.cases[row.number]) }
		}
		rate := of(func(o caseSample) float64 { return c.commands / o.took.Seconds() })
		exits := of(func(o caseSample) float64 { return float64(o.exits) / c.commands })
		interrupts := of(func(o caseSample) float64 { return float64(o.interrupts) / c.commands })
		cpu := func(s *sample) float64 { return s.device(row.number, c.commands) }
		fmt.Fprintf(out, "%-20s %8.0f %9.0f %6.2f  %8.1f %7.1f %6.2f  %8.2f %5.2f   %10.2f %5.2f\n",
			fmt.Sprintf("%s, depth %d", name, row.depth),
			c.median(sideGovmm, rate), c.median(sideQEMU, rate), c.ratio(rate),
			c.median(sideGovmm, cpu), c.median(sideQEMU, cpu), c.ratio(cpu),
			c.median(sideGovmm, exits), c.median(sideQEMU, exits),
			c.median(sideGovmm, interrupts), c.median(sideQEMU, interrupts))
	}
	start := func(s *sample) float64 { return s.start.Seconds() * 1000 }
	peak := func(s *sample) float64 { return float64(s.peak) / (1 << 20) }
	guest := func(number int) func(s *sample) float64 {
		return func(s *sample) float64 { return float64(s.cases[number].cpu.Microseconds()) / c.commands }
	}
	fmt.Fprintf(out, "%s: %.0f ms to the guest's first word (QEMU %.0f), %.0f MiB resident at most, what is touched of the guest's %d included (QEMU %.0f)\n",
		name, c.median(sideGovmm, start), c.median(sideQEMU, start), c.median(sideGovmm, peak), memoryMiB, c.median(sideQEMU, peak))
	fmt.Fprintf(out, "%s: %.1f us CPU of the guest's own per command (QEMU %.1f), %.1f with an interrupt (QEMU %.1f): not in the table\n",
		name, c.median(sideGovmm, guest(caseDry)), c.median(sideQEMU, guest(caseDry)),
		c.median(sideGovmm, guest(caseInterrupts)), c.median(sideQEMU, guest(caseInterrupts)))
}

// device is the CPU time per command, in microseconds, of all that is not the
// guest's own instructions.
func (s *sample) device(number int, commands float64) float64 {
	perCommand := func(number int) float64 { return float64(s.cases[number].cpu.Microseconds()) / commands }
	one := &s.cases[number]
	interrupt := perCommand(caseInterrupts) - perCommand(caseDry)
	return perCommand(number) - perCommand(caseDry) - interrupt*float64(one.interrupts)/commands
}

// median is that of a figure of a side.
func (c *comparison) median(side int, of func(*sample) float64) float64 {
	var list []float64
	for i := range c.samples[side] {
		list = append(list, of(&c.samples[side][i]))
	}
	return median(list)
}

// ratio is the median over the rounds of our figure by the one beside it.
func (c *comparison) ratio(of func(*sample) float64) float64 {
	var list []float64
	for i := range c.samples[sideGovmm] {
		list = append(list, of(&c.samples[sideGovmm][i])/of(&c.samples[sideQEMU][i]))
	}
	return median(list)
}

// median of a list that is not empty.
func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}
