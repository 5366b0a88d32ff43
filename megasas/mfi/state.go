package mfi

import "fmt"

// State is the firmware state, bits 31:28 of scratch pad 0, in place.
type State uint32

// Firmware states.
const (
	StateUndefined          State = 0x00000000
	StateBBInit             State = 0x10000000
	StateFWInit             State = 0x40000000
	StateWaitHandshake      State = 0x60000000 // until doorbell bit 3
	StateFWInit2            State = 0x70000000
	StateDeviceScan         State = 0x80000000
	StateBootMessagePending State = 0x90000000 // until doorbell bit 4
	StateFlushCache         State = 0xa0000000
	StateReady              State = 0xb0000000 // takes polled frames and INIT
	StateOperational        State = 0xc0000000 // has a reply queue
	StateFault              State = 0xf0000000
)

// StateMask are the bits of a firmware state word that are the state.
const StateMask State = 0xf0000000

// String returns the state's name, or its number if it has none.
func (s State) String() string {
	switch s {
	case StateUndefined:
		return "UNDEFINED"
	case StateBBInit:
		return "BB_INIT"
	case StateFWInit:
		return "FW_INIT"
	case StateWaitHandshake:
		return "WAIT_HANDSHAKE"
	case StateFWInit2:
		return "FW_INIT_2"
	case StateDeviceScan:
		return "DEVICE_SCAN"
	case StateBootMessagePending:
		return "BOOT_MESSAGE_PENDING"
	case StateFlushCache:
		return "FLUSH_CACHE"
	case StateReady:
		return "READY"
	case StateOperational:
		return "OPERATIONAL"
	case StateFault:
		return "FAULT"
	}
	return fmt.Sprintf("State(%#08x)", uint32(s))
}

// StateExtended is bit 26 of the state word. It has two meanings: while READY,
// the controller supports MSI-X; while OPERATIONAL, it takes IEEE
// scatter-gather elements. Linux samples it once in either state.
const StateExtended = 1 << 26

// Limits are what the controller advertises in its state word while READY and
// OPERATIONAL.
type Limits struct {
	MaxCommands uint16 // frames outstanding, and the longest reply queue
	MaxSGE      uint8  // scatter-gather elements in one frame
}

// Word is the state word of a READY or OPERATIONAL controller: state, limits,
// and bit 26 as given.
func (l Limits) Word(s State, extended bool) uint32 {
	w := uint32(s) | uint32(l.MaxSGE)<<16 | uint32(l.MaxCommands)
	if extended {
		w |= StateExtended
	}
	return w
}

// FaultWord is the state word of a controller in FAULT: a code of 12 bits and a
// sub-code. The low bits, which later controllers use, stay clear.
func FaultWord(code uint16, sub uint8) uint32 {
	return uint32(StateFault) | uint32(code&0xfff)<<16 | uint32(sub)<<8
}

// Inbound doorbell bits.
const (
	DoorbellAbort          = 0x01 // abort all pending commands
	DoorbellReady          = 0x02 // OPERATIONAL to READY, forget the queues
	DoorbellMFIMode        = 0x04 // discard posted frame addresses
	DoorbellClearHandshake = 0x08 // leave WAIT_HANDSHAKE
	DoorbellHotplug        = 0x10 // leave BOOT_MESSAGE_PENDING
	DoorbellStop           = 0x20 // the driver declares the adapter dead
	DoorbellReset          = 0x40 // resets the adapter; first generation
)
