package raid

import (
	"sync"
	"sync/atomic"
)

// gate lets I/O through until it is shut, and knows when the last is out. The
// zero value is open.
type gate struct {
	users atomic.Int64 // I/O inside, and the bit gateShut

	mu  sync.Mutex
	out sync.Cond // on mu: users fell to gateShut alone
}

const gateShut = int64(1) << 62

// enter reports whether I/O may go on. If so, leave has to follow. It never
// waits.
func (g *gate) enter() bool {
	if g.users.Add(1)&gateShut != 0 {
		g.leave()
		return false
	}
	return true
}

func (g *gate) leave() {
	if g.users.Add(-1) == gateShut {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.out.Broadcast()
	}
}

// shut reports whether the gate is shut.
func (g *gate) shut() bool { return g.users.Load()&gateShut != 0 }

// close shuts the gate. It reports false if it was shut before.
func (g *gate) close() bool { return g.users.Or(gateShut)&gateShut == 0 }

// open opens the gate again.
func (g *gate) open() { g.users.And(^gateShut) }

// drain returns when no I/O is inside. The gate must be shut.
func (g *gate) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out.L = &g.mu
	for g.users.Load() != gateShut {
		g.out.Wait()
	}
}
