package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/govmm/govmm/guest-tests/harness"
)

// startsHeader names the columns: from the start of the process, ours and QEMU's,
// and the ratio.
const startsHeader = "start to                  govmm ms    QEMU ms  ratio     CPU ms    QEMU  ratio   MiB  QEMU"

// writeStart writes a line of the first table. Both sides have as many runs.
func writeStart(out io.Writer, name string, runs [sideCount][]started) {
	figure := func(of func(started) float64) (ours, theirs, ratio float64) {
		var lists [sideCount][]float64
		for side := range runs {
			for _, r := range runs[side] {
				lists[side] = append(lists[side], of(r))
			}
		}
		return median(lists[sideGovmm]), median(lists[sideQEMU]), pairs(lists[sideGovmm], lists[sideQEMU])
	}
	wall, qemuWall, wallRatio := figure(func(s started) float64 { return milliseconds(s.wall) })
	cpu, qemuCPU, cpuRatio := figure(func(s started) float64 { return milliseconds(s.cpu) })
	mem, qemuMem, _ := figure(func(s started) float64 { return float64(s.resident) / (1 << 20) })
	fmt.Fprintf(out, "%-22s %11.1f %10.1f %6.2f %10.1f %7.1f %6.2f %5.1f %5.1f\n",
		name, wall, qemuWall, wallRatio, cpu, qemuCPU, cpuRatio, mem, qemuMem)
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// write writes the second table: a line for each figure, a column for each side,
// and the ratios of ours to the others.
func (r result) write(out io.Writer, accel harness.Accelerator, image string) {
	fmt.Fprintf(out, "\n%v\n%s", accel, r.Starts)
	fmt.Fprintf(out, "%-34s", "Debian's kernel, "+image)
	for _, name := range r.Names {
		fmt.Fprintf(out, " %12s", name)
	}
	fmt.Fprintln(out, "   ratios")
	line := func(name, format string, of func(booted) float64) {
		fmt.Fprintf(out, "%-34s", name)
		lists := make([][]float64, len(r.Boots))
		for side, boots := range r.Boots {
			for _, b := range boots {
				lists[side] = append(lists[side], of(b))
			}
			fmt.Fprintf(out, " "+format, median(lists[side]))
		}
		for _, other := range lists[1:] {
			fmt.Fprintf(out, "   %.2f", pairs(lists[0], other))
		}
		fmt.Fprintln(out)
	}
	line("process start to user space, s", "%12.2f", func(b booted) float64 { return b.Up.Seconds() })
	line("process start to the disk, s", "%12.2f", func(b booted) float64 { return b.Disk.Seconds() })
	line("CPU until then, s", "%12.2f", func(b booted) float64 { return b.CPU.Seconds() })
	for _, name := range r.exitKinds() {
		line("until then, "+name, "%12.0f", func(b booted) float64 { return float64(b.Exits[name]) })
	}
	line("resident beside the guest's, MiB", "%12.1f", func(b booted) float64 { return float64(b.Resident) / (1 << 20) })
	line("CPU of the idle guest, %", "%12.2f", func(b booted) float64 { return 100 * b.IdleCPU })
}

// exitKinds are the counters that are not zero everywhere, busiest first.
func (r result) exitKinds() []string {
	most := make(map[string]uint64)
	for _, boots := range r.Boots {
		for _, b := range boots {
			for name, n := range b.Exits {
				most[name] = max(most[name], n)
			}
		}
	}
	maps.DeleteFunc(most, func(_ string, n uint64) bool { return n == 0 })
	return slices.SortedFunc(maps.Keys(most), func(a, b string) int {
		if most[a] != most[b] {
			return int(most[b]) - int(most[a])
		}
		return len(a) - len(b)
	})
}

// pairs is the median of the ratios of figures that were taken in turn.
func pairs(ours, theirs []float64) float64 {
	var list []float64
	for i := range ours {
		list = append(list, ours[i]/theirs[i])
	}
	return median(list)
}

// median of a list that is not empty.
func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}
