package qmp

import (
	"io"
	"sync"
	"time"
)

// outboxLimit bounds what waits for a client that does not read, in bytes. An
// answer alone may be larger.
const outboxLimit = 1 << 20

// outbox is what is to be sent to a client.
type outbox struct {
	w io.Writer

	mu      sync.Mutex
	changed sync.Cond // on mu
	queue   []byte    // guarded by mu
	writing bool      // guarded by mu: something taken from queue is being written
	closed  bool      // guarded by mu
	due     int       // guarded by mu: answers that are still to come
}

// promise says that an answer is to come, or by -1 that it has.
func (o *outbox) promise(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.due += n
	o.changed.Broadcast()
}

func newOutbox(w io.Writer) *outbox {
	o := &outbox{w: w}
	o.changed.L = &o.mu
	return o
}

// put adds a line, when there is room for it.
func (o *outbox) put(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) > 0 && len(o.queue)+len(line) > outboxLimit && !o.closed {
		o.changed.Wait()
	}
	o.add(line)
}

// offer adds a line if there is room for it, and reports whether there was.
func (o *outbox) offer(line []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue)+len(line) > outboxLimit {
		return false
	}
	o.add(line)
	return true
}

// Preconditions: o.mu is held.
func (o *outbox) add(line []byte) {
	if o.closed {
		return
	}
	o.queue = append(o.queue, line...)
	o.changed.Broadcast()
}

// run writes until the outbox is closed or the client does not take any more.
func (o *outbox) run() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		for len(o.queue) == 0 && !o.closed {
			o.changed.Wait()
		}
		if o.closed {
			return
		}
		chunk := o.queue
		o.queue, o.writing = nil, true
		o.changed.Broadcast()
		o.mu.Unlock()
		_, err := o.w.Write(chunk)
		o.mu.Lock()
		o.writing = false
		o.closed = o.closed || err != nil
		o.changed.Broadcast()
	}
}

// drain waits until all that is to come has come and is written, or until the
// deadline.
func (o *outbox) drain(deadline time.Time) {
	t := time.AfterFunc(time.Until(deadline), func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.changed.Broadcast()
	})
	defer t.Stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	for (o.due > 0 || len(o.queue) > 0 || o.writing) && !o.closed && time.Now().Before(deadline) {
		o.changed.Wait()
	}
}

// close drops what was not written, and lets nobody wait.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.queue = true, nil
	o.changed.Broadcast()
}
