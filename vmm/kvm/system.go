package kvm

import (
	"errors"
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// DevicePath is where Linux shows KVM.
const DevicePath = "/dev/kvm"

// apiVersion is the only version of the interface there ever was in a stable
// kernel.
const apiVersion = 12

// maxCPUIDEntries is more than any kernel returns (about 60).
const maxCPUIDEntries = 256

// System is an open KVM device.
type System struct {
	fd      int
	runSize int // bytes of the area shared with each vCPU

	msrs gokvm.MSRList // argument of StateMSRs: gokvm wants it on the heap
}

// A capability that every machine of this package relies on.
type capability struct {
	cap  gokvm.Capability
	name string
}

func requiredCapabilities() []capability {
	return []capability{
		{gokvm.CapIRQChip, "KVM_CAP_IRQCHIP"},
		{gokvm.CapUserMemory, "KVM_CAP_USER_MEMORY"},
		{gokvm.CapSetTSSAddr, "KVM_CAP_SET_TSS_ADDR"},
		{gokvm.CapEXTCPUID, "KVM_CAP_EXT_CPUID"},
		{gokvm.CapMPState, "KVM_CAP_MP_STATE"},
		{gokvm.CapIRQRouting, "KVM_CAP_IRQ_ROUTING"},
		{gokvm.CapPIT2, "KVM_CAP_PIT2"},
		{gokvm.CapReinjectControl, "KVM_CAP_REINJECT_CONTROL"},
		{gokvm.CapSetIdentityMapAddr, "KVM_CAP_SET_IDENTITY_MAP_ADDR"},
		{gokvm.CapSignalMSI, "KVM_CAP_SIGNAL_MSI"},
		{gokvm.CapImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"},
	}
}

// Open opens the KVM device and checks that it offers what is needed. A failure
// to open is an [*OpenError], a kernel that is too old a [*MissingError].
func Open() (*System, error) {
	fd, err := unix.Open(DevicePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(DevicePath, err)
	}
	s := &System{fd: fd}
	if err := s.check(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *System) check() error {
	version, err := gokvm.GetAPIVersion(uintptr(s.fd))
	if err != nil {
		return callError(DevicePath+": KVM_GET_API_VERSION", err)
	}
	if version != apiVersion {
		return fmt.Errorf("%s: interface version %d, want %d", DevicePath, version, apiVersion)
	}
	if names := s.missing(); len(names) > 0 {
		return &MissingError{Names: names}
	}
	size, err := gokvm.GetVCPUMMmapSize(uintptr(s.fd))
	if err != nil {
		return callError(DevicePath+": KVM_GET_VCPU_MMAP_SIZE", err)
	}
	if size < minRunSize {
		return fmt.Errorf("%s: a vCPU shares %d bytes, want at least %d", DevicePath, size, minRunSize)
	}
	s.runSize = int(size)
	return nil
}

// missing lists the capabilities that the host's kernel does not have.
func (s *System) missing() []string {
	var names []string
	for _, c := range requiredCapabilities() {
		if !s.has(c.cap) {
			names = append(names, c.name)
		}
	}
	return names
}

func (s *System) has(c gokvm.Capability) bool {
	n, err := gokvm.CheckExtension(uintptr(s.fd), c)
	return err == nil && n > 0
}

// HasTSCDeadline reports whether the in-kernel local APIC offers the TSC
// deadline timer. The supported CPUID list does not say it on every kernel.
func (s *System) HasTSCDeadline() bool { return s.has(gokvm.CapTSCDeadlineTimer) }

// xsaveSize is the size of a vCPU's extended state, 0 where the kernel is too old
// to say; it is 4 KiB then.
func (s *System) xsaveSize() int {
	n, err := gokvm.CheckExtension(uintptr(s.fd), gokvm.CapXSave2)
	if err != nil {
		return 0
	}
	return int(n)
}

// MaxVCPUs is the largest number of vCPUs that a machine may have.
func (s *System) MaxVCPUs() int {
	n, err := gokvm.CheckExtension(uintptr(s.fd), gokvm.CapMAXVCPUS)
	if err != nil {
		return 1
	}
	return int(n)
}

// SupportedCPUID returns the CPUID leaves that the host and KVM together can
// offer to a guest.
func (s *System) SupportedCPUID() ([]CPUIDEntry, error) {
	list := &gokvm.CPUID{Nent: maxCPUIDEntries, Entries: make([]CPUIDEntry, maxCPUIDEntries)}
	if err := gokvm.GetSupportedCPUID(uintptr(s.fd), list); err != nil {
		return nil, callError("KVM_GET_SUPPORTED_CPUID", err)
	}
	return list.Entries, nil
}

// CreateVM creates a virtual machine without memory, interrupt controllers or
// vCPUs.
func (s *System) CreateVM() (*VM, error) {
	for {
		fd, err := gokvm.CreateVM(uintptr(s.fd))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, callError("create a virtual machine (KVM_CREATE_VM)", err)
		}
		return &VM{fd: int(fd), runSize: s.runSize, xsaveSize: s.xsaveSize()}, nil
	}
}

// Close closes the device. Machines that were created stay usable.
func (s *System) Close() error { return unix.Close(s.fd) }
