package kvm

import (
	"sync/atomic"
	"unsafe"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// Every function here passes the address of a structure with the kernel's layout
// to a system call that uses it only until it returns. The conversion stands in
// the call expression, which keeps the structure alive and in place meanwhile.

const pageSize = 4096

// setIdentityMapAddr is KVM_SET_IDENTITY_MAP_ADDR: the kernel reads 8 bytes.
func setIdentityMapAddr(fd int, addr uint64) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIOW(0x48, 8), uintptr(unsafe.Pointer(&addr)))
	return errnoErr(errno)
}

// pitSpeakerDummy lets the kernel answer port 0x61 as well.
const pitSpeakerDummy = 1

// pitConfig is the kernel's struct kvm_pit_config.
type pitConfig struct {
	flags uint32
	_     [15]uint32
}

func createPIT2(fd int, flags uint32) error {
	c := pitConfig{flags: flags}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIOW(0x77, unsafe.Sizeof(c)), uintptr(unsafe.Pointer(&c)))
	return errnoErr(errno)
}

// irqLevel is the kernel's struct kvm_irq_level.
type irqLevel struct {
	gsi   uint32
	level uint32
}

func irqLine(fd int, gsi uint32, asserted bool) error {
	l := irqLevel{gsi: gsi}
	if asserted {
		l.level = 1
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIOW(0x61, unsafe.Sizeof(l)), uintptr(unsafe.Pointer(&l)))
	return errnoErr(errno)
}

// msi is the kernel's struct kvm_msi.
type msi struct {
	addrLo, addrHi, data, flags, devid uint32
	_                                  [12]byte
}

func signalMSI(fd int, addr uint64, data uint32) (bool, error) {
	m := msi{addrLo: uint32(addr), addrHi: uint32(addr >> 32), data: data}
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIOW(0xa5, unsafe.Sizeof(m)), uintptr(unsafe.Pointer(&m)))
	return errno == 0 && r > 0, errnoErr(errno)
}

// routingEntry is the kernel's struct kvm_irq_routing_entry, type
// KVM_IRQ_ROUTING_IRQCHIP.
type routingEntry struct {
	gsi, kind, flags, _ uint32
	chip, pin           uint32
	_                   [24]byte
}

const routingIRQChip = 1

// maxRoutes is the kernel's limit for one machine.
const maxRoutes = 4096

func setGSIRouting(fd int, routes []Route) error {
	if len(routes) > maxRoutes {
		return unix.EINVAL
	}
	table := new(struct {
		n, flags uint32
		entries  [maxRoutes]routingEntry
	})
	table.n = uint32(len(routes))
	for i, r := range routes {
		table.entries[i] = routingEntry{gsi: r.GSI, kind: routingIRQChip, chip: uint32(r.Chip), pin: r.Pin}
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIOW(0x6a, 8), uintptr(unsafe.Pointer(table)))
	return errnoErr(errno)
}

// maxMSRs is the kernel's limit for one call.
const maxMSRs = 256

// msrTable is the kernel's struct kvm_msrs.
type msrTable struct {
	n, _    uint32
	entries [maxMSRs]struct {
		index, _ uint32
		value    uint64
	}
}

func newMSRTable(entries []MSR) *msrTable {
	table := &msrTable{n: uint32(len(entries))}
	for i, e := range entries {
		table.entries[i].index = e.Index
		table.entries[i].value = e.Value
	}
	return table
}

// setMSRs is KVM_SET_MSRS; it returns how many entries the kernel accepted, in
// order, before it met one that it refused.
func setMSRs(fd int, entries []MSR) (int, error) {
	if len(entries) > maxMSRs {
		return 0, unix.E2BIG
	}
	table := newMSRTable(entries)
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIOW(0x89, 8), uintptr(unsafe.Pointer(table)))
	return int(n), errnoErr(errno)
}

// getMSRs is KVM_GET_MSRS: it fills in values, and returns how many, in order,
// before it met one that the vCPU does not have.
func getMSRs(fd int, entries []MSR) (int, error) {
	if len(entries) > maxMSRs {
		return 0, unix.E2BIG
	}
	table := newMSRTable(entries)
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIOWR(0x88, 8), uintptr(unsafe.Pointer(table)))
	if errno != 0 {
		return 0, errno
	}
	for i := range entries[:n] {
		entries[i].Value = table.entries[i].value
	}
	return int(n), nil
}

// xsaveSize is the size of the kernel's struct kvm_xsave. With the capability
// KVM_CAP_XSAVE2 the kernel says how large its extension is, and calls want a
// buffer of that size.
const xsaveSize = 4096

func getXSave(fd, size int) ([]byte, error) {
	buf := make([]byte, max(size, xsaveSize))
	request := gokvm.IIOR(0xa4, xsaveSize)
	if size > 0 {
		request = gokvm.IIOR(0xcf, xsaveSize) // KVM_GET_XSAVE2
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&buf[0])))
	return buf, callError("KVM_GET_XSAVE", errnoErr(errno))
}

// Preconditions: buf is of the size that getXSave returned.
func setXSave(fd int, buf []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIOW(0xa5, xsaveSize), uintptr(unsafe.Pointer(&buf[0])))
	return errnoErr(errno)
}

// kvmclockControl is KVM_KVMCLOCK_CTRL, which fails if the guest does not use the
// clock.
func kvmclockControl(fd int) { _, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIO(0xad), 0) }

// injectNMI is KVM_NMI, which does not fail on a vCPU with a local APIC.
func injectNMI(fd int) { _, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIO(0x9a), 0) }

// fpuState is the kernel's struct kvm_fpu.
type fpuState struct {
	fpr        [8][16]byte
	fcw, fsw   uint16
	ftwx, _    uint8
	lastOpcode uint16
	lastIP     uint64
	lastDP     uint64
	xmm        [16][16]byte
	mxcsr, _   uint32
}

func setFPU(fd int, fcw uint16, mxcsr uint32) error {
	f := fpuState{fcw: fcw, mxcsr: mxcsr}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIOW(0x8d, unsafe.Sizeof(f)), uintptr(unsafe.Pointer(&f)))
	return errnoErr(errno)
}

// errnoErr keeps a zero errno from becoming a non-nil error. The conversion of a
// small errno to an interface does not allocate.
func errnoErr(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// addressOf returns the address of b's first byte for the kernel to keep. b must
// not be on the Go heap: the number does not keep it alive or in place.
func addressOf(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	return uint64(uintptr(unsafe.Pointer(&b[0])))
}

// word returns the little-endian 32-bit word at off of a page that is shared
// with the kernel. off must be a multiple of 4 inside b, which is page aligned.
func word(b []byte, off int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&b[off : off+4][0]))
}
