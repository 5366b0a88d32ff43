package scsi

import (
	"context"
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
)

// Values of SELF-TEST CODE (SPC-4).
const (
	selfTestNone               = 0
	selfTestBackground         = 1 // short: so short that it is over at once
	selfTestBackgroundExtended = 2 // all of the medium is read
	selfTestAbort              = 4 // the one in the background
	selfTestForeground         = 5 // short
	selfTestForegroundExtended = 6
)

// Values of SELF-TEST RESULTS (SPC-4).
const (
	selfTestPassed     = 0x0
	selfTestAborted    = 0x1 // by SEND DIAGNOSTIC
	selfTestCutOff     = 0x2 // by something else
	selfTestFailed     = 0x4 // in an element that is not named
	selfTestInProgress = 0xF
)

// selfTestResult is an entry of the self-test results page (SPC-4).
type selfTestResult struct {
	code   byte
	result byte
	hours  uint16 // powered on
	at     uint64 // first block that failed
	sense  Sense
}

// selfTestLog has the results of the last self-tests, the newest first.
type selfTestLog struct {
	progress atomic.Uint32 // of the one that runs, in parts of 65536

	mu      sync.Mutex
	results [20]selfTestResult
	running bool               // guarded by mu: the newest is in the background
	abort   context.CancelFunc // guarded by mu: of that
	aborted bool               // guarded by mu: that it was asked to end

	// offset is how far the one in the background is, in bytes. It changes within
	// steps of Unit.background.
	offset int64
}

func (l *selfTestLog) add(r selfTestResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.push(r)
}

// Preconditions: l.mu is held.
func (l *selfTestLog) push(r selfTestResult) {
	copy(l.results[1:], l.results[:])
	l.results[0] = r
}

// clear forgets the results, but for the test that runs.
func (l *selfTestLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.results[0]
	clear(l.results[:])
	if l.running {
		l.results[0] = first
	}
}

// inProgress is what REQUEST SENSE tells while a test is in the background: how
// far it is.
func (l *selfTestLog) inProgress() Sense {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.running {
		return Sense{}
	}
	return Sense{Code: ASCSelfTestInProgress, HasProgress: true, Progress: uint16(l.progress.Load())}
}

// append appends the parameters of the page; those for tests that did not take
// place are zero.
func (l *selfTestLog) append(b []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range l.results {
		var d [16]byte
		if r.code != selfTestNone {
			d[0] = r.code<<5 | r.result
			binary.BigEndian.PutUint16(d[2:], r.hours)
			at := uint64(math.MaxUint64)
			if r.result == selfTestFailed {
				at = r.at
				d[12], d[13], d[14] = byte(r.sense.Key), r.sense.Code.Code(), r.sense.Code.Qualifier()
			}
			binary.BigEndian.PutUint64(d[4:], at)
		}
		b = appendParameter(b, uint16(i+1), d[:]...)
	}
	return b
}

// foregroundSelfTest runs a test that the initiator waits for.
func (u *Unit) foregroundSelfTest(c *Command, code byte) Sense {
	at, s := u.selfTest(context.Background(), c, code)
	result := byte(selfTestPassed)
	if !s.OK() {
		result = selfTestFailed
	}
	u.selfTests.add(selfTestResult{code: code, result: result, hours: u.config.Health.hours(), at: at, sense: s})
	return s
}

// backgroundSelfTest runs a test that the initiator does not wait for. One that
// is under way is not disturbed: it reports false.
func (u *Unit) backgroundSelfTest(code byte) bool {
	if code == selfTestBackground {
		if u.selfTests.isRunning() {
			return false
		}
		u.foregroundSelfTest(new(Command), code) // the log tells of it
		return true
	}
	l := &u.selfTests
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running {
		return false
	}
	l.progress.Store(0)
	l.offset = 0
	hours := u.config.Health.hours()
	begun := u.extendInBackground(code, hours)
	if begun {
		l.push(selfTestResult{code: code, result: selfTestInProgress, hours: hours})
		l.running, l.aborted = true, false
	}
	return begun
}

// extendInBackground goes on with an extended self-test from selfTests.offset. Its
// result is to replace the newest of the log. It reports false if the unit is closed.
//
// Preconditions: u.selfTests.mu is held, until the test is on the log.
func (u *Unit) extendInBackground(code byte, hours uint16) bool {
	l := &u.selfTests
	return u.background.begin(func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		l.mu.Lock() // the test is on the log by now
		l.abort = cancel
		if l.aborted {
			cancel()
		}
		l.mu.Unlock()
		at, s := u.extendedSelfTest(ctx, new(Command), &l.offset)
		l.mu.Lock()
		defer l.mu.Unlock()
		r := selfTestResult{code: code, result: selfTestPassed, hours: hours, at: at, sense: s}
		switch {
		case ctx.Err() != nil && l.aborted:
			r.result = selfTestAborted
		case ctx.Err() != nil:
			r.result = selfTestCutOff
		case !s.OK():
			r.result = selfTestFailed
		}
		l.results[0], l.running, l.abort = r, false, nil
	})
}

func (l *selfTestLog) isRunning() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running
}

// abortSelfTest ends the test in the background. It reports false if there is
// none.
func (u *Unit) abortSelfTest() bool {
	l := &u.selfTests
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.running {
		return false
	}
	l.aborted = true
	if l.abort != nil {
		l.abort()
	}
	return true
}

// selfTest reads the first, the middle and the last block, or all that has
// storage. It returns the block that could not be read.
func (u *Unit) selfTest(ctx context.Context, c *Command, code byte) (at uint64, s Sense) {
	if code == selfTestForegroundExtended {
		return u.extendedSelfTest(ctx, c, new(int64))
	}
	last, s := u.lastBlock()
	if !s.OK() {
		return 0, s
	}
	for _, lba := range [...]uint64{0, last / 2, last} {
		if _, s := u.compare(c, &u.counters.verify, int64(lba<<u.shift), int64(u.config.BlockSize), nil); !s.OK() {
			return lba, s
		}
	}
	return 0, Sense{}
}

// extendedSelfTest reads all of the medium from offset on, which it moves, but for
// what is known to have no storage behind it.
func (u *Unit) extendedSelfTest(ctx context.Context, c *Command, offset *int64) (at uint64, s Sense) {
	size := int64(u.Blocks() << u.shift)
	for done := false; !done && s.OK(); {
		goes := u.background.step(ctx, func() {
			if done = *offset >= size; done {
				return
			}
			var n int64
			n, s = u.testPiece(c, *offset, size)
			at = uint64(*offset) >> u.shift
			*offset += n
			u.selfTests.progress.Store(progressOf(*offset, size))
		})
		if !goes {
			return 0, Sense{}
		}
	}
	return at, s
}

// progressOf is a progress indication, in parts of 65536.
func progressOf(done, all int64) uint32 {
	return uint32(min(float64(done)/float64(all), 1) * math.MaxUint16)
}

// testPiece reads a piece of the medium, and returns how far the next one is.
func (u *Unit) testPiece(c *Command, off, size int64) (n int64, s Sense) {
	n = min(size-off, scratchSize)
	if u.mapper != nil {
		allocated, run, err := u.mapper.Allocated(off, size-off)
		if err != nil {
			return 0, c.failed(err, ASCUnrecoveredReadError)
		}
		run = run >> u.shift << u.shift
		if !allocated && run > 0 {
			return run, Sense{}
		}
		n = min(n, max(run, int64(u.config.BlockSize)))
	}
	if _, s := u.compare(c, &u.counters.verify, off, n, nil); !s.OK() {
		return 0, s
	}
	return n, Sense{}
}

// selfTestMinutes is about how long an extended self-test takes.
func (u *Unit) selfTestMinutes() uint16 {
	const perMinute = 60 * 500 << 20 // bytes
	return uint16(min(u.Blocks()<<u.shift/perMinute+1, math.MaxUint16))
}
