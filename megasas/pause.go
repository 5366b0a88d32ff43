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
