package nbd

import (
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPollerLooksAtSockets has the one processor that there is let a goroutine run for which
// data has come, before who asks for that goes on: nearly always, since the runtime may have
// another thread look at the same time.
func TestPollerLooksAtSockets(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	f := os.NewFile(uintptr(pair[1]), "socket")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := newPoller()
	if p == nil {
		t.Fatal("no poller")
	}
	defer p.close()
	const rounds = 100
	var seen atomic.Int64
	go func() {
		for b := make([]byte, 1); ; {
			if _, err := c.Read(b); err != nil {
				return
			}
			seen.Add(1)
		}
	}()
	for range 10 {
		p.look() // the reader waits then
	}
	ran := 0
	for range rounds {
		before := seen.Load()
		if _, err := unix.Write(pair[0], []byte{1}); err != nil {
			t.Fatal(err)
		}
		p.look()
		if seen.Load() > before {
			ran++
		}
	}
	if ran < rounds/2 {
		t.Errorf("the reader ran in %d of %d rounds", ran, rounds)
	}
	if n := testing.AllocsPerRun(100, p.look); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
