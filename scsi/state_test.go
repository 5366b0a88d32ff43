package scsi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/govmm/govmm/internal/fieldtest"
)

// again makes another unit over the same medium, in the state that u is in.
func again(t *testing.T, u *Unit) *Unit {
	t.Helper()
	if err := u.Suspend(t.Context()); err != nil {
		t.Fatal(err)
	}
	packed, err := json.Marshal(u.Save())
	if err != nil {
		t.Fatal(err)
	}
	counts := u.counters.Save()
	var x UnitState
	if err := json.Unmarshal(packed, &x); err != nil {
		t.Fatal(err)
	}
	c := u.config
	c.Counters = new(Counters)
	c.Counters.Restore(counts)
	n, err := NewUnit(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	if err := n.Restore(x); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(u.Save(), n.Save()); diff != "" {
		t.Errorf("the state is another (-was +is):\n%s", diff)
	}
	if diff := cmp.Diff(counts, n.counters.Save()); diff != "" {
		t.Errorf("the counts are others (-were +are):\n%s", diff)
	}
	n.Continue()
	return n
}

// TestRestoreUnit gives a unit everything that initiators can give it, and asks
// another in the same state about it.
func TestRestoreUnit(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.Initiator, c.PowerOnAttention = 0x5000000000000001, true })
	if s, _ := ParseSense(run(u, turCDB).Sense); s.Code != ASCPowerOnOrReset {
		t.Fatalf("first command: %v", s)
	}
	wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 3), make([]byte, 3*512)), 3*512)
	wantGood(t, run(u, cdb10(OpRead10, 0, 0, 2), make([]byte, 2*512)), 2*512)
	wantGood(t, run(u, selfTestCDB(selfTestForeground)), 0)
	list := make([]byte, 24)
	list[15] = 0x77 // a key
	wantGood(t, run(u, []byte{byte(OpPersistReserveOut), 0, 0, 0, 0, 0, 0, 0, 24, 0}, list), 24)
	list[7], list[15] = 0x77, 0
	wantGood(t, run(u, []byte{byte(OpPersistReserveOut), 1, byte(exclusiveAccess), 0, 0, 0, 0, 0, 24, 0}, list), 24)
	page := []byte{0, 0, 0, 0, 0x0A, 10, 0x04, 0x10, 0x08, 0, 0, 0, 0, 0, 0, 0} // D_SENSE and SWP
	wantGood(t, run(u, []byte{byte(OpModeSelect6), 0x10, 0, 0, byte(len(page)), 0}, page), len(page))
	wantGood(t, run(u, []byte{byte(OpStartStopUnit), 0, 0, 0, 0, 0}), 0)
	u.RaiseAttention(ASCCapacityDataHasChanged)
	u.RaiseAttention(ASCReportedLUNsDataHasChanged)

	n := again(t, u)
	for _, cdb := range [][]byte{turCDB, turCDB, turCDB, // two attentions, and stopped
		{byte(OpStartStopUnit), 0, 0, 0, 1, 0}, cdb10(OpWrite10, 0, 0, 1),
		{byte(OpPersistReserveIn), 0, 0, 0, 0, 0, 0, 0, 64, 0}, {byte(OpPersistReserveIn), 1, 0, 0, 0, 0, 0, 0, 64, 0},
		{byte(OpModeSense6), 0, 0x3F, 0, 255, 0}, {byte(OpModeSense6), 0, 0xBF, 0, 255, 0},
		{byte(OpLogSense), 0, 0x42, 0, 0, 0, 0, 1, 0, 0}, {byte(OpLogSense), 0, 0x43, 0, 0, 0, 0, 1, 0, 0},
		{byte(OpLogSense), 0, 0x50, 0, 0, 0, 0, 1, 0, 0}, {byte(OpLogSense), 0, 0x4E, 0, 0, 0, 0, 1, 0, 0},
	} {
		was, is := make([]byte, 512), make([]byte, 512)
		a, b := run(u, cdb, was), run(n, cdb, is)
		if a.Status != b.Status || !bytes.Equal(a.Sense, b.Sense) || !bytes.Equal(was, is) {
			t.Errorf("%s: was %v\n%x, is %v\n%x", CommandName(cdb), a, was, b, is)
		}
	}
}

// TestRestoreGoesOn saves a unit in the middle of what it does in the background:
// the other one goes on from there, does what is left, and nothing twice.
func TestRestoreGoesOn(t *testing.T) {
	t.Run("SANITIZE", func(t *testing.T) {
		u, m, entered, let := gated(t, "WriteV")
		wantGood(t, run(u, overwriteCDB(0x80, 7), overwriteList(0x83, 'a', 'b', 'c')), 7) // three passes, inverting
		<-entered
		let <- struct{}{}
		<-entered
		let <- struct{}{}
		<-entered
		m.mu.Lock()
		m.during = nil
		m.mu.Unlock()
		go func() { let <- struct{}{} }()
		n := again(t, u)
		await(t, "the end", func() bool { return n.sanitizing.value.Load() != sanitizeRunning })
		one := bytes.Repeat([]byte("abc"), 171)[:512]
		if !bytes.Equal(m.data, bytes.Repeat(one, testBlocks)) || !m.isDurable() {
			t.Error("not overwritten with the pattern of the last pass")
		}
		if got, want := n.counters.Totals().BytesWritten, uint64(3*testBlocks*512); got != want {
			t.Errorf("%d bytes were written, want %d", got, want)
		}
		wantGood(t, run(n, turCDB), 0)
		u.Close()
	})
	t.Run("self-test", func(t *testing.T) {
		u, m, entered, let := gated(t, "ReadV")
		wantGood(t, run(u, selfTestCDB(selfTestBackgroundExtended)), 0)
		<-entered
		m.mu.Lock()
		m.during = nil
		m.mu.Unlock()
		go func() { let <- struct{}{} }()
		n := again(t, u)
		await(t, "the end", func() bool { return !n.selfTests.isRunning() })
		if got := logPage(t, n, 0x10)[8]; got != selfTestBackgroundExtended<<5|selfTestPassed {
			t.Errorf("result %#x", got)
		}
		if got, want := n.counters.Totals().BytesRead, uint64(testBlocks*512); got != want {
			t.Errorf("%d bytes were read, want %d", got, want)
		}
		u.Close()
	})
}

// TestSuspendHoldsBackgroundWork suspends a unit in the middle of a SANITIZE: no
// more is erased until it continues, and Close need not wait for that.
func TestSuspendHoldsBackgroundWork(t *testing.T) {
	u, m, entered, let := gated(t, "WriteV")
	wantGood(t, run(u, overwriteCDB(0x80, 5), overwriteList(0x01, 'x')), 5)
	<-entered
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := u.Suspend(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("suspended while the medium was written: %v", err)
	}
	suspended := make(chan error, 1)
	go func() { suspended <- u.Suspend(t.Context()) }()
	await(t, "the suspension to begin", func() bool {
		u.background.mu.Lock()
		defer u.background.mu.Unlock()
		return u.background.held != nil
	})
	select {
	case <-suspended:
		t.Fatal("suspended while the medium was written")
	default:
	}
	m.mu.Lock()
	m.during = func() { t.Error("the medium is used") }
	m.mu.Unlock()
	let <- struct{}{}
	if err := <-suspended; err != nil {
		t.Fatal(err)
	}
	before := u.Save().Sanitize.Erasure.Offset
	if before == 0 || u.Save().Sanitize.Erasure.Offset != before {
		t.Errorf("at %d", before)
	}
	u.Close()
	if s, _ := ParseSense(run(u, turCDB).Sense); s.Code != ASCSanitizeFailed {
		t.Errorf("after Close: %v", s)
	}
	if u.Save().Sanitize != (SanitizeState{Failed: true}) {
		t.Errorf("saved %+v", u.Save().Sanitize)
	}
}

// TestRestoreUnitRefuses gives a unit states that none can have been in.
func TestRestoreUnitRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*UnitState){
		"another write cache": func(x *UnitState) { x.WriteBack = !x.WriteBack },
		"a tray":              func(x *UnitState) { x.Tray.Open = true },
		"at most 64":          func(x *UnitState) { x.Attentions = make([]ASC, 65) },
		"of type 0x2":         func(x *UnitState) { x.Reservations.Held = 2 },
		"without a holder":    func(x *UnitState) { x.Reservations.Held = 1 },
		"21 self-tests":       func(x *UnitState) { x.SelfTests = make([]SelfTestState, 21) },
		"self-test 0 of code 7": func(x *UnitState) {
			x.SelfTests = []SelfTestState{{Code: 7}}
		},
		"with result 15": func(x *UnitState) { x.SelfTests = []SelfTestState{{Code: 2, Result: 15}} },
		"at byte 1": func(x *UnitState) {
			x.SelfTests, x.SelfTest = []SelfTestState{{Code: 2, Result: 15}}, &SelfTestWork{Offset: 1}
		},
		"a self-test at byte 0": func(x *UnitState) { x.SelfTest = &SelfTestWork{} },
		"is under way":          func(x *UnitState) { x.Sanitize = SanitizeState{Failed: true, Erasure: &Erasure{}} },
		"SANITIZE of 0 bytes":   func(x *UnitState) { x.Sanitize.Erasure = &Erasure{} },
		"at byte 512":           func(x *UnitState) { x.Sanitize.Erasure = &Erasure{Size: 512, Offset: 512} },
		"of pass 2":             func(x *UnitState) { x.Sanitize.Erasure = &Erasure{Size: 512, Pass: 2} },
		"of 512 bytes":          func(x *UnitState) { x.Sanitize.Erasure = &Erasure{Size: 512, Pattern: []byte{}, Passes: 1} },
	} {
		u, _ := newUnit(t, nil)
		x := u.Save()
		spoil(&x)
		err := u.Restore(x)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryFieldIsDecided is for who adds a field to what a unit consists of:
// either the saved state has it, or it is said here why not.
func TestEveryFieldIsDecided(t *testing.T) {
	const saved, config, lock = "saved", "as the unit is made", "lock"
	fieldtest.Decided(t, &Unit{}, map[string]string{
		"config medium mapper trier shift commands": config, "counters": "saved apart, since units share them",
		"writeBack descriptorSense softProtected sanitizing tray stopped standby standbyWork attention reservations selfTests": saved,
		"savedMode keptReservation": "its owner's, see UnitConfig.SaveMode and SaveReservation", "modeMu changes": lock, "background": "what it does is in selfTests and sanitizing", "scratch": "holds nothing",
	})
	fieldtest.Decided(t, &sanitizeState{}, map[string]string{"value erasure": saved, "progress": "derived from erasure"})
	fieldtest.Decided(t, Erasure{}, map[string]string{"Pattern Passes Invert Leavable Size Pass Offset": saved})
	fieldtest.Decided(t, &tray{}, map[string]string{"open locked event": saved})
	fieldtest.Decided(t, &attentions{}, map[string]string{"queue": saved, "pending": "derived from queue", "mu": lock})
	fieldtest.Decided(t, &reservations{}, map[string]string{
		"generation key held reserved persist other": saved, "elsewhere": "derived from other", "mu": lock,
	})
	fieldtest.Decided(t, registrant{}, map[string]string{"initiator key": saved})
	fieldtest.Decided(t, &selfTestLog{}, map[string]string{
		"results running aborted offset": saved, "progress": "derived from offset", "abort": "of the goroutine", "mu": lock,
	})
	fieldtest.Decided(t, selfTestResult{}, map[string]string{"code result hours at": saved, "sense": "saved as far as it is shown"})
	fieldtest.Decided(t, &Counters{}, map[string]string{
		"read write verify other otherCleared starts": saved, "users": "spreads commands over lanes",
	})
	fieldtest.Decided(t, &workCounter{}, map[string]string{"done uncorrected bytesCleared uncorrectedCleared": saved})
	fieldtest.Decided(t, ModeParameters{}, map[string]string{"WriteCache DescriptorSense WriteProtect": saved})
	// What is saved comes back, whichever field it is in.
	x := reflect.TypeOf(UnitState{})
	if n := x.NumField(); n != 12 {
		t.Errorf("UnitState has %d fields: TestRestoreUnit or TestRestoreGoesOn must set the new one", n)
	}
}
