package megasas

import (
	"sync"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// eventLogSize is how many events the log keeps; older ones are forgotten.
const eventLogSize = 1024

// eventLog is the controller's log: the last events, by sequence numbers that
// only ever grow, also across resets of the controller.
type eventLog struct {
	now func() time.Time

	mu       sync.Mutex
	events   []mfi.Event // guarded by mu: a ring, event n at index n % eventLogSize
	info     mfi.EventLogInfo
	appended func() // called, without mu, after an event was added

	logged func(mfi.Event) // told of an event that was added; nil: nobody
}

func newEventLog(now func() time.Time, appended func()) *eventLog {
	return &eventLog{
		now:      now,
		events:   make([]mfi.Event, eventLogSize),
		info:     mfi.EventLogInfo{Oldest: 1},
		appended: appended,
	}
}

// add logs an event and returns its sequence number. Its sequence number and
// time are set here.
func (l *eventLog) add(e mfi.Event) uint32 {
	e.Time = mfi.Seconds(l.now())
	l.mu.Lock()
	l.info.Newest++
	e.Sequence = l.info.Newest
	l.events[e.Sequence%eventLogSize] = e
	if l.info.Newest-l.info.Oldest >= eventLogSize {
		l.info.Oldest++
	}
	switch e.Code {
	case mfi.EventFWInitStarted:
		l.info.Boot = e.Sequence
	case mfi.EventShutdownReceived:
		l.info.Shutdown = e.Sequence
	case mfi.EventLogCleared:
		l.info.Clear = e.Sequence
		l.info.Oldest = e.Sequence
	}
	l.mu.Unlock()
	if l.logged != nil {
		l.logged(e)
	}
	l.appended()
	return e.Sequence
}

func (l *eventLog) logInfo() mfi.EventLogInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info
}

// each calls visit for the events from sequence number first on that f matches,
// oldest first, until it returns false.
func (l *eventLog) each(first uint32, f mfi.EventFilter, visit func(*mfi.Event) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := max(first, l.info.Oldest); n <= l.info.Newest; n++ {
		e := &l.events[n%eventLogSize]
		if e.Sequence != n {
			continue // a number that was lost with a crash
		}
		if f.Matches(e.Filter) && !visit(e) {
			return
		}
	}
}

// next is the oldest event from sequence number first on that f matches.
func (l *eventLog) next(first uint32, f mfi.EventFilter) (e mfi.Event, ok bool) {
	l.each(first, f, func(x *mfi.Event) bool {
		e, ok = *x, true
		return false
	})
	return e, ok
}
