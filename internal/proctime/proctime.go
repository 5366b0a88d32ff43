// Package proctime tells what running processes have used.
package proctime

import (
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the CPU time that a process has used so far, all its threads together, by
// its CPU-time clock (clock_getcpuclockid(3): the clock's number is made from the
// process's).
func CPU(pid int) (time.Duration, error) {
	const allThreads, precise = 0, 2
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid)<<3|allThreads|precise, &t)
	return time.Duration(t.Nano()), err
}
