package scsi

import (
	"slices"
	"sync"
	"testing"
)

func attention(code ASC) Sense { return Sense{Key: KeyUnitAttention, Code: code} }

var (
	turCDB          = []byte{byte(OpTestUnitReady), 0, 0, 0, 0, 0}
	requestSenseCDB = []byte{byte(OpRequestSense), 0, 0, 0, SenseSize, 0}
	reportLUNsCDB   = []byte{byte(OpReportLUNs), 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0}
	inquiryCDB      = []byte{byte(OpInquiry), 0, 0, 0, 36, 0}
	startCDB        = []byte{byte(OpStartStopUnit), 0, 0, 0, 1, 0}
	stopCDB         = []byte{byte(OpStartStopUnit), 0, 0, 0, 0, 0}
)

func TestNoAttentionAtFirst(t *testing.T) {
	u, _ := newUnit(t, nil)
	wantGood(t, run(u, turCDB), 0)
}

func TestPowerOnAttention(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.PowerOnAttention = true })
	for range 2 {
		wantGood(t, run(u, inquiryCDB, make([]byte, 36)), 36)
		wantGood(t, run(u, reportLUNsCDB, make([]byte, 16)), 16)
		wantSense(t, run(u, turCDB), attention(ASCPowerOnOrReset))
		wantGood(t, run(u, turCDB), 0)
		u.Reset()
	}
}

// An attention fails the command that meets it, which is not begun.
func TestAttentionStopsTransfers(t *testing.T) {
	u, m := newUnit(t, nil)
	data := make([]byte, 512)
	for _, do := range []func(*Command){
		u.Execute,
		func(c *Command) { u.Read(c, 0, 1, false) },
		func(c *Command) { u.Write(c, 0, 1, false) },
	} {
		u.RaiseAttention(ASCCapacityDataHasChanged)
		c := &Command{CDB: cdb10(OpWrite10, 0, 0, 1), Data: [][]byte{data}}
		do(c)
		wantSense(t, c, attention(ASCCapacityDataHasChanged))
		if calls := m.called(); len(calls) != 0 {
			t.Errorf("the medium was called: %v", calls)
		}
		do(c)
		wantGood(t, c, 512)
		m.called()
	}
}

func TestAttentionQueue(t *testing.T) {
	u, _ := newUnit(t, nil)
	for range 100 {
		u.RaiseAttention(ASCCapacityDataHasChanged)
		u.RaiseAttention(ASCModeParametersChanged)
	}
	wantSense(t, run(u, turCDB), attention(ASCCapacityDataHasChanged))
	wantSense(t, run(u, turCDB), attention(ASCModeParametersChanged))
	wantGood(t, run(u, turCDB), 0)

	u.RaiseAttention(ASCCapacityDataHasChanged)
	u.RaiseAttention(ASCPowerOnOrReset) // takes the place of what was there
	wantSense(t, run(u, turCDB), attention(ASCPowerOnOrReset))
	wantGood(t, run(u, turCDB), 0)

	u.RaiseAttention(ASCModeParametersChanged)
	u.Reset()
	wantGood(t, run(u, turCDB), 0)
}

// Commands that are refused for what they are do not consume an attention.
func TestAttentionSurvivesRefusals(t *testing.T) {
	u, _ := newUnit(t, nil)
	u.RaiseAttention(ASCCapacityDataHasChanged)
	wantSense(t, run(u, make([]byte, 0)), illegal(ASCInvalidOpcode))
	wantSense(t, run(u, []byte{0x85, 15: 0}), illegal(ASCInvalidOpcode))
	wantSense(t, run(u, cdb10(OpRead10, 0x20, 0, 1)), inCDB(1, 7))
	other := &Command{CDB: turCDB, LUN: 1}
	u.Execute(other)
	wantSense(t, other, illegal(ASCLogicalUnitNotSupported))
	wantSense(t, run(u, turCDB), attention(ASCCapacityDataHasChanged))
}

func TestRequestSenseTakesAttention(t *testing.T) {
	u, _ := newUnit(t, nil)
	u.RaiseAttention(ASCCapacityDataHasChanged)
	got := make([]byte, SenseSize)
	for _, want := range []Sense{attention(ASCCapacityDataHasChanged), {}} {
		wantGood(t, run(u, requestSenseCDB, got), SenseSize)
		if s, ok := ParseSense(got); !ok || s != want {
			t.Errorf("REQUEST SENSE returned %v, want %v", s, want)
		}
	}
	wantGood(t, run(u, turCDB), 0)
}

func TestReportLUNsDropsItsAttention(t *testing.T) {
	u, _ := newUnit(t, nil)
	u.RaiseAttention(ASCReportedLUNsDataHasChanged)
	u.RaiseAttention(ASCCapacityDataHasChanged)
	wantGood(t, run(u, reportLUNsCDB, make([]byte, 16)), 16)
	wantSense(t, run(u, turCDB), attention(ASCCapacityDataHasChanged))
	wantGood(t, run(u, turCDB), 0)
	refused := slices.Clone(reportLUNsCDB)
	refused[2] = 3
	wantSense(t, run(u, refused, make([]byte, 16)), inCDB(2, 7))
}

// However many commands run, each attention is reported once.
func TestAttentionIsReportedOnce(t *testing.T) {
	u, _ := newUnit(t, nil)
	u.RaiseAttention(ASCCapacityDataHasChanged)
	var wg sync.WaitGroup
	var mu sync.Mutex
	reported := 0
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if run(u, turCDB).Status != StatusGood {
					mu.Lock()
					reported++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if reported != 1 {
		t.Errorf("reported %d times", reported)
	}
}

func TestStartStop(t *testing.T) {
	u, m := newUnit(t, func(c *UnitConfig, _ *memory) { c.WriteBack = true })
	notReady := Sense{Key: KeyNotReady, Code: ASCNotReadyInitializingRequired}
	wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 1), pattern(512, 1)), 512)
	wantGood(t, run(u, stopCDB), 0)
	if !m.isDurable() {
		t.Error("stopping did not write the cache")
	}
	for _, cdb := range [][]byte{turCDB, cdb10(OpRead10, 0, 0, 1), cdb10(OpWrite10, 0, 0, 1),
		readCapacity16CDB(32), cdb10(OpSynchronizeCache10, 0, 0, 0)} {
		wantSense(t, run(u, cdb, make([]byte, 512)), notReady)
	}
	c := &Command{Data: [][]byte{make([]byte, 512)}}
	u.Read(c, 0, 1, false)
	wantSense(t, c, notReady)
	got := make([]byte, SenseSize)
	wantGood(t, run(u, requestSenseCDB, got), SenseSize)
	if s, _ := ParseSense(got); s != notReady {
		t.Errorf("REQUEST SENSE of a stopped unit: %v", s)
	}
	wantGood(t, run(u, inquiryCDB, make([]byte, 36)), 36)
	wantGood(t, run(u, startCDB), 0)
	wantGood(t, run(u, turCDB), 0)

	wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 1), pattern(512, 2)), 512)
	wantGood(t, run(u, []byte{byte(OpStartStopUnit), 1, 0, 0, 0x04, 0}), 0)
	if m.isDurable() {
		t.Error("stopping with NO_FLUSH wrote the cache")
	}
	u.Reset()
	wantGood(t, run(u, turCDB), 0)

	m.fail("Flush", errBroken)
	wantSense(t, run(u, stopCDB), Sense{Key: KeyMediumError, Code: ASCWriteError})
	wantGood(t, run(u, turCDB), 0)
}

func TestOtherLogicalUnits(t *testing.T) {
	u, _ := newUnit(t, nil)
	absent := illegal(ASCLogicalUnitNotSupported)
	for _, lun := range []uint8{1, 7, 255} {
		on := func(cdb, data []byte) *Command {
			c := &Command{CDB: cdb, LUN: lun, Data: [][]byte{data}}
			u.Execute(c)
			return c
		}
		got := make([]byte, 96)
		wantGood(t, on([]byte{byte(OpInquiry), 0, 0, 0, 96, 0}, got), 96)
		if got[0] != 0x7F {
			t.Errorf("INQUIRY of LUN %d: byte 0 = %#x", lun, got[0])
		}
		wantGood(t, on(requestSenseCDB, got), SenseSize)
		if s, _ := ParseSense(got); s != absent {
			t.Errorf("REQUEST SENSE of LUN %d: %v", lun, s)
		}
		for _, cdb := range [][]byte{turCDB, reportLUNsCDB, cdb10(OpRead10, 0, 0, 1), {0x85, 15: 0}, {},
			{byte(OpInquiry), 1, 0x83, 0, 96, 0}} {
			wantSense(t, on(cdb, got), absent)
		}
	}
}
