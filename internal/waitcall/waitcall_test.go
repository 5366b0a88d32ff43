package waitcall

import (
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// read reads a byte of a pipe: it waits until there is one.
func read(fd int) (byte, error) {
	var b [1]byte
	n, errno := Syscall6(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), 1, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if n != 1 {
		return 0, unix.EPIPE
	}
	return b[0], nil
}

// Threads that wait leave their places to others, to the collector too, and come back
// with what they waited for.
func TestOthersRunWhileThreadsWait(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const threads, rounds = 4, 200
	var pipes [threads][2]int
	for i := range pipes {
		if err := unix.Pipe2(pipes[i][:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pipes[i][0])
		defer unix.Close(pipes[i][1])
	}
	var waiting sync.WaitGroup
	for i := range pipes {
		waiting.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for n := range rounds {
				if b, err := read(pipes[i][0]); err != nil || b != byte(n) {
					t.Errorf("pipe %d gave %d, %v, want %d", i, b, err, byte(n))
					return
				}
			}
		})
	}
	for n := range rounds {
		for i := range pipes {
			if _, err := unix.Write(pipes[i][1], []byte{byte(n)}); err != nil {
				t.Fatal(err)
			}
		}
		if n%20 == 0 {
			runtime.GC()
		}
	}
	waiting.Wait()
}

func TestErrors(t *testing.T) {
	if _, err := read(-1); err != unix.EBADF {
		t.Errorf("a read of nothing gave %v, want %v", err, unix.EBADF)
	}
}

func BenchmarkSyscall(b *testing.B) {
	for b.Loop() {
		Syscall6(unix.SYS_GETPPID, 0, 0, 0, 0, 0, 0)
	}
}
