package scsi

import "encoding/binary"

// reserveInHeader is the length of what precedes the data of PERSISTENT RESERVE
// IN: PRGENERATION, and the length of what follows (SPC-4).
const reserveInHeader = 8

// reserveIn returns the handler of a service action of PERSISTENT RESERVE IN
// (SPC-4); add appends what follows the header.
func reserveIn(add func(u *Unit, r *reservations, b []byte) []byte) func(*Unit, *Command) Sense {
	return func(u *Unit, c *Command) Sense {
		r := &u.reservations
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.reserved {
			return c.conflict()
		}
		b := make([]byte, reserveInHeader, 64)
		binary.BigEndian.PutUint32(b, r.generation)
		b = add(u, r, b)
		binary.BigEndian.PutUint32(b[4:], uint32(len(b)-reserveInHeader))
		return c.reply(b, uint32(binary.BigEndian.Uint16(c.CDB[7:])))
	}
}

// appendKeys is READ KEYS.
func appendKeys(_ *Unit, r *reservations, b []byte) []byte {
	for _, key := range []uint64{r.key, r.other.key} {
		if key != 0 {
			b = binary.BigEndian.AppendUint64(b, key)
		}
	}
	return b
}

// appendReservation is READ RESERVATION. If all registrants hold it, there is no
// one key to name.
func appendReservation(_ *Unit, r *reservations, b []byte) []byte {
	if r.held == 0 {
		return b
	}
	key := r.key
	switch {
	case r.other.key != 0:
		key = r.other.key
	case r.held.allRegistrants():
		key = 0
	}
	b = binary.BigEndian.AppendUint64(b, key)
	return append(b, 0, 0, 0, 0, 0, byte(r.held), 0, 0)
}

// hasInitiator says if the initiator has a name, without which it cannot be
// told of, nor from others.
func hasInitiator(u *Unit) bool { return u.config.Initiator != 0 }

const (
	targetPort      = 1  // relative identifier of the one target port
	transportIDSize = 24 // of SAS (SPL)
	protocolSAS     = 0x06
)

// parseTransportID reads the TransportID of a SAS initiator.
func parseTransportID(b []byte) (initiator uint64, ok bool) {
	const format = 0xC0 // FORMAT CODE, of which SAS has only 0
	if b[0]&(format|0x0F) != protocolSAS {
		return 0, false
	}
	initiator = binary.BigEndian.Uint64(b[4:])
	return initiator, initiator != 0
}

// appendFullStatus is READ FULL STATUS: the initiators with their TransportIDs, those
// of SAS (SPL).
func appendFullStatus(u *Unit, r *reservations, b []byte) []byte {
	for _, x := range []registrant{{u.config.Initiator, r.key}, r.other} {
		if x.key == 0 {
			continue
		}
		const holder = 0x01
		var d [24 + transportIDSize]byte
		be := binary.BigEndian
		be.PutUint64(d[0:], x.key)
		if r.held != 0 && (r.other.key == 0 || x == r.other) {
			d[12], d[13] = holder, byte(r.held)
		}
		be.PutUint16(d[18:], targetPort)
		be.PutUint32(d[20:], transportIDSize)
		d[24] = protocolSAS
		be.PutUint64(d[28:], x.initiator)
		b = append(b, d[:]...)
	}
	return b
}

// reserveCapabilities is REPORT CAPABILITIES: compatible handling of RESERVE, no
// SPEC_I_PT, no ALL_TG_PT, and persistence through power loss where the unit's owner
// keeps what that takes.
func reserveCapabilities(u *Unit, c *Command) Sense {
	const crh, ptplCapable, tmv, ptplActivated = 0x10, 0x01, 0x80, 0x01
	u.reservations.mu.Lock()
	defer u.reservations.mu.Unlock()
	if u.reservations.reserved {
		return c.conflict()
	}
	b := [8]byte{1: 8, 2: crh, 3: tmv}
	binary.BigEndian.PutUint16(b[4:], reservationTypes)
	if u.config.SaveReservation != nil {
		b[2] |= ptplCapable
	}
	if u.reservations.persist {
		b[3] |= ptplActivated
	}
	return c.reply(b[:], uint32(binary.BigEndian.Uint16(c.CDB[7:])))
}
