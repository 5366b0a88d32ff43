package qcow2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
)

// memFile is a File in memory. It can record what is done to it, so that a test
// can enumerate the states a crash may leave, and fail chosen operations.
type memFile struct {
	mu   sync.Mutex
	data []byte

	// main is the image, if this is its external data file: that one records and
	// fails for both.
	main *memFile

	step    int64 // see GrowthStep
	noPunch bool  // the host can't punch holes: freed clusters keep their contents

	record bool
	log    []fileOp // guarded by mu: what was done while record was set

	countdown int   // guarded by mu: the n-th operation from now fails; 0: none
	failure   error // guarded by mu: with this
	failed    bool
	closed    bool
	syncs     int
	reads     int
}

// fileOp is a recorded operation that changes the file.
type fileOp struct {
	kind opKind
	side bool // it changes the external data file
	off  int64
	data []byte
	n    int64
}

type opKind uint8

const (
	opWrite opKind = iota
	opZero
	opTruncate
	opSync
	opMark // a note of the test, in data: not an operation
)

var errInjected = errors.New("injected failure")

// count counts an operation and says whether it fails. Preconditions: mu is held.
func (m *memFile) count() error {
	if m.closed {
		return errors.New("file is closed")
	}
	if m.main != nil {
		m.main.mu.Lock()
		defer m.main.mu.Unlock()
		m = m.main
	}
	if m.countdown > 0 {
		if m.countdown--; m.countdown == 0 {
			m.failed = true
			return m.failure
		}
	}
	return nil
}

func (m *memFile) failAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.countdown, m.failure, m.failed = n, errInjected, false
}

func (m *memFile) ReadV(bufs [][]byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if err := m.count(); err != nil {
		return err
	}
	for _, b := range bufs {
		n := 0
		if off < int64(len(m.data)) {
			n = copy(b, m.data[off:])
		}
		clear(b[n:])
		off += int64(len(b))
	}
	return nil
}

func (m *memFile) WriteV(bufs [][]byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.count()
	var p []byte
	if len(bufs) == 1 && !m.record {
		p = bufs[0]
	} else {
		p = slices.Concat(bufs...)
	}
	if err != nil {
		p = p[:len(p)/2/sectorSize*sectorSize] // a failed write may have been done in part
	}
	m.apply(fileOp{kind: opWrite, off: off, data: p})
	return err
}

func (m *memFile) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.count(); err != nil {
		return err
	}
	m.syncs++
	m.apply(fileOp{kind: opSync})
	return nil
}

func (m *memFile) Size() (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.data)), m.count()
}

func (m *memFile) Truncate(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.count(); err != nil {
		return err
	}
	m.apply(fileOp{kind: opTruncate, n: size})
	return nil
}

// GrowthStep makes the file grow by steps.
func (m *memFile) GrowthStep() int64 { return m.step }

// Grow makes the file longer.
func (m *memFile) Grow(_, to int64) error { return m.Truncate(to) }

func (m *memFile) PunchHole(off, n int64) error {
	if m.noPunch {
		return errors.ErrUnsupported
	}
	return m.ZeroRange(off, n)
}

func (m *memFile) ZeroRange(off, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.count(); err != nil {
		return err
	}
	m.apply(fileOp{kind: opZero, off: off, n: n})
	return nil
}

func (m *memFile) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// mark notes in the log that the test got to a point.
func (m *memFile) mark(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apply(fileOp{kind: opMark, data: []byte(what)})
}

// apply does an operation and records it. Preconditions: mu is held.
func (m *memFile) apply(op fileOp) {
	recorder := m
	if m.main != nil {
		m.main.mu.Lock()
		defer m.main.mu.Unlock()
		recorder, op.side = m.main, true
	}
	if recorder.record {
		recorder.log = append(recorder.log, op)
	}
	m.data = op.apply(m.data)
}

func (op fileOp) apply(data []byte) []byte {
	switch op.kind {
	case opWrite:
		if end := int(op.off) + len(op.data); end > len(data) {
			data = grown(data, end)
		}
		copy(data[op.off:], op.data)
	case opZero:
		lo, hi := min(op.off, int64(len(data))), min(op.off+op.n, int64(len(data)))
		clear(data[lo:hi])
	case opTruncate:
		if op.n <= int64(len(data)) {
			data = data[:op.n]
		} else {
			data = grown(data, int(op.n))
		}
	}
	return data
}

func (op fileOp) String() string {
	if op.side {
		op.side = false
		return "data file: " + op.String()
	}
	switch op.kind {
	case opWrite:
		return fmt.Sprintf("write %#x+%#x", op.off, len(op.data))
	case opZero:
		return fmt.Sprintf("zero %#x+%#x", op.off, op.n)
	case opTruncate:
		return fmt.Sprintf("truncate %#x", op.n)
	case opSync:
		return "sync"
	}
	return string(op.data)
}

// reopened returns a new memFile with the same contents.
func (m *memFile) reopened() *memFile {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memFile{data: slices.Clone(m.data), noPunch: m.noPunch, step: m.step}
}

// crash returns what may be in the file when the machine stops after the first
// n recorded operations: everything up to the last sync, and of what came later
// any part. keep decides for each of those.
func crash(base []byte, log []fileOp, n int, keep func() int) []byte {
	return crashFile(base, log, n, keep, false)
}

// crashFile is crash for the image or, with side, its external data file.
func crashFile(base []byte, log []fileOp, n int, keep func() int, side bool) []byte {
	data := borrowCopy(base)
	lastSync := -1
	for i, op := range log[:n] {
		if op.kind == opSync && op.side == side {
			lastSync = i
		}
	}
	for i, op := range log[:n] {
		if op.kind == opMark || op.side != side {
			continue
		}
		part := whole
		if i > lastSync {
			part = keep()
		}
		switch part {
		case whole:
			data = op.apply(data)
		case torn:
			if op.kind == opWrite && len(op.data) > sectorSize {
				op.data = op.data[:len(op.data)/2/sectorSize*sectorSize]
				data = op.apply(data)
			}
		}
	}
	return data
}

// What a crash leaves of an operation that was not synced.
const (
	lost = iota
	whole
	torn // a write of several sectors, done in part
)

// randomly returns a keep function for crash.
func randomly(rng *rand.Rand) func() int {
	return func() int { return rng.IntN(3) }
}

func inOrder() int { return whole }
