package kvm

import (
	"errors"
	"runtime"
	"testing"
	"time"
)

// A guest that never comes out by itself, of a thread that the scheduler does not
// know to be in a system call, lets the world be stopped all the same.
func TestWorldStopsWhileAHurriedGuestRuns(t *testing.T) {
	const exits = 4 * paceExits
	v := testCPU(t,
		0xb9, exits, 0x00, // mov cx, exits
		0xe6, 0x80, // out 0x80, al
		0xe2, 0xfc, // loop to the out
		0xeb, 0xfe, // jmp to itself
	)
	looping := make(chan struct{})
	result := make(chan error)
	go func() {
		v.Enter()
		defer v.Leave()
		for n := 0; ; {
			_, err := v.Run()
			switch {
			case err == nil:
				v.pace.hurried = true // however slow this host is
				if n++; n == exits {
					close(looping)
				}
			case !errors.Is(err, ErrInterrupted) || word(v.run, offImmediateExit).Load() != 0:
				result <- err
				return
			}
		}
	}()
	<-looping
	for range 20 {
		runtime.GC()
	}
	v.Kick()
	if err := <-result; !errors.Is(err, ErrInterrupted) {
		t.Fatalf("Run returned %v", err)
	}
}

func TestPace(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var p pace
	for range paceExits - 1 {
		p.left()
	}
	if p.hurried {
		t.Fatal("hurried too early")
	}
	p.since = time.Now().Add(-time.Hour)
	if p.left(); p.hurried {
		t.Fatal("hurried by few exits in an hour")
	}
	for range paceExits - 1 {
		p.left()
	}
	p.since = time.Now().Add(time.Hour) // as if there had been no time between them
	if p.left(); !p.hurried {
		t.Fatal("not hurried by exits without end")
	}
	p.since, p.cpu = time.Now().Add(-time.Hour), threadTime()-time.Hour
	if p.interrupted(); !p.hurried {
		t.Fatal("a guest that computes is not hurried any more")
	}
	p.since = time.Now().Add(-time.Hour)
	if p.interrupted(); p.hurried {
		t.Fatal("a guest that slept for an hour is hurried")
	}
}
