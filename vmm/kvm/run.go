package kvm

import (
	"encoding/binary"
	"fmt"
)

// Exit says why a vCPU came back from the guest.
type Exit uint32

// Values of the kernel's KVM_EXIT_* constants that an x86 machine can see.
const (
	ExitUnknown       Exit = 0
	ExitException     Exit = 1
	ExitIO            Exit = 2
	ExitHypercall     Exit = 3
	ExitDebug         Exit = 4
	ExitHLT           Exit = 5 // only without the in-kernel local APIC
	ExitMMIO          Exit = 6
	ExitIRQWindow     Exit = 7
	ExitShutdown      Exit = 8 // triple fault
	ExitFailEntry     Exit = 9
	ExitInterrupted   Exit = 10
	ExitInternalError Exit = 17
	ExitSystemEvent   Exit = 24
	NumExits               = 40 // above every known value
)

var exitNames = [...]string{
	ExitUnknown:       "unknown",
	ExitException:     "exception",
	ExitIO:            "io",
	ExitHypercall:     "hypercall",
	ExitDebug:         "debug",
	ExitHLT:           "hlt",
	ExitMMIO:          "mmio",
	ExitIRQWindow:     "irq-window",
	ExitShutdown:      "shutdown",
	ExitFailEntry:     "fail-entry",
	ExitInterrupted:   "interrupted",
	ExitInternalError: "internal-error",
	ExitSystemEvent:   "system-event",
}

// String returns the exit's name in lower case, or its number.
func (e Exit) String() string {
	if int(e) < len(exitNames) && exitNames[e] != "" {
		return exitNames[e]
	}
	return fmt.Sprintf("exit-%d", uint32(e))
}

// Offsets into the kernel's struct kvm_run. What lies behind offUnion depends on
// the exit.
const (
	offImmediateExit = 0 // 32-bit word whose second byte is immediate_exit
	offExitReason    = 8
	offUnion         = 32

	offIODirection = offUnion
	offIOSize      = offUnion + 1
	offIOPort      = offUnion + 2
	offIOCount     = offUnion + 4
	offIOData      = offUnion + 8

	offMMIOAddr  = offUnion
	offMMIOData  = offUnion + 8
	offMMIOLen   = offUnion + 16
	offMMIOWrite = offUnion + 20

	offFailReason = offUnion

	offSuberror  = offUnion
	offNData     = offUnion + 4
	offErrorData = offUnion + 8
	offInsnSize  = offUnion + 16
	offInsnBytes = offUnion + 17
	maxInsnBytes = 15

	offSystemEvent = offUnion

	minRunSize = pageSize
)

const immediateExit = 1 << 8

// IO is a port access by the guest.
type IO struct {
	Port uint16
	Size int    // bytes of one access: 1, 2 or 4
	Out  bool   // the guest writes
	Data []byte // Size bytes for each access of a string instruction; usually one
}

// IO describes an [ExitIO]. Data is shared with the kernel: for a read the
// caller fills it before it runs the vCPU again.
func (v *VCPU) IO() IO {
	r := v.run
	size := int(r[offIOSize])
	n := size * int(binary.LittleEndian.Uint32(r[offIOCount:]))
	off := int(binary.LittleEndian.Uint64(r[offIOData:]))
	return IO{
		Port: binary.LittleEndian.Uint16(r[offIOPort:]),
		Size: size,
		Out:  r[offIODirection] == 1,
		Data: r[off : off+n : off+n],
	}
}

// MMIO is a guest's access to an address without memory behind it.
type MMIO struct {
	Addr  uint64
	Write bool
	Data  []byte // 1 to 8 bytes, little-endian
}

// MMIO describes an [ExitMMIO]. Data is shared with the kernel: for a read the
// caller fills it before it runs the vCPU again.
func (v *VCPU) MMIO() MMIO {
	r := v.run
	n := min(int(binary.LittleEndian.Uint32(r[offMMIOLen:])), 8)
	return MMIO{
		Addr:  binary.LittleEndian.Uint64(r[offMMIOAddr:]),
		Write: r[offMMIOWrite] != 0,
		Data:  r[offMMIOData : offMMIOData+n : offMMIOData+n],
	}
}

// SystemEvent is what an [ExitSystemEvent] reports.
type SystemEvent uint32

// Values of the kernel's KVM_SYSTEM_EVENT_* constants.
const (
	SystemShutdown SystemEvent = 1
	SystemReset    SystemEvent = 2
	SystemCrash    SystemEvent = 3
)

// SystemEvent describes an [ExitSystemEvent].
func (v *VCPU) SystemEvent() SystemEvent {
	return SystemEvent(binary.LittleEndian.Uint32(v.run[offSystemEvent:]))
}

// FailEntryReason is the processor's own code behind an [ExitFailEntry].
func (v *VCPU) FailEntryReason() uint64 {
	return binary.LittleEndian.Uint64(v.run[offFailReason:])
}

// InternalError is KVM giving up on a guest.
type InternalError struct {
	Suberror uint32
	Insn     []byte // bytes at the instruction pointer, where KVM tells them
}

// EmulationFailed is the suberror of an instruction that KVM can't emulate.
const EmulationFailed = 1

// InternalError describes an [ExitInternalError].
func (v *VCPU) InternalError() InternalError {
	const insnValid = 1
	r := v.run
	e := InternalError{Suberror: binary.LittleEndian.Uint32(r[offSuberror:])}
	// For a failed emulation the first data word is a set of flags, and the
	// instruction bytes follow in the next two.
	if e.Suberror == EmulationFailed && binary.LittleEndian.Uint32(r[offNData:]) >= 3 && r[offErrorData]&insnValid != 0 {
		n := min(int(r[offInsnSize]), maxInsnBytes)
		e.Insn = append([]byte(nil), r[offInsnBytes:offInsnBytes+n]...)
	}
	return e
}

// Reason says in words what KVM could not do.
func (e InternalError) Reason() string {
	switch e.Suberror {
	case EmulationFailed:
		return "can't emulate an instruction"
	case 2:
		return "met simultaneous exceptions"
	case 3:
		return "failed to deliver an event"
	case 4:
		return "met an unexpected processor exit"
	}
	return fmt.Sprintf("failed with suberror %d", e.Suberror)
}
