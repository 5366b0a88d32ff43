package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/govmm/govmm/internal/ldload"
)

// comparison holds the samples of a disk, by side and round.
type comparison struct {
	commands float64 // of a case
	samples  [sideCount][]sample
	host     map[int][]float64 // what the host's own writes take, in us, by size and round
}

// addHost measures the host's own writes, of the sizes that the disk is given alone.
func (c *comparison) addHost(b *bench, d *disk) error {
	if c.host == nil {
		c.host = make(map[int][]float64)
	}
	for _, row := range d.rows {
		if !d.durable || row.Depth > 1 {
			continue
		}
		size := max(row.Size, ldload.DefaultSize)
		took, err := b.hostWrites(size)
		if err != nil {
			return err
		}
		c.host[size] = append(c.host[size], float64(took.Nanoseconds())/1000)
	}
	return nil
}

// header names the columns, each of both sides: commands per second; CPU time per
// command in microseconds, of the device and in all; exits and interrupts per
// command. Ratios are those of govmm's figure to QEMU's.
const header = "                                   govmm/s    QEMU/s  ratio    device    QEMU  ratio    in all    QEMU  ratio     exits  QEMU  interrupts  QEMU"

// rowName tells the rows of a disk apart.
func rowName(c ldload.Case) string {
	name := "read"
	if c.Write {
		name = "write"
	}
	if c.Size == large {
		name += " 64k"
	} else {
		name += " 4k"
	}
	name += fmt.Sprintf(", depth %d", c.Depth)
	switch c.Wait {
	case ldload.Poll:
		name += ", polling"
	case ldload.Interrupt:
		name += ", interruptible"
	}
	return name
}

// write writes the lines of a disk.
func (c *comparison) write(out io.Writer, d *disk) {
	fmt.Fprintln(out, d.name)
	for i, row := range d.rows {
		number := caseRows + i
		of := func(f func(c caseSample) float64) func(s *sample) float64 {
			return func(s *sample) float64 { return f(s.cases[number]) }
		}
		rate := of(func(o caseSample) float64 { return c.commands / o.took.Seconds() })
		exits := of(func(o caseSample) float64 { return float64(o.exits) / c.commands })
		interrupts := of(func(o caseSample) float64 { return float64(o.interrupts) / c.commands })
		all := func(s *sample) float64 { return s.perCommand(number, c.commands) }
		device := func(s *sample) float64 { return s.device(number, c.commands) }
		fmt.Fprintf(out, "  %-32s %7.0f %9.0f %6.2f  %8.1f %7.1f %6.2f  %8.1f %7.1f %6.2f  %8.2f %5.2f  %10.2f %5.2f\n",
			rowName(row),
			c.median(sideGovmm, rate), c.median(sideQEMU, rate), c.ratio(rate),
			c.median(sideGovmm, device), c.median(sideQEMU, device), c.ratio(device),
			c.median(sideGovmm, all), c.median(sideQEMU, all), c.ratio(all),
			c.median(sideGovmm, exits), c.median(sideQEMU, exits),
			c.median(sideGovmm, interrupts), c.median(sideQEMU, interrupts))
	}
	for _, size := range slices.Sorted(maps.Keys(c.host)) {
		number := caseRows + slices.IndexFunc(d.rows, func(r ldload.Case) bool { return max(r.Size, ldload.DefaultSize) == size })
		var ratios []float64
		for i, host := range c.host[size] {
			mine, theirs := c.samples[sideGovmm][i].device(number, c.commands), c.samples[sideQEMU][i].device(number, c.commands)
			ratios = append(ratios, (mine-host)/(theirs-host))
		}
		fmt.Fprintf(out, "  of a write of %dk at depth 1, %.1f us CPU are the host's own pwrite and fdatasync; without, the ratio is %.2f\n",
			size>>10, median(c.host[size]), median(ratios))
	}
	start := func(s *sample) float64 { return s.start.Seconds() * 1000 }
	peak := func(s *sample) float64 { return float64(s.peak) / (1 << 20) }
	dry := func(s *sample) float64 { return s.perCommand(caseDry, c.commands) }
	beyond := func(number int) func(s *sample) float64 {
		return func(s *sample) float64 { return s.perCommand(number, c.commands) - dry(s) }
	}
	fmt.Fprintf(out, "  %.0f ms to the guest's first word (QEMU %.0f), %.0f MiB resident at most, what is touched of the guest's %d included (QEMU %.0f)\n",
		c.median(sideGovmm, start), c.median(sideQEMU, start), c.median(sideGovmm, peak), memoryMiB, c.median(sideQEMU, peak))
	fmt.Fprintf(out, "  not the device's are %.1f us CPU of a command's instructions (QEMU %.1f), %.1f of an interrupt (QEMU %.1f), %.1f of an exit (QEMU %.1f)\n",
		c.median(sideGovmm, dry), c.median(sideQEMU, dry),
		c.median(sideGovmm, beyond(caseInterrupts)), c.median(sideQEMU, beyond(caseInterrupts)),
		c.median(sideGovmm, beyond(caseExits)), c.median(sideQEMU, beyond(caseExits)))
}

// perCommand is the CPU time per command in microseconds, but for what the host's
// kernel polls at halts: whether and how long is its guess (halt_poll_ns), up to 200
// us each, which hides what the sides themselves do.
func (s *sample) perCommand(number int, commands float64) float64 {
	one := &s.cases[number]
	return float64((one.cpu - one.polled).Nanoseconds()) / 1000 / commands
}

// device is the CPU time per command, in microseconds, of all that is not the
// guest's: its instructions, interrupts, and the bare exits that its accesses are.
func (s *sample) device(number int, commands float64) float64 {
	dry := s.perCommand(caseDry, commands)
	one := &s.cases[number]
	return s.perCommand(number, commands) - dry -
		(s.perCommand(caseInterrupts, commands)-dry)*float64(one.interrupts)/commands -
		(s.perCommand(caseExits, commands)-dry)*float64(one.exits)/commands
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
