package scsi

import (
	"bytes"
	"testing"
)

// gated is a unit whose medium stops in each call until let is called.
func gated(t *testing.T, method string) (u *Unit, m *memory, entered chan struct{}, let chan struct{}) {
	entered, let = make(chan struct{}), make(chan struct{})
	u, m = newUnit(t, nil)
	hold := func() {
		if calls := m.calls; calls[len(calls)-1] != method {
			return
		}
		m.mu.Unlock()
		entered <- struct{}{}
		<-let
		m.mu.Lock()
	}
	m.mu.Lock()
	m.during = hold
	m.mu.Unlock()
	return u, m, entered, let
}

// closeHeld closes a unit whose medium holds a call, and lets that go on when the
// work in the background has been told to end.
func closeHeld(u *Unit, let chan struct{}) {
	go func() {
		u.background.mu.Lock()
		ctx := u.background.ctx
		u.background.mu.Unlock()
		<-ctx.Done()
		close(let)
	}()
	u.Close()
}

func senseOfRequest(t *testing.T, u *Unit) Sense {
	t.Helper()
	b := make([]byte, SenseSize)
	wantGood(t, run(u, []byte{byte(OpRequestSense), 0, 0, 0, SenseSize, 0}, b), SenseSize)
	s, _ := ParseSense(b)
	return s
}

// TestExtendedSelfTest runs a test in the background, looks how far it is, and
// ends it in every way.
func TestExtendedSelfTest(t *testing.T) {
	result := func(u *Unit) byte { return logPage(t, u, 0x10)[4+4] }
	const code = selfTestBackgroundExtended << 5
	u, m, entered, let := gated(t, "ReadV")
	wantGood(t, run(u, selfTestCDB(selfTestBackgroundExtended)), 0)
	<-entered
	if got := result(u); got != code|selfTestInProgress {
		t.Errorf("result %#x while it runs", got)
	}
	if s := senseOfRequest(t, u); s.Code != ASCSelfTestInProgress || !s.HasProgress {
		t.Errorf("REQUEST SENSE: %+v", s)
	}
	wantGood(t, run(u, turCDB), 0)
	if s, _ := ParseSense(run(u, selfTestCDB(selfTestBackgroundExtended)).Sense); s.Code != ASCSelfTestInProgress || s.Key != KeyNotReady {
		t.Errorf("a second one: %+v", s)
	}
	before := uint16(0)
	for range 512 / 128 { // pieces of 64 KiB
		let <- struct{}{}
		if s := senseOfRequest(t, u); s.Progress < before {
			t.Errorf("progress goes back from %d to %d", before, s.Progress)
		} else {
			before = s.Progress
		}
		<-entered
	}
	if before == 0 {
		t.Error("no progress")
	}
	m.mu.Lock()
	m.during = nil
	m.mu.Unlock()
	let <- struct{}{}
	await(t, "the end", func() bool { return result(u) != code|selfTestInProgress })
	if got := result(u); got != code|selfTestPassed {
		t.Errorf("result %#x", got)
	}

	u, _, entered, let = gated(t, "ReadV")
	wantGood(t, run(u, selfTestCDB(selfTestBackgroundExtended)), 0)
	<-entered
	wantGood(t, run(u, selfTestCDB(selfTestAbort)), 0)
	close(let)
	await(t, "the abort", func() bool { return result(u) == code|selfTestAborted })
	wantSense(t, run(u, selfTestCDB(selfTestAbort)), inCDB(1, 7))

	u, _, entered, let = gated(t, "ReadV")
	wantGood(t, run(u, selfTestCDB(selfTestBackgroundExtended)), 0)
	<-entered
	closeHeld(u, let)
	if got := result(u); got != code|selfTestCutOff {
		t.Errorf("result %#x after Close", got)
	}
	if s, _ := ParseSense(run(u, selfTestCDB(selfTestBackgroundExtended)).Sense); s.OK() && s.Code != ASCSelfTestInProgress {
		t.Errorf("after Close: %+v", s)
	}

	// A block that cannot be read is named; what has no storage is not read.
	mu, mm := newMappedUnit(t, 512, 1<<16, "A--A")
	mm.called()
	wantGood(t, run(mu, selfTestCDB(selfTestForegroundExtended)), 0)
	if n := len(mm.called()); n != 2 {
		t.Errorf("%d reads of two clusters with storage", n)
	}
	mm.during = func() {
		if len(mm.calls) == 2 {
			mm.failures = map[string]error{"ReadV": errBroken}
		}
	}
	wantSense(t, run(mu, selfTestCDB(selfTestForegroundExtended)), Sense{Key: KeyHardwareError, Code: ASCSelfTestFailed})
	if page := logPage(t, mu, 0x10); page[8] != selfTestForegroundExtended<<5|selfTestFailed || !bytes.Equal(page[12:20], []byte{0, 0, 0, 0, 0, 0, 1, 0x80}) {
		t.Errorf("result % x", page[8:24])
	}
}

// TestSanitizeImmediate begins and returns: everything that needs the medium is
// told how far it is until it is done.
func TestSanitizeImmediate(t *testing.T) {
	u, m, entered, let := gated(t, "WriteV")
	const immed = 0x80
	wantGood(t, run(u, overwriteCDB(immed, 5), overwriteList(1, 'x')), 5)
	last := uint16(0)
	for range testBlocks * 512 / scratchSize {
		<-entered
		s, _ := ParseSense(run(u, turCDB).Sense)
		if s.Key != KeyNotReady || s.Code != ASCSanitizeInProgress || !s.HasProgress || s.Progress < last {
			t.Fatalf("TEST UNIT READY: %+v", s)
		}
		last = s.Progress
		if r := senseOfRequest(t, u); r != s {
			t.Errorf("REQUEST SENSE: %+v", r)
		}
		wantGood(t, run(u, []byte{byte(OpInquiry), 0, 0, 0, 36, 0}, make([]byte, 36)), 36)
		let <- struct{}{}
	}
	if last == 0 {
		t.Error("no progress")
	}
	await(t, "the end", func() bool { return run(u, turCDB).Status == StatusGood })
	if !bytes.Equal(m.data, bytes.Repeat([]byte{'x'}, testBlocks*512)) || !m.isDurable() {
		t.Error("not overwritten, or not durable")
	}

	// One that is cut off has failed: the medium stays closed.
	u, _, entered, let = gated(t, "WriteV")
	wantGood(t, run(u, overwriteCDB(immed, 5), overwriteList(1, 'x')), 5)
	<-entered
	closeHeld(u, let)
	wantSense(t, run(u, turCDB), Sense{Key: KeyMediumError, Code: ASCSanitizeFailed})
	u.sanitizing.value.Store(sanitizeNone)
	if c := run(u, overwriteCDB(immed, 5), overwriteList(1, 'x')); c.Status == StatusGood {
		t.Error("something began in the background after Close")
	}

	// A failure is told to who comes later.
	u, m = newUnit(t, nil)
	m.fail("WriteZeroes+unmap", errBroken)
	wantGood(t, run(u, []byte{byte(OpSanitize), immed | saSanitizeBlockErase, 9: 0}), 0)
	u.Close()
	wantSense(t, run(u, turCDB), Sense{Key: KeyMediumError, Code: ASCSanitizeFailed})
}

// TestLogSelect clears the counters of one page and of all; totals go on.
func TestLogSelect(t *testing.T) {
	u, m := newUnit(t, nil)
	data := make([]byte, 4096)
	move := func() {
		wantGood(t, run(u, cdb10(OpRead10, 0, 0, 8), data), 4096)
		wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 8), data), 4096)
	}
	// Bytes are in the sixth parameter, errors in the seventh.
	counts := func(page byte) (n, errors byte) {
		p := logPage(t, u, page)
		return p[4+12*5+4+6], p[4+12*6+4+7]
	}
	move()
	m.fail("ReadV", errBroken)
	run(u, cdb10(OpRead10, 0, 0, 8), data)
	m.fail("ReadV", nil)
	if n, e := counts(3); n != 0x10 || e != 1 {
		t.Fatalf("read page: %#x00 bytes, %d errors", n, e)
	}
	clearOf := func(page byte) []byte { return []byte{byte(OpLogSelect), 0x02, 0x40 | page, 0, 0, 0, 0, 0, 0, 0} }
	wantGood(t, run(u, clearOf(0x03)), 0)
	if n, e := counts(3); n != 0 || e != 0 {
		t.Errorf("read page after it was cleared: %#x00 bytes, %d errors", n, e)
	}
	if n, _ := counts(2); n != 0x10 {
		t.Errorf("write page after the read page was cleared: %#x00 bytes", n)
	}
	move()
	if n, _ := counts(3); n != 0x10 {
		t.Errorf("read page: %#x00 bytes", n)
	}
	wantGood(t, run(u, selfTestCDB(selfTestForeground)), 0)
	wantGood(t, run(u, clearOf(0)), 0)
	if n, _ := counts(2); n != 0 || logPage(t, u, 0x10)[8] != 0 {
		t.Error("not all pages were cleared")
	}
	if k := u.counters.Totals(); k.BytesWritten != 8192 || k.MediumErrors != 1 {
		t.Errorf("totals are %+v", k)
	}
	wantSense(t, run(u, []byte{byte(OpLogSelect), 0x03, 0x40, 0, 0, 0, 0, 0, 0, 0}), inCDB(1, 0))
	wantSense(t, run(u, []byte{byte(OpLogSelect), 0x02, 0x00, 0, 0, 0, 0, 0, 0, 0}), inCDB(2, 7))
	wantSense(t, run(u, []byte{byte(OpLogSelect), 0x00, 0x43, 0, 0, 0, 0, 0, 4, 0}, data), inCDB(7, 7))
	wantSense(t, run(u, clearOf(0x0D)), inCDB(2, 5))
	wantSense(t, run(u, clearOf(0x2A)), inCDB(2, 5))
}
