package scsi

import (
	"bytes"
	"testing"
)

// selfTestCDB is SEND DIAGNOSTIC with a self-test code, or the default
// self-test if it is 0.
func selfTestCDB(code byte) []byte {
	if code == selfTestNone {
		return []byte{byte(OpSendDiagnostic), 0x04, 0, 0, 0, 0}
	}
	return []byte{byte(OpSendDiagnostic), code << 5, 0, 0, 0, 0}
}

func TestSelfTest(t *testing.T) {
	failed := Sense{Key: KeyHardwareError, Code: ASCSelfTestFailed}
	for _, code := range []byte{selfTestNone, selfTestBackground, selfTestForeground} {
		u, m := newUnit(t, nil)
		m.called()
		wantGood(t, run(u, selfTestCDB(code)), 0)
		if n := len(m.called()); n != 3 {
			t.Errorf("self-test %d read %d blocks", code, n)
		}
		reads := 0
		m.during = func() {
			if reads++; reads == 2 {
				m.failures = map[string]error{"ReadV": errBroken}
			}
		}
		if c := run(u, selfTestCDB(code)); code == selfTestBackground {
			wantGood(t, c, 0)
		} else {
			wantSense(t, c, failed)
		}
		var want [2]string // the newest first
		switch code {
		case selfTestNone: // the default self-test is not logged
			want = [2]string{"00000000 0000000000000000 00000000", "00000000 0000000000000000 00000000"}
		case selfTestBackground:
			want = [2]string{"24000064 00000000000001ff 03110000", "20000064 ffffffffffffffff 00000000"}
		case selfTestForeground:
			want = [2]string{"a4000064 00000000000001ff 03110000", "a0000064 ffffffffffffffff 00000000"}
		}
		page := logPage(t, u, 0x10)
		for i, w := range want {
			if got := page[4+20*i+4:][:16]; !bytes.Equal(got, unhex(t, w)) {
				t.Errorf("result %d of self-test %d: % x, want %s", i+1, code, got, w)
			}
		}
	}
}

// The log keeps the last 20 results.
func TestSelfTestLogIsBounded(t *testing.T) {
	u, m := newUnit(t, nil)
	m.fail("ReadV", errBroken)
	run(u, selfTestCDB(selfTestBackground))
	m.fail("ReadV", nil)
	for range 20 {
		page := logPage(t, u, 0x10)
		if len(page) != 4+20*20 {
			t.Fatalf("%d bytes", len(page))
		}
		wantGood(t, run(u, selfTestCDB(selfTestForeground)), 0)
	}
	page := logPage(t, u, 0x10)
	for i := range 20 {
		if page[4+20*i+4] != selfTestForeground<<5 {
			t.Errorf("result %d: % x", i+1, page[4+20*i:][:20])
		}
	}
}

func TestSendDiagnosticRefuses(t *testing.T) {
	u, _ := newUnit(t, nil)
	for _, code := range []byte{3, 4, 7} {
		wantSense(t, run(u, selfTestCDB(code)), inCDB(1, 7))
	}
	wantSense(t, run(u, []byte{byte(OpSendDiagnostic), 0x24, 0, 0, 0, 0}), inCDB(1, 7))
	wantSense(t, run(u, []byte{byte(OpSendDiagnostic), 0x04, 0, 0, 4, 0}, make([]byte, 4)), inCDB(3, 7))
	wantSense(t, run(u, []byte{byte(OpSendDiagnostic), 0x00, 0, 0, 4, 0}, make([]byte, 4)), inCDB(1, 4))
	page := func(list ...byte) *Command {
		return run(u, []byte{byte(OpSendDiagnostic), 0x10, 0, 0, byte(len(list)), 0}, list)
	}
	wantGood(t, page(), 0)
	wantGood(t, page(0, 0, 0, 0), 4)
	wantSense(t, page(0, 0, 0), illegal(ASCParameterListLengthError))
	wantSense(t, page(0, 0, 0, 0, 0), illegal(ASCParameterListLengthError))
	wantSense(t, page(0x40, 0, 0, 0), inList(0, -1))
	wantSense(t, page(0, 0, 0, 1, 0), inList(2, -1))
	wantSense(t, run(u, []byte{byte(OpSendDiagnostic), 0x10, 0, 0, 4, 0}), illegal(ASCParameterListLengthError))
	wantSense(t, run(u, []byte{byte(OpReceiveDiagnostic), 0x01, 0x40, 0, 64, 0}), inCDB(2, 7))
}

func TestReadDefectDataFormats(t *testing.T) {
	u, _ := newUnit(t, nil)
	for format := range byte(8) {
		ten := run(u, []byte{byte(OpReadDefectData10), 0, 0x18 | format, 0, 0, 0, 0, 0, 64, 0})
		twelve := run(u, []byte{byte(OpReadDefectData12), 0x18 | format, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0})
		if format < 6 {
			wantGood(t, ten, 0)
			wantGood(t, twelve, 0)
			continue
		}
		wantSense(t, ten, inCDB(2, 2))
		wantSense(t, twelve, inCDB(1, 2))
	}
}
