// Package loglimit keeps guests from filling the host's log.
package loglimit

import (
	"sync"
	"time"
)

const (
	// Burst is how many lines are allowed in a Period.
	Burst = 20
	// Period begins with the first line in it.
	Period = time.Minute
)

// Limiter allows a burst of lines a period. The zero value is ready; its methods may be
// called from any goroutine.
type Limiter struct {
	mu    sync.Mutex
	since time.Time // guarded by mu
	lines int       // guarded by mu
}

// Allow reports whether a line may be logged now, and counts it.
func (l *Limiter) Allow(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= Period {
		l.since, l.lines = now, 0
	}
	l.lines++
	return l.lines <= Burst
}
