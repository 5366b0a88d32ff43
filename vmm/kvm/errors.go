package kvm

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// What [VCPU.Run] returns besides an exit. In both cases the exit information
// in the shared page is that of an earlier exit and means nothing.
var (
	// ErrInterrupted says that a signal or a Kick ended the run early.
	ErrInterrupted = errors.New("kvm: vCPU run was interrupted")
	// ErrNotReady says that the vCPU changed its multiprocessing state (it took
	// an INIT or a start-up interrupt) without executing anything.
	ErrNotReady = errors.New("kvm: vCPU is not ready to run")
)

// An OpenError says why KVM can't be used, and what a person can do about it.
type OpenError struct {
	Path string // device node
	Err  error  // what the system answered
	Hint string // what to do; may be empty
}

// Error tells what was tried, what happened and what to do, in one line.
func (e *OpenError) Error() string {
	s := fmt.Sprintf("open %s: %v", e.Path, e.Err)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns what the system answered, for errors.Is with fs.ErrNotExist
// and fs.ErrPermission.
func (e *OpenError) Unwrap() error { return e.Err }

// A MissingError names what the host's kernel lacks.
type MissingError struct {
	Names []string // capabilities, by their names in the kernel's documentation
}

// Error lists the names in one line.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%s: the host kernel lacks %s", DevicePath, strings.Join(e.Names, ", "))
}

const (
	hintMissing    = "load the module with 'sudo modprobe kvm_intel' or 'kvm_amd'; in a virtual machine or container, ask for nested virtualization"
	hintPermission = "join the group that owns it with 'sudo usermod -aG kvm $USER' and log in again"
	hintBusy       = "another hypervisor on this host holds the processor's virtualization extension; stop it"
)

// openError explains a failed attempt to open path.
func openError(path string, err error) error {
	e := &OpenError{Path: path, Err: err}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		e.Hint = hintMissing
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		e.Hint = hintPermission
	case errors.Is(err, unix.EBUSY):
		e.Hint = hintBusy
	}
	return e
}

// callError names the call that failed.
func callError(call string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s: %w (%s)", call, err, hintBusy)
	}
	return fmt.Errorf("%s: %w", call, err)
}
