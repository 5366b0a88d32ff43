package scsi

import (
	"encoding/binary"
	"slices"
)

// Values of REPORTING OPTIONS, bits 2:0 of byte 2.
const (
	reportAll       = 0 // every command
	reportOpcode    = 1 // one without service actions
	reportAction    = 2 // one with a service action
	reportOneOrNone = 3 // one with a service action, or with 0 if it has none
)

// reportSupportedOpcodes is REPORT SUPPORTED OPERATION CODES (SPC-4).
func reportSupportedOpcodes(u *Unit, c *Command) Sense {
	timeouts := c.CDB[2]&0x80 != 0 // RCTD
	op := Opcode(c.CDB[3])
	action := int(binary.BigEndian.Uint16(c.CDB[4:]))
	rows := u.commands.of(op)
	if !slices.ContainsFunc(rows, func(r command) bool { return r.has(u) }) {
		rows = nil
	}
	hasActions := len(rows) > 0 && rows[0].action != noAction

	var b []byte
	switch c.CDB[2] & 0x07 {
	case reportAll:
		b = u.allCommands(timeouts)
	case reportOpcode:
		if hasActions {
			return invalidField(2, 2)
		}
		b = u.oneCommand(rows, noAction, timeouts)
	case reportAction:
		if len(rows) > 0 && !hasActions {
			return invalidField(2, 2)
		}
		b = u.oneCommand(rows, action, timeouts)
	case reportOneOrNone:
		if !hasActions && action == 0 {
			action = noAction
		}
		b = u.oneCommand(rows, action, timeouts)
	default:
		return invalidField(2, 2)
	}
	return c.reply(b, binary.BigEndian.Uint32(c.CDB[6:]))
}

// allCommands is the parameter data with a descriptor for each command.
func (u *Unit) allCommands(timeouts bool) []byte {
	const flagTimeouts, flagAction = 0x02, 0x01 // CTDP, SERVACTV
	b := make([]byte, 4)
	for i := range u.commands.rows {
		r := &u.commands.rows[i]
		if !r.has(u) {
			continue
		}
		var flags, action byte
		if r.action != noAction {
			flags, action = flagAction, byte(r.action)
		}
		if timeouts {
			flags |= flagTimeouts
		}
		b = append(b, byte(r.op), 0, 0, action, 0, flags, 0, byte(len(r.usage)))
		if timeouts {
			b = appendTimeouts(b)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// oneCommand is the parameter data about the one of rows that has the action.
func (u *Unit) oneCommand(rows []command, action int, timeouts bool) []byte {
	const notSupported, supported, flagTimeouts = 0x01, 0x03, 0x80 // SUPPORT, CTDP
	for i := range rows {
		r := &rows[i]
		if int(r.action) != action || !r.has(u) {
			continue
		}
		b := []byte{0, supported, 0, byte(len(r.usage))}
		b = append(b, r.usage...)
		if timeouts {
			b[1] |= flagTimeouts
			b = appendTimeouts(b)
		}
		return b
	}
	return []byte{0, notSupported, 0, 0}
}

// appendTimeouts appends a command timeouts descriptor that names no timeouts.
func appendTimeouts(b []byte) []byte {
	return append(b, 0, 0x0A, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}
