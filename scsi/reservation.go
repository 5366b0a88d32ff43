package scsi

import (
	"sync"
	"sync/atomic"
)

// reservationType is the TYPE of a persistent reservation (SPC-4). 0 stands for
// no reservation.
type reservationType uint8

const (
	writeExclusive               reservationType = 0x1
	exclusiveAccess              reservationType = 0x3
	writeExclusiveRegistrants    reservationType = 0x5 // registrants only
	exclusiveAccessRegistrants   reservationType = 0x6
	writeExclusiveAllRegistrants reservationType = 0x7
	exclusiveAccessAll           reservationType = 0x8 // all registrants
)

// reservationTypes is the PERSISTENT RESERVATION TYPE MASK with all of them.
const reservationTypes = 0xEA01

func (t reservationType) valid() bool {
	switch t {
	case writeExclusive, exclusiveAccess, writeExclusiveRegistrants, exclusiveAccessRegistrants,
		writeExclusiveAllRegistrants, exclusiveAccessAll:
		return true
	}
	return false
}

// allRegistrants reports whether every registrant holds the reservation.
func (t reservationType) allRegistrants() bool {
	return t == writeExclusiveAllRegistrants || t == exclusiveAccessAll
}

// registrantsOnly reports whether whoever is registered may use the unit.
func (t reservationType) registrantsOnly() bool {
	return t == writeExclusiveRegistrants || t == exclusiveAccessRegistrants || t.allRegistrants()
}

// excludesReads reports whether those who are kept out may not read either.
func (t reservationType) excludesReads() bool {
	return t == exclusiveAccess || t == exclusiveAccessRegistrants || t == exclusiveAccessAll
}

// reservations are the registration and the reservations of the one I_T nexus that
// sends commands, and of another that REGISTER AND MOVE named, if it did. That other
// is registered only while it holds the reservation, and then that stands against
// commands (see against). All of it ends with a reset, but for what is kept through
// the loss of power.
type reservations struct {
	mu         sync.Mutex
	generation uint32          // PRGENERATION
	key        uint64          // 0 is not registered
	held       reservationType // by the other if there is one, else by the registrant
	reserved   bool            // by RESERVE, which excludes the others
	persist    bool            // through the loss of power (APTPL)
	other      registrant      // that the reservation was moved to
	elsewhere  atomic.Bool     // there is another; written with mu held
}

// registrant is a registration of another initiator. No key is none.
type registrant struct {
	initiator uint64 // its SAS address
	key       uint64
}

// reset forgets all but what was kept, nil for nothing.
func (r *reservations) reset(kept *ReservationState) {
	var x ReservationState
	if kept != nil {
		x = *kept
		x.Generation, x.Reserved = 0, false
	}
	r.restore(x)
}

// setOther sets or, without a key, ends the registration of another initiator.
func (r *reservations) setOther(o registrant) {
	r.other = o
	r.elsewhere.Store(o.key != 0)
}

// unregister ends the registration of who sends commands, and with it the reservation
// if it is its own.
func (r *reservations) unregister() {
	if r.key = 0; r.other.key == 0 {
		r.held = 0
	}
}

// conflict ends a command with RESERVATION CONFLICT.
func (c *Command) conflict() Sense {
	c.Status = StatusReservationConflict
	c.Transferred = 0
	return Sense{}
}

// reserve is RESERVE (SPC-2) of the whole unit for whoever sends it.
func reserve(u *Unit, c *Command) Sense { return u.reservations.exclusive(c, true) }

// release is RELEASE (SPC-2).
func release(u *Unit, c *Command) Sense { return u.reservations.exclusive(c, false) }

// exclusive sets or ends the reservation of RESERVE. As CRH in REPORT
// CAPABILITIES says, it is GOOD without effect for who takes part in a
// persistent reservation; for who is only registered, or not at all while another
// has a reservation, it is a conflict.
func (r *reservations) exclusive(c *Command, on bool) Sense {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.held != 0 && (r.other.key == 0 || r.key != 0 && r.held.registrantsOnly()):
		return Sense{}
	case r.held != 0 || r.key != 0:
		return c.conflict()
	}
	r.reserved = on
	return Sense{}
}

// access is what a command does, as far as a reservation of another initiator is
// concerned.
type access uint8

const (
	accessNone access = iota // it is allowed in any case
	accessRead
	accessWrite // or changes what others rely on
)

// accessOf is what a command does, by the tables of SPC-4 and SBC-3 about commands in
// the presence of reservations. Commands about reservations look for themselves.
func accessOf(cdb []byte) access {
	switch Opcode(cdb[0]) {
	case OpTestUnitReady, OpRequestSense, OpInquiry, OpReportLUNs, OpLogSense, OpReadCapacity10, OpMaintenanceIn,
		OpPersistReserveIn, OpPersistReserveOut, OpReserve6, OpReserve10, OpRelease6, OpRelease10:
		return accessNone
	case OpServiceActionIn16:
		if cdb[1]&actionMask == saReadCapacity16 {
			return accessNone
		}
		return accessRead
	case OpPreventAllow: // to allow it
		if cdb[4]&1 == 0 {
			return accessNone
		}
	case OpStartStopUnit: // to start it, and nothing else
		if cdb[4] == 1 {
			return accessNone
		}
	case OpRead6, OpRead10, OpRead12, OpRead16, OpVerify10, OpVerify12, OpVerify16, OpPreFetch10, OpPreFetch16,
		OpReadDefectData10, OpReadDefectData12:
		return accessRead
	}
	return accessWrite
}

// against reports whether the reservation of another initiator stands against a
// command that does a.
func (r *reservations) against(a access) bool {
	if a == accessNone || !r.elsewhere.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.other.key == 0, r.key != 0 && r.held.registrantsOnly():
		return false
	}
	return a == accessWrite || r.held.excludesReads()
}
