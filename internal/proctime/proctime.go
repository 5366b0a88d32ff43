// Package proctime tells what running processes have used.
package proctime

import (
	"fmt"
	"os"
	"strconv"
	"strings"
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

// Read is how many bytes a process has had storage read so far, all its threads together: what
// the page cache had is not in it.
func Read(pid int) (int64, error) {
	file := fmt.Sprintf("/proc/%d/io", pid)
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "read_bytes:"); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no read_bytes", file)
}
