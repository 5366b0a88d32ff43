package nbd

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// AllProcessors is what Server.Processors says when the work at hand can use all there are.
const AllProcessors = 0

// GoProcessors is a Server.Processors that has Go's scheduler use so many of those that it
// was set to.
func GoProcessors() func(n int) {
	all := runtime.GOMAXPROCS(0)
	return func(n int) {
		if n == AllProcessors || n > all {
			n = all
		}
		runtime.GOMAXPROCS(n)
	}
}

// breadth decides how many processors a server can use: all, but as many as it has
// connections while nearly all of their requests are started, and nobody waits for one.
type breadth struct {
	set func(n int) // nil: nobody wants to know

	started atomic.Int64 // requests that were started since the last tick
	others  atomic.Int64 // requests that somebody waited for

	mu      sync.Mutex
	conns   int  // guarded by mu, with all below
	narrow  bool // not all can be used
	said    int  // to set last
	timer   *time.Timer
	ticking bool
}

const (
	// breadthTime is how often it is looked at what requests there were.
	breadthTime = 20 * time.Millisecond
	// fewOthers is one in how many requests may not be one that was started.
	fewOthers = 8
)

// connected says that so many connections came, or went.
func (b *breadth) connected(n int) {
	if b.set == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns += n
	b.narrow = b.narrow && b.conns > 0
	b.say()
}

// begun says that a request was started.
func (b *breadth) begun() {
	if b.set == nil || b.started.Add(1) > 1 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ticking {
		return
	}
	b.ticking = true
	if b.timer == nil {
		b.timer = time.AfterFunc(breadthTime, b.tick)
	} else {
		b.timer.Reset(breadthTime)
	}
}

// carriedOut says that a request is one that somebody waits for.
func (b *breadth) carriedOut() { b.others.Add(1) }

// tick looks what there was since the last time, and comes again if requests were started.
func (b *breadth) tick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	started, others := b.started.Swap(0), b.others.Swap(0)
	b.narrow = b.conns > 0 && started > others*fewOthers
	b.say()
	if b.ticking = started > 0; b.ticking {
		b.timer.Reset(breadthTime)
	}
}

// say tells what has changed. Preconditions: mu is held.
func (b *breadth) say() {
	n := AllProcessors
	if b.narrow {
		n = b.conns
	}
	if n != b.said {
		b.said = n
		b.set(n)
	}
}
