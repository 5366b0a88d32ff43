package scsi

import (
	"encoding/binary"
	"fmt"
)

// ATA makes a unit show itself as a SATA drive behind a SCSI/ATA translation
// layer (SAT-3): ATA PASS-THROUGH, VPD page 89h, and ATA commands under them
// (ACS-2). The drive's rotation rate, name and health are the unit's.
type ATA struct {
	Model    string // at most 40 characters
	Serial   string // at most 20
	Firmware string // at most 8
	// Life is what the drive counted before the unit was made.
	Life Life
}

// Life is what a drive counts from its first day on.
type Life struct {
	BytesRead, BytesWritten uint64
	PowerCycles             uint32
}

func (a *ATA) check() error {
	for _, f := range []struct {
		name, value string
		max         int
	}{{"ATA model", a.Model, 40}, {"ATA serial", a.Serial, 20}, {"ATA firmware", a.Firmware, 8}} {
		if len(f.value) > f.max {
			return fmt.Errorf("%s %q: must be at most %d characters", f.name, f.value, f.max)
		}
	}
	return nil
}

// isATA says if the unit is a SATA drive.
func isATA(u *Unit) bool { return u.config.ATA != nil }

// taskFile is the registers of an ATA command, and of its outcome. Fields of 48
// bits have their former contents in the high half.
type taskFile struct {
	command, device byte
	feature, count  uint16
	lba             uint64
	extended        bool // 48-bit
	protocol        byte

	status, error byte // of the outcome
}

// ATA protocols (SAT-3).
const (
	ataNonData = 3
	ataPIOIn   = 4
	ataPIOOut  = 5
	ataDMA     = 6
	ataUDMAIn  = 10
	ataUDMAOut = 11
)

// Status and error registers (ACS-2).
const (
	ataReady   = 0x50 // DRDY, and DSC as ever
	ataError   = 0x01
	ataAborted = 0x04
	ataNoID    = 0x10 // IDNF
	ataUNC     = 0x40
)

// ataDirection is what a command moves.
type ataDirection uint8

const (
	ataNothing ataDirection = iota
	ataFromDrive
	ataToDrive
)

// ataCommand is a row of the table of ATA commands.
type ataCommand struct {
	code     byte
	extended bool // has 48-bit registers
	dma      bool // or PIO
	moves    ataDirection
	needs    needs
	run      func(*Unit, *Command, *taskFile) Sense
}

// ataCommands are the commands of the drive. SMART's are of either direction:
// its row says none, and its features say.
var ataCommands = [...]ataCommand{
	{0x06, true, true, ataToDrive, writable, ataTrim},        // DATA SET MANAGEMENT
	{0x20, false, false, ataFromDrive, 0, ataRead},           // READ SECTOR(S)
	{0x24, true, false, ataFromDrive, 0, ataRead},            // READ SECTOR(S) EXT
	{0x25, true, true, ataFromDrive, 0, ataRead},             // READ DMA EXT
	{0x2F, true, false, ataFromDrive, 0, ataReadLog},         // READ LOG EXT
	{0x30, false, false, ataToDrive, writable, ataWrite},     // WRITE SECTOR(S)
	{0x34, true, false, ataToDrive, writable, ataWrite},      // WRITE SECTOR(S) EXT
	{0x35, true, true, ataToDrive, writable, ataWrite},       // WRITE DMA EXT
	{0x3D, true, true, ataToDrive, writable, ataWriteFUA},    // WRITE DMA FUA EXT
	{0x40, false, false, ataNothing, 0, ataVerify},           // READ VERIFY SECTOR(S)
	{0x42, true, false, ataNothing, 0, ataVerify},            // READ VERIFY SECTOR(S) EXT
	{0x47, true, true, ataFromDrive, 0, ataReadLog},          // READ LOG DMA EXT
	{0xB0, false, false, ataNothing, noAttention, ataSMART},  // SMART
	{0xC8, false, true, ataFromDrive, 0, ataRead},            // READ DMA
	{0xCA, false, true, ataToDrive, writable, ataWrite},      // WRITE DMA
	{0xE0, false, false, ataNothing, 0, ataStandby},          // STANDBY IMMEDIATE
	{0xE1, false, false, ataNothing, 0, ataIdle},             // IDLE IMMEDIATE
	{0xE5, false, false, ataNothing, 0, ataCheckPower},       // CHECK POWER MODE
	{0xE7, false, false, ataNothing, 0, ataFlush},            // FLUSH CACHE
	{0xEA, true, false, ataNothing, 0, ataFlush},             // FLUSH CACHE EXT
	{0xEC, false, false, ataFromDrive, noAttention, ataWhat}, // IDENTIFY DEVICE
	{0xEF, false, false, ataNothing, 0, ataSetFeatures},      // SET FEATURES
}

// passThrough is a decoded ATA PASS-THROUGH.
type passThrough struct {
	taskFile
	check bool  // CK_COND: the registers are wanted even if all went well
	bytes int64 // to be moved, 0 for none
	moves ataDirection
}

// ataPassThrough is ATA PASS-THROUGH(12) and (16) (SAT-3).
func ataPassThrough(u *Unit, c *Command) Sense {
	p, s := u.decodePassThrough(c.CDB)
	if !s.OK() {
		return s
	}
	p.status = ataReady
	s = u.ataExecute(c, &p)
	if s.Key == KeyIllegalRequest || s.Key == KeyUnitAttention || s.Key == KeyNotReady {
		return s // it did not come as far as the drive
	}
	if s.OK() && !p.check {
		return s
	}
	// Descriptor format, whatever D_SENSE says: the fixed one has no place for
	// the registers.
	if s.OK() {
		s = Sense{Key: KeyRecoveredError, Code: ASCATAInformation}
	}
	n := c.Transferred
	c.Status = StatusCheckCondition
	c.Sense = p.appendReturn(s.appendDescriptor(c.sense[:0]))
	c.Transferred = n
	return Sense{}
}

// ATAReadOnly reports whether a CDB is an ATA PASS-THROUGH that asks the drive
// about itself and changes nothing on it.
func ATAReadOnly(cdb []byte) bool {
	var command byte
	switch {
	case len(cdb) >= 15 && Opcode(cdb[0]) == OpATAPassThrough16:
		command = cdb[14]
	case len(cdb) >= 10 && Opcode(cdb[0]) == OpATAPassThrough12:
		command = cdb[9]
	}
	return ataReadOnly(command)
}

// ataReadOnly is ATAReadOnly of a command: logs, SMART, power mode, flushes,
// identity.
func ataReadOnly(command byte) bool {
	switch command {
	case 0x2F, 0x47, ataSMARTCommand, 0xE5, 0xE7, 0xEA, 0xEC:
		return true
	}
	return false
}

// decodePassThrough reads the registers from a CDB.
func (u *Unit) decodePassThrough(cdb []byte) (p passThrough, s Sense) {
	p.protocol = cdb[1] >> 1 & 0x0F
	p.extended = cdb[1]&0x01 != 0
	flags := cdb[2]
	if cdb[0] == byte(OpATAPassThrough12) {
		p.extended = false
		p.feature, p.count = uint16(cdb[3]), uint16(cdb[4])
		p.lba = uint64(cdb[5]) | uint64(cdb[6])<<8 | uint64(cdb[7])<<16
		p.device, p.command = cdb[8], cdb[9]
	} else {
		be := binary.BigEndian
		p.feature, p.count = be.Uint16(cdb[3:]), be.Uint16(cdb[5:])
		p.lba = uint64(cdb[8]) | uint64(cdb[10])<<8 | uint64(cdb[12])<<16 |
			uint64(cdb[7])<<24 | uint64(cdb[9])<<32 | uint64(cdb[11])<<40
		p.device, p.command = cdb[13], cdb[14]
	}
	if !p.extended {
		p.feature, p.count, p.lba = p.feature&0xFF, p.count&0xFF, p.lba&0xFFFFFF
	}
	const checkCondition, toInitiator, blocks, blockType = 0x20, 0x08, 0x04, 0x10
	p.check = flags&checkCondition != 0
	if flags>>6 != 0 && p.protocol != ataNonData { // OFF_LINE
		return p, invalidField(2, 7)
	}
	switch p.protocol {
	case ataNonData:
		if flags&0x03 != 0 {
			return p, invalidField(2, 1)
		}
		return p, Sense{}
	case ataPIOIn, ataPIOOut, ataDMA, ataUDMAIn, ataUDMAOut:
	default:
		return p, invalidField(1, 4)
	}
	units := int64(0)
	switch flags & 0x03 { // T_LENGTH
	case 0:
		return p, Sense{}
	case 1:
		units = int64(p.feature)
	case 2:
		units = int64(p.count)
		if units == 0 {
			units = 256
			if p.extended {
				units = 65536
			}
		}
	default: // the transport's own
		return p, invalidField(2, 1)
	}
	p.bytes = units
	if flags&blocks != 0 {
		p.bytes = units * 512
		if flags&blockType != 0 {
			p.bytes = units * int64(u.config.BlockSize)
		}
	}
	p.moves = ataToDrive
	if flags&toInitiator != 0 {
		p.moves = ataFromDrive
	}
	return p, Sense{}
}

// ataExecute finds the command and runs it.
func (u *Unit) ataExecute(c *Command, p *passThrough) Sense {
	for i := range ataCommands {
		x := &ataCommands[i]
		if x.code != p.command {
			continue
		}
		moves := x.moves
		if x.code == ataSMARTCommand {
			moves = smartMoves(p.feature)
		}
		if moves != p.moves && !(moves == ataNothing && p.bytes == 0) || p.extended && !x.extended {
			break
		}
		if p.protocol == ataNonData && moves != ataNothing {
			break
		}
		if s := u.admit(x.needs); !s.OK() {
			return s
		}
		return x.run(u, c, &p.taskFile)
	}
	return p.abort()
}

// abort ends an ATA command that the drive does not do.
func (t *taskFile) abort() Sense { return t.fail(ataAborted) }

func (t *taskFile) fail(why byte) Sense {
	t.status, t.error = ataReady|ataError, why
	return Sense{Key: KeyAbortedCommand, Code: ASCNoAdditionalSense}
}

// appendReturn appends the ATA Status Return descriptor (SAT-3).
func (t *taskFile) appendReturn(b []byte) []byte {
	extend := byte(0)
	if t.extended {
		extend = 1
	}
	b = append(b, 0x09, 12, extend, t.error,
		byte(t.count>>8), byte(t.count),
		byte(t.lba>>24), byte(t.lba), byte(t.lba>>32), byte(t.lba>>8), byte(t.lba>>40), byte(t.lba>>16),
		t.device, t.status)
	b[7] = byte(len(b) - 8)
	return b
}

// ataReply moves data of the drive to the initiator.
func (u *Unit) ataReply(c *Command, p []byte) Sense { return c.reply(p, uint32(len(p))) }
