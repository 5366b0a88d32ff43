package scsi

import (
	"sync"
	"sync/atomic"
)

// cdBlockSize is the logical block length of a CD-ROM in bytes.
const cdBlockSize = 2048

// Operation codes of MMC-5 that other devices do not have, or have for something
// else.
const (
	opReadTOC          Opcode = 0x43
	opGetConfiguration Opcode = 0x46
	opGetEventStatus   Opcode = 0x4A
	opReadDiscInfo     Opcode = 0x51
	opSetCDSpeed       Opcode = 0xBB
	opMechanismStatus  Opcode = 0xBD
	codeMediumChanged  ASC    = 0x2800 // NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED
	codeRemovalDenied  ASC    = 0x5302 // MEDIUM REMOVAL PREVENTED
	codeTrayOpen       ASC    = 0x3A02 // MEDIUM NOT PRESENT - TRAY OPEN
	startStopLoadBit          = 0x02   // LOEJ of START STOP UNIT
	startStopStartBit         = 0x01
)

// cdCommands are the commands of a CD-ROM drive with a pressed disc of one data
// track (MMC-5). Reading goes by the same handlers as on other devices.
var cdCommands = sync.OnceValue(func() *commandSet {
	return newCommandSet([]command{
		{OpTestUnitReady, noAction, "TEST UNIT READY", started,
			[]byte{0x00, 0, 0, 0, 0, 0}, nil, loaded(testUnitReady)},
		{OpRequestSense, noAction, "REQUEST SENSE", anyLUN | noAttention,
			[]byte{0x03, 0x01, 0, 0, 0xFF, 0}, nil, requestSense},
		{OpInquiry, noAction, "INQUIRY", anyLUN | noAttention,
			[]byte{0x12, 0x01, 0xFF, 0xFF, 0xFF, 0}, nil, inquiry},
		{OpModeSense6, noAction, "MODE SENSE(6)", 0,
			[]byte{0x1A, 0x08, 0xFF, 0xFF, 0xFF, 0}, nil, cdModeSense6},
		{OpStartStopUnit, noAction, "START STOP UNIT", 0,
			[]byte{0x1B, 0x01, 0, 0, 0xF3, 0}, nil, cdStartStop},
		{OpPreventAllow, noAction, "PREVENT ALLOW MEDIUM REMOVAL", 0,
			[]byte{0x1E, 0, 0, 0, 0x03, 0}, nil, cdPreventAllow},
		{OpReadCapacity10, noAction, "READ CAPACITY(10)", started,
			[]byte{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, nil, loaded(readCapacity10)},
		{OpRead10, noAction, "READ(10)", addressed | started,
			[]byte{0x28, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0}, nil, loaded(read)},
		{opReadTOC, noAction, "READ TOC", started,
			[]byte{0x43, 0x02, 0x0F, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xC0}, nil, loaded(readTOC)},
		{opGetConfiguration, noAction, "GET CONFIGURATION", noAttention,
			[]byte{0x46, 0x03, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0}, nil, getConfiguration},
		{opGetEventStatus, noAction, "GET EVENT STATUS NOTIFICATION", noAttention,
			[]byte{0x4A, 0x01, 0, 0, 0xFF, 0, 0, 0xFF, 0xFF, 0}, nil, getEventStatus},
		{opReadDiscInfo, noAction, "READ DISC INFORMATION", started,
			[]byte{0x51, 0x07, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0}, nil, loaded(readDiscInformation)},
		{OpModeSense10, noAction, "MODE SENSE(10)", 0,
			[]byte{0x5A, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0}, nil, cdModeSense10},
		{OpReportLUNs, noAction, "REPORT LUNS", noAttention,
			[]byte{0xA0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0}, nil, reportLUNs},
		{OpRead12, noAction, "READ(12)", addressed | started,
			[]byte{0xA8, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x80, 0}, nil, loaded(read)},
		{opSetCDSpeed, noAction, "SET CD SPEED", 0,
			[]byte{0xBB, 0x03, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0}, nil, setCDSpeed},
		{opMechanismStatus, noAction, "MECHANISM STATUS", 0,
			[]byte{0xBD, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0}, nil, mechanismStatus},
	})
})

// tray is the tray of a CD-ROM drive. The zero value is closed, with a disc that
// nobody has looked at.
type tray struct {
	open   atomic.Bool
	locked atomic.Bool
	// event is the media event that was not reported yet (MMC-5, 6.7).
	event atomic.Uint32
}

// Media events.
const (
	mediaNoChange = 0
	mediaNew      = 2
	mediaRemoved  = 3
)

// loaded is a handler of a command that needs a disc.
func loaded(run func(*Unit, *Command) Sense) func(*Unit, *Command) Sense {
	return func(u *Unit, c *Command) Sense {
		if s := u.tray.check(); !s.OK() {
			return s
		}
		return run(u, c)
	}
}

// close is what a reset does.
func (t *tray) close() {
	t.open.Store(false)
	t.locked.Store(false)
	t.event.Store(mediaNoChange)
}

// check reports a tray that is open.
func (t *tray) check() Sense {
	if t.open.Load() {
		return Sense{Key: KeyNotReady, Code: codeTrayOpen}
	}
	return Sense{}
}

// cdStartStop is START STOP UNIT (MMC-5): it moves the tray, and otherwise a disc
// that has no inertia. Power conditions change nothing.
func cdStartStop(u *Unit, c *Command) Sense {
	flags := c.CDB[4]
	if flags&0xF0 != 0 || flags&startStopLoadBit == 0 {
		return Sense{}
	}
	t := &u.tray
	if flags&startStopStartBit != 0 {
		if t.open.CompareAndSwap(true, false) {
			t.event.Store(mediaNew)
			u.attention.raise(codeMediumChanged)
		}
		return Sense{}
	}
	if t.locked.Load() {
		return illegalRequest(codeRemovalDenied)
	}
	if t.open.CompareAndSwap(false, true) {
		t.event.Store(mediaRemoved)
	}
	return Sense{}
}

// cdPreventAllow is PREVENT ALLOW MEDIUM REMOVAL (MMC-5).
func cdPreventAllow(u *Unit, c *Command) Sense {
	u.tray.locked.Store(c.CDB[4]&0x01 != 0)
	return Sense{}
}

// setCDSpeed is SET CD SPEED (MMC-5): a wish that changes nothing.
func setCDSpeed(*Unit, *Command) Sense { return Sense{} }
