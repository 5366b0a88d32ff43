package scsi

import (
	"bytes"
	"slices"
	"testing"
)

func overwriteCDB(flags byte, length uint16) []byte {
	return []byte{byte(OpSanitize), flags | saSanitizeOverwrite, 0, 0, 0, 0, 0, byte(length >> 8), byte(length), 0}
}

func overwriteList(flags byte, pattern ...byte) []byte {
	return append([]byte{flags, 0, byte(len(pattern) >> 8), byte(len(pattern))}, pattern...)
}

var (
	blockEraseCDB  = []byte{byte(OpSanitize), saSanitizeBlockErase, 9: 0}
	exitFailureCDB = []byte{byte(OpSanitize), saSanitizeExitFailure, 9: 0}
)

func TestSanitizeOverwrite(t *testing.T) {
	for _, block := range []uint32{512, 4096} {
		u, m := newUnit(t, func(c *UnitConfig, m *memory) {
			c.BlockSize, c.WriteBack = block, true
			m.data = pattern(300*int(block), 1)
		})
		list := overwriteList(0x02, 'a', 'b', 'c')
		wantGood(t, run(u, overwriteCDB(0, 7), list[:2], list[2:]), 7)
		one := bytes.Repeat([]byte("abc"), int(block)/3+1)[:block]
		if !bytes.Equal(m.data, bytes.Repeat(one, 300)) || !m.isDurable() || m.flushes != 2 {
			t.Errorf("not overwritten with the pattern, or not durable after %d flushes", m.flushes)
		}
		// The last of two passes is inverted; a whole block is the longest pattern.
		whole := pattern(int(block), 5)
		list = overwriteList(0x82, whole...)
		wantGood(t, run(u, overwriteCDB(0, uint16(len(list))), list), len(list))
		for i := range whole {
			whole[i] = ^whole[i]
		}
		if !bytes.Equal(m.data, bytes.Repeat(whole, 300)) {
			t.Error("not overwritten with the inverted pattern")
		}
		wantGood(t, run(u, turCDB), 0)
	}
}

func TestSanitizeBlockErase(t *testing.T) {
	u, m := newUnit(t, func(_ *UnitConfig, m *memory) { m.data = pattern(testBlocks*512, 1) })
	m.called()
	wantGood(t, run(u, blockEraseCDB), 0)
	if calls := m.called(); !slices.Equal(calls, []string{"WriteZeroes+unmap", "Flush"}) {
		t.Errorf("called %v", calls)
	}
	if !bytes.Equal(m.data, make([]byte, testBlocks*512)) || !m.isDurable() {
		t.Error("not erased, or not durable")
	}
	for _, change := range []func(*memory){
		func(m *memory) { m.discard = false }, func(m *memory) { m.zeroes = false },
	} {
		u, _ := newUnit(t, func(_ *UnitConfig, m *memory) { change(m) })
		wantSense(t, run(u, blockEraseCDB), inCDB(1, 4))
	}
}

// While the medium is sanitized nothing else gets at it. But for commands that say
// how the unit is, all others are refused, also those that would be for their CDB
// (SBC-3).
func TestSanitizeInProgress(t *testing.T) {
	u, m := newUnit(t, nil)
	running := Sense{Key: KeyNotReady, Code: ASCSanitizeInProgress, HasProgress: true}
	var during []*Command
	sense := make([]byte, SenseSize)
	m.during = func() {
		m.during = nil
		m.mu.Unlock()
		defer m.mu.Lock()
		for _, cdb := range [][]byte{turCDB, cdb10(OpRead10, 0, 0, 1), cdb10(OpWrite10, 0, 0, 1), blockEraseCDB, exitFailureCDB,
			{byte(OpModeSense6), 0, 0x08, 0, 255, 0}, {byte(OpReserve6), 0, 0, 0, 0, 0},
			{byte(OpStartStopUnit), 0, 0, 0, 0x12, 0}, // STANDBY, which there is not
		} {
			during = append(during, run(u, cdb, make([]byte, 512)))
		}
		wantGood(t, run(u, requestSenseCDB, sense), SenseSize)
		wantGood(t, run(u, inquiryCDB, make([]byte, 36)), 36)
		wantGood(t, run(u, []byte{byte(OpLogSense), 0, 0x40 | 0x0D, 0, 0, 0, 0, 0, 4, 0}, make([]byte, 4)), 4)
		u.RaiseAttention(ASCCapacityDataHasChanged)
		wantSense(t, run(u, turCDB), Sense{Key: KeyUnitAttention, Code: ASCCapacityDataHasChanged})
	}
	wantGood(t, run(u, blockEraseCDB), 0)
	if len(during) == 0 {
		t.Fatal("nothing ran meanwhile")
	}
	for _, c := range during {
		wantSense(t, c, running)
	}
	if s, _ := ParseSense(sense); s != running {
		t.Errorf("REQUEST SENSE: %v", s)
	}
	wantGood(t, run(u, turCDB), 0)
}

func TestSanitizeFails(t *testing.T) {
	failed := Sense{Key: KeyMediumError, Code: ASCSanitizeFailed}
	for _, ause := range []byte{0, 0x20} {
		u, m := newUnit(t, nil)
		wantGood(t, run(u, exitFailureCDB), 0)
		wantGood(t, run(u, []byte{byte(OpSanitize), 0x80 | saSanitizeExitFailure, 9: 0}), 0) // IMMED, as sg_sanitize has it
		m.fail("WriteV", errBroken)
		list := overwriteList(0x01, 0)
		wantSense(t, run(u, overwriteCDB(ause, 5), list), failed)
		m.fail("WriteV", nil)
		u.Reset()
		wantSense(t, run(u, cdb10(OpRead10, 0, 0, 1), make([]byte, 512)), failed)
		if ause == 0 {
			wantSense(t, run(u, exitFailureCDB), inCDB(1, 4))
			wantSense(t, run(u, turCDB), failed)
			wantGood(t, run(u, overwriteCDB(0, 5), list), 5)
		} else {
			wantGood(t, run(u, exitFailureCDB), 0)
		}
		wantGood(t, run(u, turCDB), 0)
	}
}

func TestSanitizeRefuses(t *testing.T) {
	u, m := newUnit(t, nil)
	list := func(n uint16, list ...byte) *Command { return run(u, overwriteCDB(0, n), list) }
	m.called()
	for _, c := range []struct {
		got  *Command
		want Sense
	}{
		{run(u, overwriteCDB(0x40, 5), overwriteList(1, 0)), inCDB(1, 6)}, // ZNR
		{run(u, []byte{byte(OpSanitize), 0x03, 9: 0}), inCDB(1, 4)},       // CRYPTOGRAPHIC ERASE
		{list(0), inCDB(7, 7)},
		{list(4, 1, 0, 0, 0), inCDB(7, 7)},
		{list(517, make([]byte, 517)...), inCDB(7, 7)},
		{list(5, 1, 0, 0, 1), illegal(ASCParameterListLengthError)},
		{list(6, overwriteList(1, 0)...), illegal(ASCParameterListLengthError)},
		{list(6, append(overwriteList(1, 0), 0)...), illegal(ASCParameterListLengthError)},
		{list(5, 0x21, 0, 0, 1, 0), inList(0, 6)},
		{list(5, 0x00, 0, 0, 1, 0), inList(0, 4)},
		{list(5, 0x01, 0, 0, 0, 0), inList(2, -1)},
		{list(5, 0x01, 0, 2, 1, 0), inList(2, -1)},
	} {
		wantSense(t, c.got, c.want)
	}
	wantGood(t, run(u, stopCDB), 0)
	wantSense(t, run(u, blockEraseCDB), Sense{Key: KeyNotReady, Code: ASCNotReadyInitializingRequired})
	m.readOnly = true
	wantSense(t, run(u, blockEraseCDB), Sense{Key: KeyDataProtect, Code: ASCWriteProtected})
	if calls := m.called(); !slices.Equal(calls, []string{"Flush"}) {
		t.Errorf("called %v", calls)
	}
}

// What a command moved before SANITIZE stood against the rest of it does not count.
func TestCommandCutOffBySanitizeMovesNothing(t *testing.T) {
	u, m := newUnit(t, nil)
	m.during = func() { u.sanitizing.begin() } // with the first of several writes
	c := run(u, cdb10(OpWriteSame10, 0, 4, 300), bytes.Repeat([]byte{1}, 512))
	wantSense(t, c, Sense{Key: KeyNotReady, Code: ASCSanitizeInProgress, HasProgress: true})
	if c.Transferred != 0 {
		t.Errorf("%d bytes transferred, want none", c.Transferred)
	}
}
