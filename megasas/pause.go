package megasas

import (
	"context"
	"fmt"
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

// Pause ends what is being carried out and makes it durable. Frames that are
// posted wait from then on, and nothing is delivered, until Resume. If ctx ends
// first it returns an error and the controller goes on. Pauses are not counted:
// each needs a Resume before the next.
func (c *Controller) Pause(ctx context.Context) error {
	locked := make(chan struct{})
	go func() {
		c.life.Lock() // waits for the workers, and keeps them out
		select {
		case locked <- struct{}{}:
		case <-ctx.Done():
			c.life.Unlock()
		}
	}()
	select {
	case <-locked:
	case <-ctx.Done():
		return fmt.Errorf("%s: commands are still being carried out: %w", c.name, context.Cause(ctx))
	}
	if err := c.set.Flush(); err != nil {
		c.life.Unlock()
		return fmt.Errorf("%s: %w", c.name, err)
	}
	c.paused.Store(true)
	return nil
}

// Resume ends a Pause. It does nothing to a controller that is not paused.
func (c *Controller) Resume() {
	if c.paused.Swap(false) {
		c.life.Unlock()
	}
}
