// Package vmm is the machine: a PC with an i440FX host bridge, a PIIX south
// bridge, one PCI bus, serial ports and processors that KVM runs. It boots a
// Linux kernel directly, or starts a BIOS that boots from a disk, and ends when
// the guest switches it off, or resets it if that is wished, or when it is told to.
//
// A machine is built by [New], gets its PCI devices by [Machine.AddDevice], is
// run once by [Machine.Run], and must be closed:
//
//	m, err := vmm.New(vmm.Config{Memory: 512 << 20, CPUs: 1, Kernel: kernel})
//	...
//	defer m.Close(ctx)
//	m.AddDevice(5, controller)
//	outcome, err := m.Run(ctx)
//
// # What happens in the guest's name
//
// Every vCPU is a goroutine locked to its thread. It runs the guest until KVM
// comes back with an exit, does what the exit asks for, and goes on. Port and
// memory-mapped accesses go through two bus.Space to the device that has the
// address; the device's handler runs on the vCPU's thread and must not wait. A
// guest that has nothing to do sleeps in the kernel; nothing here polls.
//
// Registers that are read a lot are read from memory, without an exit, where the
// device can do that (pci.Mirrored): see mirrors.
//
// # A start through a BIOS
//
// The BIOS is SeaBIOS: its ROM ends at 4 GiB, and its last 128 KiB are seen below
// 1 MiB as well, until it has the host bridge's PAM registers show the RAM that is
// there, into which it copies itself and which it then protects. Without a BIOS that
// memory is RAM whatever these registers say. The BIOS learns of the machine from the
// device of package fwcfg. There is no system management mode, which SeaBIOS is told. The window of video memory is
// plain memory. With a VGA BIOS there is an adapter, whose text Screen gives;
// without one, SeaBIOS shows the text screen on COM1.
//
// # A reset
//
// A guest resets the machine through port 0xCF9, which the ACPI tables name, the
// keyboard controller, port 0x92 or a triple fault. The vCPU that did it executes
// nothing more. Run then waits until all vCPUs are out of the guest and no device
// touches its RAM, puts everything into the state that it had when the machine was
// made, and starts the machine as it did at first. The time stamp counters go on.
//
// # A pause
//
// Pause takes all vCPUs out of the guest, has the devices end what they are at and
// make it durable, and stops the paravirtual clock. Guests that panic, or whose
// watchdog expires, are paused, reset or ended as the configuration says.
//
// # Interrupts
//
// The interrupt controllers and the timer are the kernel's. ISA interrupts 0 to
// 15 arrive at the I/O APIC pins of the same number, but for the timer's, which
// arrives at pin 2. The pins of PCI slots are wired to pins 16 to 23 (see
// pciRoute), level triggered. A machine with a BIOS has them wired to the links of
// the PIIX3 instead, which the BIOS connects to ISA interrupts 10 and 11 (see
// biosRoute): so they reach guests that use the 8259s and guests that use the I/O
// APIC. Its ACPI tables name these interrupts, not the links.
//
// # Concurrency and locks
//
// All methods of a Machine may be called from any goroutine, except that AddPCI
// and AddDevice come before Run, and Close comes after it. The machine has one
// lock of its own, over what it does and how it ended, which is held while vCPUs
// are kicked, and one for each ISA interrupt, which is held while that is driven. The locks of
// package pci may be held when the machine is called as its Platform; the machine
// then only takes the lock of a bus.Space, of an ISA interrupt or those of the
// mirrors of registers. They are held, too,
// when it learns of PAM registers, for which it takes its own lock.
//
// # Not supported
//
// Save and restore, hot-plug, more than one PCI bus.
package vmm
