package scsi

import "testing"

// persisting is a unit whose owner keeps reservations, in kept.
func persisting(t *testing.T, kept **ReservationState) *Unit {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) {
		c.Initiator = 0x5000000000000001
		c.SaveReservation = func(x *ReservationState) error { *kept = x; return nil }
		c.SavedReservation = *kept
	})
	return u
}

// capabilities are the bytes of REPORT CAPABILITIES that have PTPL_C and PTPL_A.
func capabilities(t *testing.T, u *Unit) (capable, activated bool) {
	t.Helper()
	b := make([]byte, 8)
	wantGood(t, run(u, prIn(saReportCapabilities, 8), b), 8)
	return b[2]&0x01 != 0, b[3]&0x01 != 0
}

// TestReservationOutlivesPowerLoss registers with APTPL: registration and reservation,
// as they were changed last, are there in the unit's next life and after a reset, with
// PRGENERATION 0, until somebody registers without it.
func TestReservationOutlivesPowerLoss(t *testing.T) {
	var kept *ReservationState
	u := persisting(t, &kept)
	if capable, activated := capabilities(t, u); !capable || activated {
		t.Errorf("capable %v, activated %v", capable, activated)
	}
	wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0x01), 24)
	wantGood(t, prOut(u, saReserve, 5, keyA, 0, 0), 24)
	if _, activated := capabilities(t, u); !activated {
		t.Error("not activated")
	}
	for range 2 {
		u = persisting(t, &kept)
		wantReservations(t, u, 0, keyA, 5)
		u.Reset()
		wantReservations(t, u, 0, keyA, 5)
	}
	wantConflict(t, prOut(u, saRegister, 0, 0, keyB, 0x01))
	wantGood(t, prOut(u, saRelease, 5, keyA, 0, 0), 24)
	wantReservations(t, persisting(t, &kept), 0, keyA, 0)
	wantGood(t, prOut(u, saReserve, 1, keyA, 0, 0), 24)
	wantGood(t, prOut(u, saRegister, 0, keyA, keyB, 0), 24)
	wantReservations(t, u, 1, keyB, 1)
	if _, activated := capabilities(t, u); activated || kept != nil {
		t.Errorf("activated %v, kept %+v", activated, kept)
	}
	wantReservations(t, persisting(t, &kept), 0, 0, 0)
}

// TestReservationOfOtherOutlivesPowerLoss moves the reservation to another initiator,
// which keeps this one out in the next life, too.
func TestReservationOfOtherOutlivesPowerLoss(t *testing.T) {
	kept := &ReservationState{Key: keyA, Held: uint8(exclusiveAccess), Persist: true, OtherInitiator: 7, OtherKey: keyB}
	u := persisting(t, &kept)
	wantConflict(t, run(u, cdb10(OpRead10, 0, 0, 1), make([]byte, 512)))
	wantGood(t, prOut(u, saPreempt, byte(exclusiveAccess), keyA, keyB, 0), 24)
	wantGood(t, run(u, cdb10(OpRead10, 0, 0, 1), make([]byte, 512)), 512)
	if kept.OtherKey != 0 || kept.Held != uint8(exclusiveAccess) {
		t.Errorf("kept %+v", kept)
	}
	kept = &ReservationState{Held: 2, Persist: true} // which no unit can have kept
	wantReservations(t, persisting(t, &kept), 0, 0, 0)
}

// TestReservationCannotBeKept registers with APTPL where keeping fails: nothing has
// changed.
func TestReservationCannotBeKept(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) {
		c.SaveReservation = func(*ReservationState) error { return errBroken }
	})
	wantSense(t, prOut(u, saRegister, 0, 0, keyA, 0x01), Sense{Key: KeyHardwareError, Code: ASCInternalTargetFailure})
	wantReservations(t, u, 0, 0, 0)
	wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
	wantReservations(t, u, 1, keyA, 0)
}
