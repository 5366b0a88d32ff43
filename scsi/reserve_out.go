package scsi

import (
	"encoding/binary"
	"math/bits"

	"github.com/govmm/govmm/internal/iov"
)

// reserveOutSize is the length of the parameter list of PERSISTENT RESERVE OUT
// without SPEC_I_PT, and moveSize that of REGISTER AND MOVE with the TransportID of
// SAS (SPC-4).
const (
	reserveOutSize = 24
	moveSize       = reserveOutSize + transportIDSize
)

// Places in that parameter list.
const (
	reserveNewKeyAt = 8  // SERVICE ACTION RESERVATION KEY
	reserveFlagsAt  = 20 // SPEC_I_PT, ALL_TG_PT and APTPL
)

// reserveRequest is a PERSISTENT RESERVE OUT command, decoded.
type reserveRequest struct {
	c      *Command
	scope  byte
	kind   reservationType
	key    uint64
	newKey uint64 // SERVICE ACTION RESERVATION KEY
	flags  byte
	list   []byte // the whole parameter list
	self   uint64 // SAS address of the initiator
	keeps  bool   // APTPL can be asked for
}

// reserveOut returns the handler of a service action of PERSISTENT RESERVE OUT
// (SPC-4).
func reserveOut(do func(*reservations, *reserveRequest) Sense) func(*Unit, *Command) Sense {
	return reserveOutOf(reserveOutSize, do)
}

// reserveOutOf is reserveOut with a parameter list of another length.
func reserveOutOf(size int, do func(*reservations, *reserveRequest) Sense) func(*Unit, *Command) Sense {
	return func(u *Unit, c *Command) Sense {
		if n := binary.BigEndian.Uint32(c.CDB[5:]); uint64(n) != uint64(size) || iov.Len(c.Data) < size {
			return illegalRequest(ASCParameterListLengthError)
		}
		list := make([]byte, size)
		iov.Gather(list, c.Data)
		q := reserveRequest{
			c:      c,
			scope:  c.CDB[2] >> 4,
			kind:   reservationType(c.CDB[2] & 0x0F),
			key:    binary.BigEndian.Uint64(list),
			newKey: binary.BigEndian.Uint64(list[reserveNewKeyAt:]),
			flags:  list[reserveFlagsAt],
			list:   list,
			self:   u.config.Initiator,
			keeps:  u.config.SaveReservation != nil,
		}
		r := &u.reservations
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.reserved {
			return c.conflict()
		}
		c.Transferred = size
		before := r.state()
		if s := do(r, &q); !s.OK() {
			return s
		}
		return u.keepReservations(c, before)
	}
}

// keepReservations keeps what was changed, if it is to outlive the loss of power, or
// was. What cannot be kept is not changed.
//
// Preconditions: u.reservations.mu is held.
func (u *Unit) keepReservations(c *Command, before ReservationState) Sense {
	r := &u.reservations
	now := r.state()
	if now == before || !now.Persist && !before.Persist {
		return Sense{}
	}
	kept := &now
	if !now.Persist {
		kept = nil
	}
	if err := u.config.SaveReservation(kept); err != nil {
		r.set(before)
		c.Err = err
		return Sense{Key: KeyHardwareError, Code: ASCInternalTargetFailure}
	}
	u.keptReservation.Store(kept)
	return Sense{}
}

// authorized reports whether the key is that of the registration.
func (r *reservations) authorized(q *reserveRequest) bool { return r.key != 0 && q.key == r.key }

// checkKind checks the scope, of which there is only the logical unit, and the
// type of a reservation to make.
func (q *reserveRequest) checkKind() Sense {
	if q.scope != 0 {
		return invalidField(2, 7)
	}
	if !q.kind.valid() {
		return invalidField(2, 3)
	}
	return Sense{}
}

// register is REGISTER: who is not registered has no key to give.
func (r *reservations) register(q *reserveRequest) Sense {
	if q.key != r.key {
		return q.c.conflict()
	}
	return r.registerAnyhow(q)
}

// registerAnyhow is REGISTER AND IGNORE EXISTING KEY. A key of 0 unregisters.
func (r *reservations) registerAnyhow(q *reserveRequest) Sense {
	const specIPT, allTGPT, aptpl = 0x08, 0x04, 0x01
	absent := byte(specIPT | allTGPT) // as REPORT CAPABILITIES says
	if !q.keeps {
		absent |= aptpl
	}
	if bad := q.flags & absent; bad != 0 {
		return invalidParameterBit(reserveFlagsAt, bits.Len8(bad)-1)
	}
	switch {
	case q.newKey != 0:
		r.key = q.newKey
	case r.key != 0:
		r.unregister()
	default:
		return Sense{}
	}
	r.persist = q.flags&aptpl != 0
	r.generation++
	return Sense{}
}

// reserve is RESERVE.
func (r *reservations) reserve(q *reserveRequest) Sense {
	if !r.authorized(q) {
		return q.c.conflict()
	}
	if s := q.checkKind(); !s.OK() {
		return s
	}
	if r.held != 0 && (r.held != q.kind || r.other.key != 0) {
		return q.c.conflict()
	}
	r.held = q.kind
	return Sense{}
}

// release is RELEASE, which does nothing for who holds nothing.
func (r *reservations) release(q *reserveRequest) Sense {
	if !r.authorized(q) {
		return q.c.conflict()
	}
	if r.held == 0 || r.other.key != 0 {
		return Sense{}
	}
	if q.scope != 0 || q.kind != r.held {
		return illegalRequest(ASCInvalidReleaseOfReservation)
	}
	r.held = 0
	return Sense{}
}

// clear is CLEAR.
func (r *reservations) clear(q *reserveRequest) Sense {
	if !r.authorized(q) {
		return q.c.conflict()
	}
	r.setOther(registrant{})
	r.unregister()
	r.generation++
	return Sense{}
}

// preempt is PREEMPT, and PREEMPT AND ABORT: there is nobody else whose commands
// could be aborted. Who names the holder takes the reservation from it, or changes its
// own to that of the command; otherwise the registrations with the key end, which can
// only be its own.
func (r *reservations) preempt(q *reserveRequest) Sense {
	if !r.authorized(q) {
		return q.c.conflict()
	}
	holder := r.held != 0 && q.newKey == r.key
	switch {
	case r.other.key != 0:
		holder = q.newKey == r.other.key
	case r.held.allRegistrants():
		holder = q.newKey == 0 // all others, and then who is left holds it
	}
	switch {
	case holder:
		if s := q.checkKind(); !s.OK() {
			return s
		}
		r.setOther(registrant{})
		r.held = q.kind
	case q.newKey == 0:
		return invalidParameter(reserveNewKeyAt)
	case q.newKey != r.key:
		return q.c.conflict()
	default:
		r.unregister()
	}
	r.generation++
	return Sense{}
}

// Places in the parameter list of REGISTER AND MOVE.
const (
	moveFlagsAt     = 17 // UNREG and APTPL
	movePortAt      = 18 // RELATIVE TARGET PORT IDENTIFIER
	moveLengthAt    = 20 // TRANSPORTID PARAMETER DATA LENGTH
	moveTransportAt = 24
)

// move is REGISTER AND MOVE: another initiator is registered, and has the reservation
// from then on. That may be one that never comes: who is registered itself can take
// the reservation back by PREEMPT.
func (r *reservations) move(q *reserveRequest) Sense {
	const unregister, aptpl = 0x02, 0x01
	be := binary.BigEndian
	switch {
	case !r.authorized(q), r.other.key != 0, r.held.allRegistrants():
		return q.c.conflict()
	case r.held == 0:
		return invalidField(1, 4)
	case q.newKey == 0:
		return invalidParameter(reserveNewKeyAt)
	case q.list[moveFlagsAt]&aptpl != 0 && !q.keeps:
		return invalidParameterBit(moveFlagsAt, 0)
	case be.Uint16(q.list[movePortAt:]) != targetPort:
		return invalidParameter(movePortAt)
	case be.Uint32(q.list[moveLengthAt:]) != transportIDSize:
		return illegalRequest(ASCParameterListLengthError)
	}
	initiator, ok := parseTransportID(q.list[moveTransportAt:])
	if !ok || initiator == q.self {
		return invalidParameter(moveTransportAt)
	}
	r.persist = q.list[moveFlagsAt]&aptpl != 0
	r.setOther(registrant{initiator: initiator, key: q.newKey})
	if q.list[moveFlagsAt]&unregister != 0 {
		r.key = 0
	}
	r.generation++
	return Sense{}
}
