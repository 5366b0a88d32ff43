package scsi

import (
	"encoding/binary"
	"fmt"
)

// command is a row of the command table: all that is known about a command.
type command struct {
	op     Opcode
	action int8 // service action in byte 1, bits 4:0, or noAction
	name   string
	needs  needs
	// usage has a bit set for each bit of the CDB that is looked at, as REPORT
	// SUPPORTED OPERATION CODES returns it (SPC-4): byte 0 is the
	// operation code, and a service action stands for itself. All other bits
	// must be zero. Its length is the length of the CDB.
	usage []byte
	// when says if the unit has the command at all; nil is always.
	when func(*Unit) bool
	run  func(*Unit, *Command) Sense
}

const (
	noAction   = -1
	actionMask = 0x1F
)

// needs says what must hold before a command runs, what it is exempt from, and
// what its CDB has.
type needs uint8

const (
	// anyLUN: the handler itself answers for logical units that do not exist.
	anyLUN needs = 1 << iota
	// noAttention: the command runs while a unit attention is pending (SAM-5),
	// and its handler says what becomes of it.
	noAttention
	// started: the command needs a unit that is not stopped.
	started
	// writable: the command changes the medium.
	writable
	// duringSanitize: the command runs while SANITIZE does, as those with
	// noAttention do (SBC-3).
	duringSanitize
	// addressed: the CDB has an address and a length where cdbExtent finds them.
	addressed
)

// commandSet is a command table with an index by operation code. It does not
// change after it was made.
type commandSet struct {
	rows  []command
	first [256]uint8 // 1 + the first row of an operation code; 0 is none
}

// newCommandSet indexes rows, which are sorted by operation code and action.
func newCommandSet(rows []command) *commandSet {
	t := &commandSet{rows: rows}
	for i := len(rows) - 1; i >= 0; i-- {
		t.first[rows[i].op] = uint8(i + 1)
	}
	return t
}

// of returns the rows of an operation code: one for each service action that it
// has, one if it has none.
func (t *commandSet) of(op Opcode) []command {
	if t.first[op] == 0 {
		return nil
	}
	first := int(t.first[op]) - 1
	end := first + 1
	for end < len(t.rows) && t.rows[end].op == op {
		end++
	}
	return t.rows[first:end]
}

// find returns the row of a CDB. A nil row comes with the reason.
func (t *commandSet) find(u *Unit, cdb []byte) (*command, Sense) {
	if len(cdb) == 0 {
		return nil, illegalRequest(ASCInvalidOpcode)
	}
	rows := t.of(Opcode(cdb[0]))
	known := false
	for i := range rows {
		r := &rows[i]
		if len(cdb) < len(r.usage) || !r.has(u) {
			continue
		}
		if r.action == noAction || r.action == int8(cdb[1]&actionMask) {
			return r, Sense{}
		}
		known = true
	}
	if known {
		return nil, invalidField(1, 4)
	}
	return nil, illegalRequest(ASCInvalidOpcode)
}

func (r *command) has(u *Unit) bool { return r.when == nil || r.when(u) }

// check refuses a CDB with a bit set that the command does not look at.
func (r *command) check(cdb []byte) Sense {
	for i := 1; i < len(r.usage); i++ {
		usage := r.usage[i]
		if i == 1 && r.action != noAction {
			usage |= actionMask
		}
		if bad := cdb[i] &^ usage; bad != 0 {
			return unsupportedBits(i, bad, usage)
		}
	}
	return Sense{}
}

// CommandName returns the name of the command in a CDB, for traces.
func CommandName(cdb []byte) string {
	if len(cdb) == 0 {
		return "empty CDB"
	}
	op := Opcode(cdb[0])
	for _, r := range anyRows(op) {
		if r.action == noAction || len(cdb) > 1 && r.action == int8(cdb[1]&actionMask) {
			return r.name
		}
	}
	return op.String()
}

// anyRows are the rows of an operation code, whatever kind of device has it. None
// has a code for another command than the others have it for.
func anyRows(op Opcode) []command {
	if rows := blockCommands().of(op); rows != nil {
		return rows
	}
	return cdCommands().of(op)
}

// String returns the name of o. One that needs a service action to be named, or
// is not known, is given in hexadecimal.
func (o Opcode) String() string {
	if rows := anyRows(o); len(rows) > 0 && rows[0].action == noAction {
		return rows[0].name
	}
	for _, n := range otherNames {
		if n.op == o {
			return n.name
		}
	}
	return fmt.Sprintf("opcode %#02x", uint8(o))
}

// extent is a run of logical blocks, with the CDB bytes that it was decoded
// from. Both are zero if it does not come from a CDB.
type extent struct {
	lba             uint64
	blocks          uint32
	lbaAt, blocksAt uint8
}

// cdbExtent decodes the logical block address and the transfer length that CDBs
// of the same group (SPC-4) have in common.
func cdbExtent(cdb []byte) extent {
	be := binary.BigEndian
	switch cdb[0] >> 5 {
	case 0: // 6 bytes; a length of 0 means 256
		blocks := uint32(cdb[4])
		if blocks == 0 {
			blocks = 256
		}
		return extent{uint64(be.Uint32(cdb) & 0x1FFFFF), blocks, 1, 4}
	case 4: // 16 bytes
		return extent{be.Uint64(cdb[2:]), be.Uint32(cdb[10:]), 2, 10}
	case 5: // 12 bytes
		return extent{uint64(be.Uint32(cdb[2:])), be.Uint32(cdb[6:]), 2, 6}
	default: // 10 bytes
		return extent{uint64(be.Uint32(cdb[2:])), uint32(be.Uint16(cdb[7:])), 2, 7}
	}
}

// extentOf is cdbExtent for CDBs of any kind: it reports false for a command
// that has no address and length.
func extentOf(cdb []byte) (extent, bool) {
	if len(cdb) == 0 {
		return extent{}, false
	}
	rows := blockCommands().of(Opcode(cdb[0]))
	if len(rows) == 0 || rows[0].needs&addressed == 0 || len(cdb) < len(rows[0].usage) {
		return extent{}, false
	}
	return cdbExtent(cdb), true
}
