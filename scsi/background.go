package scsi

import (
	"context"
	"sync"
)

// background is work that goes on after the command that has begun it: an
// extended self-test, and SANITIZE with IMMED.
type background struct {
	mu     sync.Mutex
	closed bool               // guarded by mu
	ctx    context.Context    // guarded by mu: of all that runs; nil if nothing ever did
	stop   context.CancelFunc // guarded by mu
	tasks  sync.WaitGroup
}

// begin runs do on a goroutine of its own. It reports false if the unit is
// closed. do ends soon after its context.
func (g *background) begin(do func(context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	if g.ctx == nil {
		g.ctx, g.stop = context.WithCancel(context.Background())
	}
	ctx := g.ctx
	g.tasks.Go(func() { do(ctx) })
	return true
}

// Close ends what goes on in the background, and returns when the Medium is not
// used by it any more. A self-test counts as aborted, and a SANITIZE that is cut
// off as failed. Commands can still be carried out; none goes on in the
// background.
func (u *Unit) Close() {
	g := &u.background
	g.mu.Lock()
	g.closed = true
	if g.stop != nil {
		g.stop()
	}
	g.mu.Unlock()
	g.tasks.Wait()
}
