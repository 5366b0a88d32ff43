package kvm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"github.com/govmm/govmm/internal/waitcall"
	"golang.org/x/sys/unix"
)

// Register files with the kernel's layout.
type (
	Regs       = gokvm.Regs       // struct kvm_regs
	Sregs      = gokvm.Sregs      // struct kvm_sregs
	Segment    = gokvm.Segment    // struct kvm_segment
	Descriptor = gokvm.Descriptor // struct kvm_dtable
)

// LAPIC is a local APIC's register page: the register at offset n of the
// processor manual is the little-endian word at n.
type LAPIC = gokvm.LAPICState

// MSR is a model-specific register and its value.
type MSR struct {
	Index uint32
	Value uint64
}

// VCPU is a virtual processor.
type VCPU struct {
	id  int
	fd  int
	run []byte // the kernel's struct kvm_run and the pages behind it

	pace pace // of the goroutine that runs the vCPU

	stats     int // descriptor of its statistics, -1 if there are none
	xsaveSize int // of the processor's extended state, 0 where the kernel does not say
	// Arguments of the calls of the same names: gokvm wants them on the heap.
	regs        Regs
	sregs       Sregs
	lapic       LAPIC
	mpState     gokvm.MPState
	translation gokvm.Translation
	xcrs        gokvm.XCRS

	mu     sync.Mutex
	tid    int  // thread that runs the vCPU, 0 if none; guarded by mu
	closed bool // guarded by mu
}

func newVCPU(id, fd int, run []byte, xsaveSize int) *VCPU {
	v := &VCPU{id: id, fd: fd, run: run, xsaveSize: xsaveSize, stats: -1}
	if stats, err := getStats(fd); err == nil { // now, as later it would have to leave the guest
		v.stats = stats
	}
	return v
}

// ID is the id of the vCPU's local APIC.
func (v *VCPU) ID() int { return v.id }

// Enter ties the calling goroutine to its thread and makes that thread the one
// that Kick interrupts. Each Enter is paired with a Leave.
func (v *VCPU) Enter() {
	runtime.LockOSThread()
	v.mu.Lock()
	v.tid = unix.Gettid()
	v.mu.Unlock()
}

// Leave ends what Enter began.
func (v *VCPU) Leave() {
	v.mu.Lock()
	v.tid = 0
	v.mu.Unlock()
	runtime.UnlockOSThread()
}

// Run enters the guest until something needs the caller's attention. It returns
// [ErrInterrupted] after a signal or a Kick, and [ErrNotReady] where a secondary
// processor only changed its state; the exit information is void then. An access
// that the previous exit asked for is completed first, even if Run is
// interrupted at once.
//
// Preconditions: called between Enter and Leave.
func (v *VCPU) Run() (Exit, error) {
	errno := v.enter()
	switch errno {
	case 0:
		v.pace.left()
		return Exit(word(v.run, offExitReason).Load()), nil
	case unix.EINTR:
		v.pace.interrupted()
		return ExitInterrupted, ErrInterrupted
	case unix.EAGAIN:
		return ExitInterrupted, ErrNotReady
	}
	return ExitUnknown, fmt.Errorf("KVM_RUN on vCPU %d: %w", v.id, errno)
}

// enter makes the call.
func (v *VCPU) enter() (errno unix.Errno) {
	const run = 0xae80 // KVM_RUN: _IO(0xae, 0x80)
	if v.pace.hurried {
		_, _, errno = unix.RawSyscall(unix.SYS_IOCTL, uintptr(v.fd), run, 0)
	} else {
		_, errno = waitcall.Syscall6(unix.SYS_IOCTL, uintptr(v.fd), run, 0, 0, 0, 0)
	}
	return errno
}

// Kick makes the current Run, or the next one if there is none, return
// [ErrInterrupted]. It stays in force until ClearKick.
func (v *VCPU) Kick() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	// The word is set first: a thread that is about to enter the guest sees it,
	// one that is inside gets the signal.
	word(v.run, offImmediateExit).Store(immediateExit)
	if v.tid != 0 {
		// SIGURG is the Go runtime's own preemption signal: its handler is always
		// there, and takes a signal that it did not send itself for a no-op. The
		// thread exists for as long as tid is set, so there is nothing to fail.
		_ = unix.Tgkill(os.Getpid(), v.tid, unix.SIGURG)
	}
}

// ClearKick takes back Kick. Only the goroutine that runs the vCPU may call it,
// and it must then look again at whatever it is told by Kick.
func (v *VCPU) ClearKick() { word(v.run, offImmediateExit).Store(0) }

// Regs reads the general registers.
func (v *VCPU) Regs() (Regs, error) {
	r, err := gokvm.GetRegs(uintptr(v.fd))
	return *r, callError("KVM_GET_REGS", err)
}

// SetRegs writes the general registers.
func (v *VCPU) SetRegs(r Regs) error {
	v.regs = r
	return callError("KVM_SET_REGS", gokvm.SetRegs(uintptr(v.fd), &v.regs))
}

// Sregs reads the segment, descriptor table and control registers.
func (v *VCPU) Sregs() (Sregs, error) {
	r, err := gokvm.GetSregs(uintptr(v.fd))
	return *r, callError("KVM_GET_SREGS", err)
}

// SetSregs writes the segment, descriptor table and control registers.
func (v *VCPU) SetSregs(r Sregs) error {
	v.sregs = r
	return callError("KVM_SET_SREGS", gokvm.SetSregs(uintptr(v.fd), &v.sregs))
}

// Translate finds the guest-physical address of a linear address by the vCPU's
// page tables; ok is false if they do not map it.
func (v *VCPU) Translate(linear uint64) (physical uint64, ok bool) {
	v.translation = gokvm.Translation{LinearAddress: linear}
	err := gokvm.Translate(uintptr(v.fd), &v.translation)
	return v.translation.PhysicalAddress, err == nil && v.translation.Valid != 0
}

// SetFPU puts the floating point unit into the state after reset, but for the
// two control words.
func (v *VCPU) SetFPU(fcw uint16, mxcsr uint32) error {
	return callError("KVM_SET_FPU", setFPU(v.fd, fcw, mxcsr))
}

// SetXCR0 says which extended states the guest has enabled (Intel SDM volume 1,
// 13.3). They must be among those that its CPUID offers.
func (v *VCPU) SetXCR0(features uint64) error {
	v.xcrs = gokvm.XCRS{NrXRCS: 1}
	v.xcrs.Registers[0].Value = features
	return callError("KVM_SET_XCRS", gokvm.SetXCRS(uintptr(v.fd), &v.xcrs))
}

// SetMSRs writes model-specific registers, in order.
func (v *VCPU) SetMSRs(list []MSR) error {
	n, err := setMSRs(v.fd, list)
	if err != nil {
		return callError("KVM_SET_MSRS", err)
	}
	if n < len(list) {
		return fmt.Errorf("KVM_SET_MSRS: the host refuses %#x in register %#x", list[n].Value, list[n].Index)
	}
	return nil
}

// LAPIC reads the local APIC.
func (v *VCPU) LAPIC() (LAPIC, error) {
	err := gokvm.GetLocalAPIC(uintptr(v.fd), &v.lapic)
	return v.lapic, callError("KVM_GET_LAPIC", err)
}

// SetLAPIC writes the local APIC.
func (v *VCPU) SetLAPIC(l *LAPIC) error {
	v.lapic = *l
	return callError("KVM_SET_LAPIC", gokvm.SetLocalAPIC(uintptr(v.fd), &v.lapic))
}

// MPState is where a vCPU stands between power-on and running.
type MPState uint32

// Values of the kernel's KVM_MP_STATE_* constants.
const (
	MPRunnable      MPState = 0
	MPUninitialized MPState = 1 // waits for INIT
	MPInitReceived  MPState = 2 // waits for a start-up interrupt
	MPHalted        MPState = 3
)

// MPState reads the multiprocessing state.
func (v *VCPU) MPState() (MPState, error) {
	err := gokvm.GetMPState(uintptr(v.fd), &v.mpState)
	return MPState(v.mpState.State), callError("KVM_GET_MP_STATE", err)
}

// SetMPState writes the multiprocessing state.
func (v *VCPU) SetMPState(s MPState) error {
	v.mpState.State = uint32(s)
	return callError("KVM_SET_MP_STATE", gokvm.SetMPState(uintptr(v.fd), &v.mpState))
}

// SetCPUID gives the vCPU its CPUID leaves. It must come before the first Run.
func (v *VCPU) SetCPUID(entries []CPUIDEntry) error {
	list := &gokvm.CPUID{Nent: uint32(len(entries)), Entries: entries}
	return callError("KVM_SET_CPUID2", gokvm.SetCPUID2(uintptr(v.fd), list))
}

// TSCKHz is the frequency of the guest's time stamp counter in kHz, 0 if the
// host can't tell.
func (v *VCPU) TSCKHz() uint32 {
	khz, err := gokvm.GetTSCKHz(uintptr(v.fd))
	if err != nil {
		return 0
	}
	return uint32(khz)
}

// Close frees the vCPU.
//
// Preconditions: not between Enter and Leave.
func (v *VCPU) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	err := unix.Munmap(v.run)
	if e := unix.Close(v.fd); err == nil {
		err = e
	}
	if v.stats >= 0 {
		err = errors.Join(err, unix.Close(v.stats))
	}
	return err
}

// Thread is the thread between Enter and Leave, else 0.
func (v *VCPU) Thread() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tid
}
