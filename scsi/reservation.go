package scsi

import "sync"

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

// reservations are the registration and the reservations of the one I_T nexus
// that there is. Whoever holds a reservation registered for it, and it ends with
// the registration: so none ever stands against a command that is not itself
// about reservations. They end with a reset, since there is no APTPL.
type reservations struct {
	mu         sync.Mutex
	generation uint32          // PRGENERATION
	key        uint64          // 0 is not registered
	held       reservationType // by the registrant
	reserved   bool            // by RESERVE, which excludes the others
}

func (r *reservations) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation, r.key, r.held, r.reserved = 0, 0, 0, false
}

// unregister ends the registration and with it the reservation.
func (r *reservations) unregister() { r.key, r.held = 0, 0 }

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
// persistent reservation; for who is only registered it is a conflict.
func (r *reservations) exclusive(c *Command, on bool) Sense {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.held != 0:
		return Sense{}
	case r.key != 0:
		return c.conflict()
	}
	r.reserved = on
	return Sense{}
}
