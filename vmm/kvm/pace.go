package kvm

import (
	"time"

	"golang.org/x/sys/unix"
)

// pace decides how a thread enters the guest, as what the Go scheduler takes it for.
//
// One whose guest sleeps, or leaves seldom, gives away its place among the goroutines
// that run (its P), as in any call that waits: see package waitcall. It has to find one
// again at each exit, and wakes the scheduler's monitor by that.
//
// One whose guest leaves often is in a hurry: it enters without a word to the
// scheduler and keeps its place. At the end of its time slice, every 10 to 20 ms, it gets
// the scheduler's signal, SIGURG, which takes it out of the guest, and it yields as any
// goroutine does; so it does when the world is to be stopped. A guest that sleeps
// would be disturbed by that, and if the thread waited for a processor of the host, all
// who want the world to stop would wait with it: both get no CPU time meanwhile.
type pace struct {
	hurried bool
	exits   int           // in a row, while not hurried
	since   time.Time     // of the first of these, or of the last look at the time used
	cpu     time.Duration // of the thread, at that look
}

const (
	paceExits  = 16                    // so many exits
	paceWithin = 50 * time.Millisecond // in that time are often
	paceShare  = 4                     // whose thread uses less than this part of the time sleeps or waits
)

// left is called after an exit that the guest caused.
func (p *pace) left() {
	if p.hurried {
		return
	}
	if p.exits == 0 {
		p.since = time.Now()
	}
	if p.exits++; p.exits < paceExits {
		return
	}
	p.exits = 0
	if now := time.Now(); now.Sub(p.since) < paceWithin {
		p.hurried, p.since, p.cpu = true, now, threadTime()
	}
}

// interrupted is called after an exit that a signal caused.
func (p *pace) interrupted() {
	p.exits = 0
	if !p.hurried {
		return
	}
	now, cpu := time.Now(), threadTime()
	p.hurried = cpu-p.cpu >= now.Sub(p.since)/paceShare
	p.since, p.cpu = now, cpu
}

// threadTime is the CPU time of the calling thread, its guest's included.
func threadTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0 // as if it slept
	}
	return time.Duration(t.Nano())
}
