package megasas

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/scsi"
)

// AwaitReset waits until no reset is under way: until the controller has stopped
// touching guest memory for frames that were posted before it.
func (c *Controller) AwaitReset(ctx context.Context) error {
	settled := make(chan struct{})
	go func() {
		c.awaitSettled()
		close(settled)
	}()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: commands are still being carried out: %w", c.name, context.Cause(ctx))
	}
}

// pausing is a Pause. Frames that the guest posts meanwhile are kept here, so that
// saved state knows of them.
type pausing struct {
	on atomic.Bool // it has begun

	mu    sync.Mutex
	held  bool   // guarded by mu: Controller.life is held
	posts []post // guarded by mu: at most queueDepth
	// stalled are frames that wait for the end of a pause, this one or the next,
	// because of StopOnError. Guarded by mu; at most queueDepth.
	stalled []stalled
	units   []*scsi.Unit // guarded by mu: that are suspended
}

// keep keeps a frame until the pause ends. It reports false if it has ended, or if
// there are more than a guest may have outstanding.
func (x *pausing) keep(p post) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.on.Load() || len(x.posts) == queueDepth {
		return false
	}
	x.posts = append(x.posts, p)
	return true
}

// drop forgets the frames that were kept.
func (x *pausing) drop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.posts, x.stalled = nil, nil
}

// drainPause is how long Pause waits before it looks again if frames are still being
// carried out.
const drainPause = 200 * time.Microsecond

// Pause ends what is being carried out, and what was posted, and makes it durable.
// Frames that are posted from then on wait, and nothing is delivered, until Resume.
// If ctx ends first it returns an error and the controller goes on. Pauses are not
// counted: each needs a Resume before the next.
//
// While there are Stalled frames, what can't be made durable is only logged: the pause
// is there for somebody to help.
func (c *Controller) Pause(ctx context.Context) error {
	x := &c.pausing
	x.on.Store(true)
	if err := c.drain(ctx); err != nil {
		c.release()
		return fmt.Errorf("%s: commands are still being carried out: %w", c.name, err)
	}
	x.mu.Lock()
	x.held, x.units = true, c.units()
	units := x.units
	x.mu.Unlock()
	for _, u := range units {
		if err := u.Suspend(ctx); err != nil {
			c.Resume()
			return fmt.Errorf("%s: work in the background is still using a drive: %w", c.name, err)
		}
	}
	err := c.set.Flush()
	switch {
	case err == nil:
	case len(c.Stalled()) > 0:
		c.log.Warn("what the drives have completed is not all durable yet", "err", err)
	default:
		c.Resume()
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// drain waits for the frames that were posted, and then holds life.
func (c *Controller) drain(ctx context.Context) error {
	for c.outstanding.Load() > 0 {
		select {
		case <-time.After(drainPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	locked := make(chan struct{})
	go func() {
		c.life.Lock() // waits for vCPUs and the courier, and keeps all out
		select {
		case locked <- struct{}{}:
		case <-ctx.Done():
			c.life.Unlock()
		}
	}()
	select {
	case <-locked:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resume ends a Pause, and has Stalled frames carried out again. To a controller that
// is not paused it does only that.
func (c *Controller) Resume() {
	x := &c.pausing
	x.mu.Lock()
	held, units := x.held, x.units
	x.held, x.units = false, nil
	x.mu.Unlock()
	if !held {
		if !x.on.Load() {
			c.release()
		}
		return
	}
	for _, u := range units {
		u.Continue()
	}
	c.life.Unlock()
	c.release()
}

// release lets the frames go on that a pause has kept, the oldest first.
func (c *Controller) release() {
	x := &c.pausing
	x.mu.Lock()
	x.on.Store(false)
	var posts []post
	for _, s := range x.stalled {
		posts = append(posts, s.post)
	}
	posts = append(posts, x.posts...)
	x.posts, x.stalled = nil, nil
	x.mu.Unlock()
	for _, p := range posts {
		c.outstanding.Add(1)
		c.dispatch(p, false)
	}
}
