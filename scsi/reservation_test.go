package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
)

// prOut sends PERSISTENT RESERVE OUT.
func prOut(u *Unit, action, kind byte, key, newKey uint64, flags byte) *Command {
	list := make([]byte, 24)
	binary.BigEndian.PutUint64(list[0:], key)
	binary.BigEndian.PutUint64(list[8:], newKey)
	list[20] = flags
	return run(u, []byte{byte(OpPersistReserveOut), action, kind, 0, 0, 0, 0, 0, 24, 0}, list[:5], list[5:])
}

// wantConflict checks for RESERVATION CONFLICT.
func wantConflict(t testing.TB, c *Command) {
	t.Helper()
	if c.Status != StatusReservationConflict || c.Sense != nil || c.Transferred != 0 {
		t.Errorf("%v; want RESERVATION CONFLICT", c)
	}
}

// wantReservations checks what PERSISTENT RESERVE IN tells of it. A key or a
// type of 0 is none.
func wantReservations(t testing.TB, u *Unit, generation uint32, key uint64, kind byte) {
	t.Helper()
	be := binary.BigEndian
	keys := be.AppendUint32(nil, generation)
	held := bytes.Clone(keys)
	if key == 0 {
		keys = append(keys, 0, 0, 0, 0)
	} else {
		keys = be.AppendUint64(append(keys, 0, 0, 0, 8), key)
	}
	if kind == 0 {
		held = append(held, 0, 0, 0, 0)
	} else {
		holder := key
		if kind >= 7 {
			holder = 0
		}
		held = be.AppendUint64(append(held, 0, 0, 0, 16), holder)
		held = append(held, 0, 0, 0, 0, 0, kind, 0, 0)
	}
	for action, want := range [][]byte{keys, held} {
		got := make([]byte, 64)
		c := run(u, prIn(byte(action), 64), got)
		if c.Status != StatusGood || !bytes.Equal(got[:c.Transferred], want) {
			t.Errorf("%v: % x, want % x", c, got[:c.Transferred], want)
		}
	}
}

func prIn(action, allocation byte) []byte {
	return []byte{byte(OpPersistReserveIn), action, 0, 0, 0, 0, 0, 0, allocation, 0}
}

var allReservationTypes = []byte{1, 3, 5, 6, 7, 8}

const keyA, keyB = 0x0123456789ABCDEF, 0xB

func TestRegister(t *testing.T) {
	u, _ := newUnit(t, nil)
	wantReservations(t, u, 0, 0, 0)
	wantConflict(t, prOut(u, saRegister, 0, keyA, keyB, 0)) // there is no such key yet
	wantGood(t, prOut(u, saRegister, 0, 0, 0, 0), 24)
	wantReservations(t, u, 0, 0, 0)
	wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
	wantReservations(t, u, 1, keyA, 0)
	wantConflict(t, prOut(u, saRegister, 0, 0, keyB, 0))
	wantGood(t, prOut(u, saRegister, 0, keyA, keyB, 0), 24)
	wantReservations(t, u, 2, keyB, 0)
	wantGood(t, prOut(u, saRegister, 0, keyB, 0, 0), 24)
	wantReservations(t, u, 3, 0, 0)
	wantGood(t, prOut(u, saRegisterAndIgnore, 0, 77, keyA, 0), 24)
	wantGood(t, prOut(u, saRegisterAndIgnore, 0, 77, keyB, 0), 24)
	wantReservations(t, u, 5, keyB, 0)
	wantGood(t, prOut(u, saRegisterAndIgnore, 0, 77, 0, 0), 24)
	wantGood(t, prOut(u, saRegisterAndIgnore, 0, 77, 0, 0), 24)
	wantReservations(t, u, 6, 0, 0)
	u.Reset()
	wantReservations(t, u, 0, 0, 0)
}

func TestRegisterRefuses(t *testing.T) {
	u, _ := newUnit(t, nil)
	for _, action := range []byte{saRegister, saRegisterAndIgnore} {
		wantSense(t, prOut(u, action, 0, 0, keyA, 0x01), inList(20, 0)) // APTPL
		wantSense(t, prOut(u, action, 0, 0, keyA, 0x04), inList(20, 2)) // ALL_TG_PT
		wantSense(t, prOut(u, action, 0, 0, keyA, 0x09), inList(20, 3)) // SPEC_I_PT
	}
	wantReservations(t, u, 0, 0, 0)
	length := illegal(ASCParameterListLengthError)
	cdb := []byte{byte(OpPersistReserveOut), saRegister, 0, 0, 0, 0, 0, 0, 24, 0}
	wantSense(t, run(u, cdb, make([]byte, 23)), length)
	for _, n := range []byte{0, 23, 25} {
		cdb[8] = n
		wantSense(t, run(u, cdb, make([]byte, 64)), length)
	}
}

// Every type can be held and released. The holder is never in its own way.
func TestPersistentReserve(t *testing.T) {
	for _, kind := range allReservationTypes {
		u, _ := newUnit(t, nil)
		wantConflict(t, prOut(u, saReserve, kind, 0, 0, 0))
		wantConflict(t, prOut(u, saReserve, kind, keyA, 0, 0))
		wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
		wantConflict(t, prOut(u, saReserve, kind, keyB, 0, 0))
		wantGood(t, prOut(u, saReserve, kind, keyA, 0, 0), 24)
		wantGood(t, prOut(u, saReserve, kind, keyA, 0, 0xFF), 24) // flags are for REGISTER
		wantReservations(t, u, 1, keyA, kind)
		for _, other := range allReservationTypes {
			if other == kind {
				continue
			}
			wantConflict(t, prOut(u, saReserve, other, keyA, 0, 0))
			wantSense(t, prOut(u, saRelease, other, keyA, 0, 0), illegal(ASCInvalidReleaseOfReservation))
		}
		data := make([]byte, 512)
		wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 1), data), 512)
		wantGood(t, run(u, cdb10(OpRead10, 0, 0, 1), data), 512)
		wantConflict(t, prOut(u, saRelease, kind, keyB, 0, 0))
		wantGood(t, prOut(u, saRelease, kind, keyA, 0, 0), 24)
		wantGood(t, prOut(u, saRelease, kind, keyA, 0, 0), 24)
		wantReservations(t, u, 1, keyA, 0)

		// The reservation follows a change of the key, and ends with it.
		wantGood(t, prOut(u, saReserve, kind, keyA, 0, 0), 24)
		wantGood(t, prOut(u, saRegister, 0, keyA, keyB, 0), 24)
		wantReservations(t, u, 2, keyB, kind)
		wantGood(t, prOut(u, saRegister, 0, keyB, 0, 0), 24)
		wantReservations(t, u, 3, 0, 0)

		wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
		wantGood(t, prOut(u, saReserve, kind, keyA, 0, 0), 24)
		wantConflict(t, prOut(u, saClear, 0, keyB, 0, 0))
		wantGood(t, prOut(u, saClear, 0, keyA, 0, 0), 24)
		wantReservations(t, u, 5, 0, 0)
	}
	u, _ := newUnit(t, nil)
	wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
	for _, kind := range []byte{0, 2, 4, 9, 15} {
		wantSense(t, prOut(u, saReserve, kind, keyA, 0, 0), inCDB(2, 3))
	}
	wantSense(t, prOut(u, saReserve, 0x11, keyA, 0, 0), inCDB(2, 7))
}

func TestPreempt(t *testing.T) {
	for _, action := range []byte{saPreempt, saPreemptAndAbort} {
		for _, kind := range allReservationTypes {
			u, _ := newUnit(t, nil)
			wantConflict(t, prOut(u, action, kind, keyA, keyA, 0))
			wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
			// Without a reservation it is about registrations.
			wantConflict(t, prOut(u, action, kind, keyB, keyA, 0))
			wantConflict(t, prOut(u, action, kind, keyA, keyB, 0))
			wantSense(t, prOut(u, action, kind, keyA, 0, 0), inList(8, -1))
			wantReservations(t, u, 1, keyA, 0)
			wantGood(t, prOut(u, action, kind, keyA, keyA, 0), 24)
			wantReservations(t, u, 2, 0, 0)

			// The holder changes its reservation.
			wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
			wantGood(t, prOut(u, saReserve, kind, keyA, 0, 0), 24)
			wantConflict(t, prOut(u, action, 1, keyA, keyB, 0))
			holder := uint64(keyA)
			if kind >= 7 {
				holder = 0
			} else {
				wantSense(t, prOut(u, action, 1, keyA, 0, 0), inList(8, -1))
			}
			wantSense(t, prOut(u, action, 2, keyA, holder, 0), inCDB(2, 3))
			wantSense(t, prOut(u, action, 0x31, keyA, holder, 0), inCDB(2, 7))
			wantReservations(t, u, 3, keyA, kind)
			wantGood(t, prOut(u, action, 6, keyA, holder, 0), 24)
			wantReservations(t, u, 4, keyA, 6)
		}
		// Who ends the last registration of all registrants ends the reservation.
		u, _ := newUnit(t, nil)
		wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
		wantGood(t, prOut(u, saReserve, 8, keyA, 0, 0), 24)
		wantGood(t, prOut(u, action, 8, keyA, keyA, 0), 24)
		wantReservations(t, u, 2, 0, 0)
	}
}

// RESERVE of SPC-2 and persistent reservations exclude each other, but for who
// takes part in the latter.
func TestReserveRelease(t *testing.T) {
	for _, form := range []struct{ reserve, release []byte }{
		{[]byte{byte(OpReserve6), 5: 0}, []byte{byte(OpRelease6), 5: 0}},
		{[]byte{byte(OpReserve10), 9: 0}, []byte{byte(OpRelease10), 9: 0}},
	} {
		u, _ := newUnit(t, nil)
		wantGood(t, run(u, form.release), 0)
		wantGood(t, run(u, form.reserve), 0)
		wantGood(t, run(u, form.reserve), 0)
		wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 1), make([]byte, 512)), 512)
		wantConflict(t, prOut(u, saRegister, 0, 0, keyA, 0))
		for action := range byte(4) {
			wantConflict(t, run(u, prIn(action, 64), make([]byte, 64)))
		}
		wantGood(t, run(u, form.release), 0)
		wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
		wantConflict(t, run(u, form.reserve))
		wantConflict(t, run(u, form.release))
		wantGood(t, prOut(u, saReserve, 5, keyA, 0, 0), 24)
		wantGood(t, run(u, form.reserve), 0)
		wantGood(t, run(u, form.release), 0)
		wantReservations(t, u, 1, keyA, 5)
		wantGood(t, prOut(u, saClear, 0, keyA, 0, 0), 24)
		wantGood(t, run(u, form.reserve), 0)
		u.Reset()
		wantReservations(t, u, 0, 0, 0)
	}
	u, _ := newUnit(t, nil)
	wantSense(t, run(u, []byte{byte(OpReserve6), 0x10, 5: 0}), inCDB(1, 7)) // third party
	wantSense(t, run(u, []byte{byte(OpReserve10), 0x01, 9: 0}), inCDB(1, 7))
}

func TestReadFullStatus(t *testing.T) {
	u, _ := newUnit(t, nil)
	got := make([]byte, 64)
	wantGood(t, run(u, prIn(saReadFullStatus, 64), got), 8)
	wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
	wantGood(t, run(u, prIn(saReadFullStatus, 64), got), 56)
	want := `00000001 00000030
		0123456789abcdef 00000000 %s 00000000 0001 00000018
		06 000000 500605b000000001 000000000000000000000000`
	if w := unhex(t, fmt.Sprintf(want, "00 00")); !bytes.Equal(got[:56], w) {
		t.Errorf("% x, want % x", got[:56], w)
	}
	wantGood(t, prOut(u, saReserve, 8, keyA, 0, 0), 24)
	wantGood(t, run(u, prIn(saReadFullStatus, 64), got), 56)
	if w := unhex(t, fmt.Sprintf(want, "01 08")); !bytes.Equal(got[:56], w) {
		t.Errorf("% x, want % x", got[:56], w)
	}
	unnamed, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.Initiator = 0 })
	wantSense(t, run(unnamed, prIn(saReadFullStatus, 64), got), inCDB(1, 4))
	wantSense(t, prMove(unnamed, 1, keyA, keyB, 7, nil), inCDB(1, 4))
}

// prMove sends REGISTER AND MOVE to a SAS initiator, after a change of its parameter
// list.
func prMove(u *Unit, kind byte, key, newKey, initiator uint64, change func([]byte)) *Command {
	be := binary.BigEndian
	list := make([]byte, 48)
	be.PutUint64(list[0:], key)
	be.PutUint64(list[8:], newKey)
	be.PutUint16(list[18:], 1)
	be.PutUint32(list[20:], 24)
	list[24] = 0x06
	be.PutUint64(list[28:], initiator)
	if change != nil {
		change(list)
	}
	return run(u, []byte{byte(OpPersistReserveOut), saRegisterAndMove, kind, 0, 0, 0, 0, 0, byte(len(list)), 0}, list[:30], list[30:])
}

const otherInitiator = 0x500605B0000000FF

// A reservation that was moved to another initiator stands against commands as the
// tables of SPC-4 and SBC-3 say, until it is taken back.
func TestRegisterAndMove(t *testing.T) {
	data := make([]byte, 512)
	for _, unregister := range []bool{false, true} {
		for _, kind := range []byte{1, 3, 5, 6} {
			u, _ := newUnit(t, nil)
			wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
			wantGood(t, prOut(u, saReserve, kind, keyA, 0, 0), 24)
			wantGood(t, prMove(u, 0, keyA, keyB, otherInitiator, func(list []byte) {
				if unregister {
					list[17] = 2
				}
			}), 48)
			full := make([]byte, 128)
			wantKeys := []uint64{keyB}
			if !unregister {
				wantKeys = []uint64{keyA, keyB}
			}
			keys := make([]byte, 64)
			c := run(u, prIn(saReadKeys, 64), keys)
			if int(c.Transferred) != 8+8*len(wantKeys) || keys[3] != 2 || binary.BigEndian.Uint64(keys[c.Transferred-8:]) != keyB {
				t.Errorf("keys: % x", keys[:c.Transferred])
			}
			c = run(u, prIn(saReadFullStatus, 128), full)
			last := full[c.Transferred-48 : c.Transferred]
			if int(c.Transferred) != 8+48*len(wantKeys) || last[12] != 1 || last[13] != kind || binary.BigEndian.Uint64(last[28:]) != otherInitiator {
				t.Errorf("full status: % x", full[:c.Transferred])
			}
			if !unregister && full[8+12] != 0 {
				t.Error("who has moved the reservation is told to hold it")
			}
			held := make([]byte, 24)
			run(u, prIn(saReadReservation, 24), held)
			if binary.BigEndian.Uint64(held[8:]) != keyB || held[21] != kind {
				t.Errorf("reservation: % x", held)
			}

			registered := !unregister && kind >= 5
			reads, writes := registered || kind == 1 || kind == 5, registered
			for _, tt := range []struct {
				c    *Command
				good bool
			}{
				{run(u, cdb10(OpRead10, 0, 0, 1), data), reads},
				{read1(u, data), reads},
				{run(u, cdb10(OpVerify10, 0, 0, 1)), reads},
				{run(u, cdb10(OpPreFetch10, 0, 0, 1)), reads},
				{run(u, []byte{byte(OpServiceActionIn16), saGetLBAStatus, 13: 24, 15: 0}, data[:24]), reads},
				{run(u, cdb10(OpWrite10, 0, 0, 1), data), writes},
				{write1(u, data), writes},
				{run(u, cdb10(OpSynchronizeCache10, 0, 0, 1)), writes},
				{run(u, []byte{byte(OpModeSense6), 0, 0x3F, 0, 64, 0}, data[:64]), writes},
				{run(u, []byte{byte(OpStartStopUnit), 0, 0, 0, 0, 0}), writes},
				{run(u, []byte{byte(OpStartStopUnit), 0, 0, 0, 1, 0}), true},
				{run(u, []byte{byte(OpPreventAllow), 0, 0, 0, 0, 0}), true},
				{run(u, []byte{byte(OpInquiry), 0, 0, 0, 36, 0}, data[:36]), true},
				{run(u, []byte{byte(OpTestUnitReady), 0, 0, 0, 0, 0}), true},
				{run(u, []byte{byte(OpLogSense), 0, 0x40, 0, 0, 0, 0, 0, 64, 0}, data[:64]), true},
				{run(u, []byte{byte(OpReadCapacity10), 9: 0}, data[:8]), true},
				{run(u, []byte{byte(OpServiceActionIn16), saReadCapacity16, 13: 32, 15: 0}, data[:32]), true},
				{run(u, []byte{byte(OpReserve6), 5: 0}), registered},
			} {
				// PRE-FETCH is CONDITION MET, at best.
				if done := tt.c.Status != StatusReservationConflict; done != tt.good || done && tt.c.Status != StatusGood && tt.c.Status != StatusConditionMet {
					t.Errorf("type %d, registered %v: %v, want it to be done: %v", kind, !unregister, tt.c, tt.good)
				}
			}
			// It can be taken back, by who is registered and names the holder.
			if unregister {
				wantConflict(t, prOut(u, saPreempt, 3, keyA, keyB, 0))
				wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
			}
			wantConflict(t, prOut(u, saReserve, kind, keyA, 0, 0))
			wantGood(t, prOut(u, saRelease, kind, keyA, 0, 0), 24) // does nothing
			wantConflict(t, prMove(u, 0, keyA, keyB, otherInitiator, nil))
			wantGood(t, prOut(u, saPreempt, 3, keyA, keyB, 0), 24)
			generation := uint32(3)
			if unregister {
				generation = 4
			}
			wantReservations(t, u, generation, keyA, 3)
			wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 1), data), 512)
		}
	}
	// CLEAR ends it as well, and so does a reset.
	for _, end := range []func(*Unit){
		func(u *Unit) { wantGood(t, prOut(u, saClear, 0, keyA, 0, 0), 24) },
		func(u *Unit) { u.Reset() },
	} {
		u, _ := newUnit(t, nil)
		wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
		wantGood(t, prOut(u, saReserve, 3, keyA, 0, 0), 24)
		wantGood(t, prMove(u, 0, keyA, keyB, otherInitiator, nil), 48)
		wantConflict(t, run(u, cdb10(OpRead10, 0, 0, 1), data))
		// Whose registration ends keeps nothing from the holder.
		wantGood(t, prOut(u, saRegister, 0, keyA, 0, 0), 24)
		wantConflict(t, run(u, cdb10(OpRead10, 0, 0, 1), data))
		wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
		end(u)
		wantGood(t, run(u, cdb10(OpRead10, 0, 0, 1), data), 512)
	}
}

func read1(u *Unit, data []byte) *Command {
	c := &Command{Data: [][]byte{data}}
	u.Read(c, 0, 1, false)
	return c
}

func write1(u *Unit, data []byte) *Command {
	c := &Command{Data: [][]byte{data}}
	u.Write(c, 0, 1, false)
	return c
}

func TestRegisterAndMoveRefuses(t *testing.T) {
	u, _ := newUnit(t, nil)
	wantConflict(t, prMove(u, 0, keyA, keyB, otherInitiator, nil)) // not registered
	wantGood(t, prOut(u, saRegister, 0, 0, keyA, 0), 24)
	wantConflict(t, prMove(u, 0, keyB, keyB, otherInitiator, nil))
	wantSense(t, prMove(u, 0, keyA, keyB, otherInitiator, nil), inCDB(1, 4)) // nothing to move
	wantGood(t, prOut(u, saReserve, 7, keyA, 0, 0), 24)
	wantConflict(t, prMove(u, 0, keyA, keyB, otherInitiator, nil)) // that all registrants hold
	wantGood(t, prOut(u, saRelease, 7, keyA, 0, 0), 24)
	wantGood(t, prOut(u, saReserve, 1, keyA, 0, 0), 24)
	set := func(at int, v byte) func([]byte) { return func(list []byte) { list[at] = v } }
	for _, tt := range []struct {
		key    uint64
		change func([]byte)
		want   Sense
	}{
		{0, nil, inList(8, -1)},
		{keyB, set(17, 1), inList(17, 0)}, // APTPL
		{keyB, set(19, 2), inList(18, -1)},
		{keyB, set(23, 28), illegal(ASCParameterListLengthError)},
		{keyB, set(24, 0x05), inList(24, -1)}, // a name of iSCSI
		{keyB, set(24, 0x46), inList(24, -1)},
		{keyB, func(list []byte) { binary.BigEndian.PutUint64(list[28:], u.config.Initiator) }, inList(24, -1)},
		{keyB, func(list []byte) { binary.BigEndian.PutUint64(list[28:], 0) }, inList(24, -1)},
	} {
		wantSense(t, prMove(u, 0, keyA, tt.key, otherInitiator, tt.change), tt.want)
	}
	length := illegal(ASCParameterListLengthError)
	cdb := []byte{byte(OpPersistReserveOut), saRegisterAndMove, 0, 0, 0, 0, 0, 0, 24, 0}
	wantSense(t, run(u, cdb, make([]byte, 48)), length)
	cdb[8] = 48
	wantSense(t, run(u, cdb, make([]byte, 47)), length)
	wantReservations(t, u, 1, keyA, 1)
}
