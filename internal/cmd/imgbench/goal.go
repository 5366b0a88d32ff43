package main

import "fmt"

// goal is what a row is to reach: the rate of QEMU's times ratio, at no more than cpu of
// its CPU time (0: at any), and memoryOver more memory.
type goal struct{ ratio, cpu float64 }

// memoryOver is in MiB.
const memoryOver = 8

var (
	ahead    = goal{ratio: 1.01} // with the two digits that a table has
	level    = goal{ratio: 1}
	large    = goal{1.7, 0.5} // requests of 1 MiB
	inflated = goal{1.5, 0.7} // reads of compressed clusters
)

// goals are those of requests of 4 KiB: in place, to clusters that were not there, and to
// more clusters than their tables can be kept of.
type goals struct{ read, write, fresh, misses goal }

// goalsOf are those of rows with so many requests at a time. One direct request at a time
// takes as long as the device takes.
func goalsOf(direct bool, depth int) goals {
	g := goals{ahead, ahead, ahead, ahead}
	if depth > 1 {
		g = goals{goal{1.3, 0.5}, goal{2, 0.4}, goal{4, 0.2}, goal{3, 0.3}}
		if direct {
			g.read.ratio = 2
		}
	}
	return g
}

// String is the goal as the table has it.
func (g goal) String() string {
	if g.cpu == 0 {
		return fmt.Sprintf("%.2f/-   ", g.ratio)
	}
	return fmt.Sprintf("%.2f/%.2f", g.ratio, g.cpu)
}
