package scsi

import "encoding/binary"

// testUnitReady is TEST UNIT READY (SPC-4).
func testUnitReady(u *Unit, _ *Command) Sense {
	_, s := u.lastBlock()
	return s
}

// requestSense is REQUEST SENSE (SPC-4): it returns, and by that clears,
// what the next command would have been told.
func requestSense(u *Unit, c *Command) Sense {
	s := illegalRequest(ASCLogicalUnitNotSupported)
	if c.LUN == 0 {
		if s = u.admit(started); s.OK() {
			s = u.selfTests.inProgress()
		}
	}
	allocation := uint32(c.CDB[4])
	if c.CDB[1]&0x01 != 0 { // DESC
		return c.reply(s.appendDescriptor(nil), allocation)
	}
	var b [SenseSize]byte
	s.fixed(&b)
	return c.reply(b[:], allocation)
}

// reportLUNs is REPORT LUNS (SPC-4). There is LUN 0 and no well-known
// logical unit.
func reportLUNs(u *Unit, c *Command) Sense {
	var b [16]byte // a header, and LUN 0
	var length int
	switch c.CDB[2] {
	case 0x00, 0x02: // addressed units; all units
		length = 16
		binary.BigEndian.PutUint32(b[:], 8)
	case 0x01: // well-known units only
		length = 8
	default:
		return invalidField(2, 7)
	}
	u.attention.drop(ASCReportedLUNsDataHasChanged)
	return c.reply(b[:length], binary.BigEndian.Uint32(c.CDB[6:]))
}

// reportTaskManagement is REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4):
// LOGICAL UNIT RESET, which is Reset. Whether single commands can be aborted is
// up to the transport.
func reportTaskManagement(_ *Unit, c *Command) Sense {
	const lurs, repd, extended = 0x08, 0x80, 16
	length := 4
	b := [extended]byte{0: lurs}
	if c.CDB[2]&repd != 0 { // with the timeouts, of which none is given
		length, b[3] = extended, extended-4
	}
	return c.reply(b[:length], binary.BigEndian.Uint32(c.CDB[6:]))
}

// startStopUnit is START STOP UNIT (SBC-3). The command table refuses
// power conditions other than START_VALID and, since there is nothing to eject,
// LOEJ.
func startStopUnit(u *Unit, c *Command) Sense {
	const start, noFlush = 0x01, 0x04
	if c.CDB[4]&start != 0 {
		if u.stopped.CompareAndSwap(true, false) {
			u.counters.starts.Add(1)
		}
		return Sense{}
	}
	if c.CDB[4]&noFlush == 0 {
		if s := u.flush(c); !s.OK() {
			return s
		}
	}
	u.stopped.Store(true)
	return Sense{}
}

// preventAllow is PREVENT ALLOW MEDIUM REMOVAL (SPC-4). The medium cannot
// be removed, so both wishes are fulfilled.
func preventAllow(*Unit, *Command) Sense { return Sense{} }
