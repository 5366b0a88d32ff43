package nest

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// poke interrupts each processor of this machine: the calling thread moves to one
// after the other, upon which the kernel sends an interrupt there. The message of
// a heartbeat itself arrives at one of them only; see heartbeat.
//
// Preconditions: the goroutine is locked to its thread.
func poke() {
	n := runtime.NumCPU()
	if n == 1 {
		return
	}
	var all unix.CPUSet
	for cpu := range n {
		var one unix.CPUSet
		one.Set(cpu)
		all.Set(cpu)
		// A processor that can't be had is one that needs no interrupt.
		_ = unix.SchedSetaffinity(0, &one)
	}
	_ = unix.SchedSetaffinity(0, &all)
}
