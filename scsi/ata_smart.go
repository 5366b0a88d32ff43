package scsi

import (
	"encoding/binary"
	"math"
)

const ataSMARTCommand = 0xB0

// Features of SMART (ACS-2).
const (
	smartReadData       = 0xD0
	smartReadThresholds = 0xD1
	smartAutosave       = 0xD2
	smartOffline        = 0xD4
	smartReadLog        = 0xD5
	smartEnable         = 0xD8
	smartDisable        = 0xD9
	smartReturnStatus   = 0xDA
)

// smartMoves is what a feature of SMART moves.
func smartMoves(feature uint16) ataDirection {
	switch feature {
	case smartReadData, smartReadThresholds, smartReadLog:
		return ataFromDrive
	}
	return ataNothing
}

// ataSMART is SMART. It cannot be disabled.
func ataSMART(u *Unit, c *Command, t *taskFile) Sense {
	const key = 0xC24F00 // in LBA bits 23:8
	if t.lba&0xFFFF00 != key {
		return t.abort()
	}
	switch t.feature {
	case smartReadData:
		b := u.smartData()
		return u.ataReply(c, b[:])
	case smartReadThresholds:
		b := u.smartThresholds()
		return u.ataReply(c, b[:])
	case smartReadLog:
		return u.ataReply2(c, t, u.smartLog(byte(t.lba), int(t.count)))
	case smartOffline:
		return u.smartSelfTest(c, t)
	case smartAutosave, smartEnable, smartReturnStatus:
		// The status is that of a drive that expects no failure: its registers
		// keep the key.
		return Sense{}
	}
	return t.abort()
}

// ataReply2 is ataReply of a log, or an abort if there is none.
func (u *Unit) ataReply2(c *Command, t *taskFile, log []byte) Sense {
	if log == nil {
		return t.abort()
	}
	return u.ataReply(c, log)
}

// smartAttribute is a row of the table of attributes. All are at their best but
// where something failed.
type smartAttribute struct {
	id        byte
	flags     uint16
	threshold byte
	rotating  bool // on disks that rotate only
	raw       func(*Unit) uint64
	value     func(*Unit) byte // nil: 100
}

// Attributes by the numbers that drives commonly have.
var smartAttributes = [...]smartAttribute{
	{1, 0x000F, 6, false, func(u *Unit) uint64 { return u.counters.Totals().MediumErrors }, nil},    // raw read error rate
	{3, 0x0003, 0, true, func(*Unit) uint64 { return 0 }, nil},                                      // spin-up time
	{4, 0x0032, 0, true, func(u *Unit) uint64 { return uint64(u.counters.starts.Load()) + 1 }, nil}, // starts and stops
	{5, 0x0033, 10, false, func(*Unit) uint64 { return 0 }, nil},                                    // reallocated sectors
	{9, 0x0032, 0, false, func(u *Unit) uint64 { return uint64(u.config.Health.minutes() / 60) }, nil},
	{12, 0x0032, 0, false, func(u *Unit) uint64 { return uint64(u.config.ATA.Life.PowerCycles) }, nil},
	{187, 0x0032, 0, false, func(u *Unit) uint64 { return u.counters.Totals().MediumErrors }, nil}, // reported uncorrectable
	{194, 0x0022, 0, false, func(u *Unit) uint64 { return uint64(u.config.Health.temperature()) }, // temperature
		func(u *Unit) byte { return 100 - min(u.config.Health.temperature(), 99) }},
	{197, 0x0012, 0, false, func(*Unit) uint64 { return 0 }, nil}, // pending sectors
	{198, 0x0010, 0, false, func(*Unit) uint64 { return 0 }, nil}, // offline uncorrectable
	{199, 0x003E, 0, false, func(*Unit) uint64 { return 0 }, nil}, // CRC errors of the link
	{241, 0x0032, 0, false, func(u *Unit) uint64 { return u.lifeWritten() / 512 }, nil},
	{242, 0x0032, 0, false, func(u *Unit) uint64 { return u.lifeRead() / 512 }, nil},
}

// lifeRead and lifeWritten are bytes in the drive's life.
func (u *Unit) lifeRead() uint64 {
	return u.config.ATA.Life.BytesRead + u.counters.Totals().BytesRead
}

func (u *Unit) lifeWritten() uint64 {
	return u.config.ATA.Life.BytesWritten + u.counters.Totals().BytesWritten
}

// attributes calls visit for the attributes of the drive.
func (u *Unit) attributes(visit func(i int, a *smartAttribute)) {
	const solidState = 1
	n := 0
	for i := range smartAttributes {
		a := &smartAttributes[i]
		if a.rotating && u.config.RotationRate == solidState {
			continue
		}
		visit(n, a)
		n++
	}
}

// smartData is the data of SMART READ DATA.
func (u *Unit) smartData() (b [512]byte) {
	le := binary.LittleEndian
	le.PutUint16(b[0:], 16)
	u.attributes(func(i int, a *smartAttribute) {
		e := b[2+12*i:]
		value := byte(100)
		if a.value != nil {
			value = a.value(u)
		}
		e[0], e[3], e[4] = a.id, value, value
		le.PutUint16(e[1:], a.flags)
		raw := a.raw(u)
		for k := range 6 {
			e[5+k] = byte(raw >> (8 * k))
		}
	})
	b[362] = 0x00                      // no offline collection has begun
	b[363] = u.selfTests.ataStatus()   // of the last self-test, or how far it is
	b[367] = 0x10 | 0x01               // self-tests, at once
	le.PutUint16(b[368:], 0x0003)      // attributes are saved
	b[370] = 0x01                      // there is an error log
	b[372] = 1                         // minutes of a short self-test
	b[373] = byte(u.selfTestMinutes()) // and of an extended one
	if b[373] == math.MaxUint8 {
		le.PutUint16(b[375:], u.selfTestMinutes())
	}
	b[511] = checksum(b[:511])
	return b
}

// smartThresholds is the data of SMART READ THRESHOLDS.
func (u *Unit) smartThresholds() (b [512]byte) {
	binary.LittleEndian.PutUint16(b[0:], 16)
	u.attributes(func(i int, a *smartAttribute) { b[2+12*i], b[3+12*i] = a.id, a.threshold })
	b[511] = checksum(b[:511])
	return b
}

// smartSelfTest is SMART EXECUTE OFF-LINE IMMEDIATE.
func (u *Unit) smartSelfTest(c *Command, t *taskFile) Sense {
	const (
		short, extended = 0x01, 0x02
		abort           = 0x7F
		captive         = 0x80
	)
	switch byte(t.lba) {
	case short:
		u.backgroundSelfTest(selfTestBackground)
	case extended:
		u.backgroundSelfTest(selfTestBackgroundExtended)
	case abort:
		u.abortSelfTest()
	case captive | short:
		return t.captive(u.foregroundSelfTest(c, selfTestForeground))
	case captive | extended:
		return t.captive(u.foregroundSelfTest(c, selfTestForegroundExtended))
	default:
		return t.abort()
	}
	return Sense{}
}

// captive is the outcome of a self-test that the initiator waits for.
func (t *taskFile) captive(s Sense) Sense {
	if s.OK() {
		return s
	}
	t.lba = 0x2CF400 | t.lba&0xFF
	return t.fail(ataAborted)
}
