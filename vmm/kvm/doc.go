// Package kvm is the part of Linux's KVM interface that a PC needs: the system
// handle, virtual machines with the in-kernel interrupt controllers and timer,
// their memory slots, and virtual CPUs that can be run and interrupted.
//
// It follows the kernel's Documentation/virt/kvm/api.rst and uses
// github.com/bobuhiro11/gokvm/kvm for the calls that are right there. That
// package lacks some calls and gets some wrong (the identity map's address, the
// routing table's entry size, the number of MSRs that were accepted, and Run,
// which hides EINTR); those are made here, in ioctl_unsafe.go, where all of this
// package's unsafe code is. gokvm hands addresses of its arguments through an
// ordinary Go call, so whatever is passed to it by address lives on the heap.
//
// # Concurrency
//
// A [System] and a [VM] may be used from any goroutine. A [VCPU] belongs to the
// goroutine that runs it: between [VCPU.Enter] and [VCPU.Leave] no other
// goroutine may call anything but [VCPU.Kick], which is safe at any time. Go's
// own preemption signal interrupts a running vCPU too, so [VCPU.Run] returns
// [ErrInterrupted] at any moment, and the caller then just runs it again.
//
// # Not supported
//
// The split interrupt controller, irqfd and ioeventfd, dirty logs, guest
// debugging, system-management mode, nested state.
package kvm
