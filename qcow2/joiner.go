package qcow2

import "sync"

// joiner lets callers of an idempotent, slow operation share its executions. A
// caller is served by an execution that started after it asked: while one runs,
// all who come wait for the same next one, and one of them runs it.
type joiner struct {
	mu      sync.Mutex
	cond    sync.Cond
	running bool   // an execution is in progress
	next    *round // what callers wait for now; nil if nobody asked
	spare   *round // a round to use again
}

// round is one execution and the callers that it serves.
type round struct {
	done    bool
	err     error
	waiters int
}

// do returns the result of an execution of run that started after do was
// called. leads reports whether it was this caller that executed it.
func (j *joiner) do(run func() error) (leads bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cond.L == nil {
		j.cond.L = &j.mu
	}
	r := j.next
	if r == nil {
		r = j.newRound()
		j.next = r
	}
	r.waiters++
	for !r.done {
		if j.running {
			j.cond.Wait()
			continue
		}
		j.running, j.next = true, nil
		j.mu.Unlock()
		e := run()
		j.mu.Lock()
		j.running = false
		r.done, r.err = true, e
		leads = true
		j.cond.Broadcast()
	}
	err = r.err
	if r.waiters--; r.waiters == 0 {
		j.spare = r
	}
	return leads, err
}

// newRound returns an empty round. Preconditions: mu is held.
func (j *joiner) newRound() *round {
	r := j.spare
	if r == nil {
		return new(round)
	}
	j.spare = nil
	*r = round{}
	return r
}
