package main

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// hostWrites is the CPU time that a write of size bytes takes of the host itself
// where it has to be durable: pwrite and fdatasync in turn, by one thread, in a file
// of its own. No device model can do with less.
func (b *bench) hostWrites(size int) (time.Duration, error) {
	f, err := os.CreateTemp(b.dir, "host-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	for range diskMiB {
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			return 0, err
		}
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, p := int(f.Fd()), make([]byte, size)
	start, err := threadCPU()
	if err != nil {
		return 0, err
	}
	for i := range int64(b.commands) {
		if _, err := unix.Pwrite(fd, p, i*int64(size)%(diskMiB<<20)); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(fd); err != nil {
			return 0, err
		}
	}
	end, err := threadCPU()
	return (end - start) / time.Duration(b.commands), err
}

// threadCPU is what the calling thread has used.
func threadCPU() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}
