package blkdebug

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/govmm/govmm/qcow2"
)

// ErrNoTag means that no breakpoint and no request has the tag.
var ErrNoTag = errors.New("no such file or directory")

// Debug is a set of rules and their state.
type Debug struct {
	log    func(string)
	limits Limits

	mu        sync.Mutex
	rules     [qcow2.Events][]*Rule // guarded by mu, with all below; the last one added is the first
	active    []*Rule               // InjectError rules that count now
	state     int
	suspended []*request
	changed   chan struct{} // closed when a request is suspended
}

// request is one that waits at a breakpoint.
type request struct {
	tag    string
	resume chan struct{}
}

// New returns a Debug with rules, in state 1, that has passed the event "none".
// log, if set, is given a line for each request that is suspended or resumed.
func New(rules []Rule, log func(string)) *Debug {
	if log == nil {
		log = func(string) {}
	}
	d := &Debug{log: log, state: 1, changed: make(chan struct{})}
	for _, r := range rules {
		d.add(r)
	}
	d.Event(qcow2.EventNone)
	return d
}

func (d *Debug) add(r Rule) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules[r.Event] = slices.Insert(d.rules[r.Event], 0, &r)
}

// Event says that the engine has come to a point. It waits if there is a
// breakpoint.
func (d *Debug) Event(e qcow2.Event) {
	var waiting []*request
	d.mu.Lock()
	state, injects := d.state, false
	for _, r := range slices.Clone(d.rules[e]) {
		if r.State != 0 && r.State != d.state {
			continue
		}
		switch r.Action {
		case SetState:
			state = r.NewState
		case InjectError:
			if !injects {
				d.active = nil // what rules of earlier events asked for is over
			}
			injects = true
			d.active = slices.Insert(d.active, 0, r)
		case suspend:
			d.remove(r)
			q := &request{r.tag, make(chan struct{})}
			waiting = append(waiting, q)
			d.suspended = slices.Insert(d.suspended, 0, q)
			d.log("blkdebug: Suspended request '" + r.tag + "'")
		}
	}
	d.state = state
	if waiting != nil {
		close(d.changed)
		d.changed = make(chan struct{})
	}
	d.mu.Unlock()
	for _, q := range waiting {
		<-q.resume
	}
}

// remove takes a rule out. Preconditions: mu is held.
func (d *Debug) remove(r *Rule) {
	same := func(x *Rule) bool { return x == r }
	d.rules[r.Event] = slices.DeleteFunc(d.rules[r.Event], same)
	d.active = slices.DeleteFunc(d.active, same)
}

// Check returns the error that I/O of a kind, on n bytes at off of the file,
// fails with; nil if it does not.
func (d *Debug) Check(kind IOType, off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.active {
		at := r.Sector * 512
		if r.IO&kind == 0 || r.Sector >= 0 && (at < off || at >= off+n) {
			continue
		}
		if r.Errno == 0 {
			return nil
		}
		if r.Once {
			d.remove(r)
		}
		return r.Errno
	}
	return nil
}

// Break makes the next request that comes to event e wait until Resume or
// RemoveBreak is called with the tag.
func (d *Debug) Break(e qcow2.Event, tag string) {
	d.add(Rule{Action: suspend, Event: e, tag: tag})
}

// Resume lets a request that waits under tag go on.
func (d *Debug) Resume(tag string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.resume(tag)
}

// resume is Resume. Preconditions: mu is held.
func (d *Debug) resume(tag string) error {
	i := slices.IndexFunc(d.suspended, func(q *request) bool { return q.tag == tag })
	if i < 0 {
		return ErrNoTag
	}
	d.log("blkdebug: Resuming request '" + tag + "'")
	close(d.suspended[i].resume)
	d.suspended = slices.Delete(d.suspended, i, i+1)
	return nil
}

// RemoveBreak removes the breakpoints with the tag, and lets all requests that
// wait under it go on. As with QEMU these don't count: without a breakpoint it is an error.
func (d *Debug) RemoveBreak(tag string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := ErrNoTag
	for e := range d.rules {
		for _, r := range slices.Clone(d.rules[e]) {
			if r.Action == suspend && r.tag == tag {
				d.remove(r)
				err = nil
			}
		}
	}
	for d.resume(tag) == nil {
	}
	return err
}

// ResumeAll removes all breakpoints and lets all requests go on, so that the
// image can be closed.
func (d *Debug) ResumeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for e := range d.rules {
		d.rules[e] = slices.DeleteFunc(d.rules[e], func(r *Rule) bool { return r.Action == suspend })
	}
	for len(d.suspended) > 0 {
		_ = d.resume(d.suspended[0].tag)
	}
}

// Suspended reports whether a request waits under tag.
func (d *Debug) Suspended(tag string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.isSuspended(tag)
}

// isSuspended is Suspended. Preconditions: mu is held.
func (d *Debug) isSuspended(tag string) bool {
	return slices.ContainsFunc(d.suspended, func(q *request) bool { return q.tag == tag })
}

// Wait returns when a request waits under tag.
func (d *Debug) Wait(ctx context.Context, tag string) error {
	for {
		d.mu.Lock()
		there, changed := d.isSuspended(tag), d.changed
		d.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
