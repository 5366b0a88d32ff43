package scsi

import (
	"context"
	"sync"
)

// background is work that goes on after the command that has begun it: an
// extended self-test, and SANITIZE with IMMED. It consists of steps, between which
// it can be held.
type background struct {
	mu     sync.Mutex
	closed bool               // guarded by mu
	ctx    context.Context    // guarded by mu: of all that runs; nil if nothing ever did
	stop   context.CancelFunc // guarded by mu
	held   chan struct{}      // guarded by mu: closed when steps may go on; nil if they may
	steps  int                // guarded by mu: that are being made
	rest   sync.Cond          // on mu: steps has become 0
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

// step lets do use the medium, and change what is saved of the work, as soon as
// nothing holds it. It reports false, and has not called do, if ctx has ended.
func (g *background) step(ctx context.Context, do func()) bool {
	g.mu.Lock()
	for g.held != nil && ctx.Err() == nil {
		held := g.held
		g.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
		}
		g.mu.Lock()
	}
	if ctx.Err() != nil {
		g.mu.Unlock()
		return false
	}
	g.steps++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.steps--; g.steps == 0 {
			g.rest.Broadcast()
		}
	}()
	do()
	return true
}

// Suspend keeps what goes on in the background from the medium until Continue.
// When it has returned nil, the medium is not used by that. Close still ends it. If
// ctx ends first, Suspend returns its error and the unit goes on.
func (u *Unit) Suspend(ctx context.Context) error {
	g := &u.background
	defer context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.rest.Broadcast()
	})()
	g.hold()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.steps > 0 {
		if ctx.Err() != nil {
			g.letGo()
			return context.Cause(ctx)
		}
		g.rest.Wait()
	}
	return nil
}

// hold lets no further step be made.
func (g *background) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		g.held = make(chan struct{})
	}
}

// letGo lets steps be made again.
//
// Preconditions: g.mu is held.
func (g *background) letGo() {
	if g.held != nil {
		close(g.held)
		g.held = nil
	}
}

// Continue ends a Suspend. It does nothing to a unit that is not suspended.
func (u *Unit) Continue() {
	g := &u.background
	g.mu.Lock()
	defer g.mu.Unlock()
	g.letGo()
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
