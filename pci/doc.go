// Package pci models a conventional PCI bus and the functions on it: type-0
// configuration space from a register table, configuration mechanism 1, base
// address registers, capabilities, and the three kinds of interrupt. It follows
// the PCI Local Bus Specification 3.0 ("PCI"), the PCI Bus Power Management
// Interface Specification 1.2, and the PCI Express Base Specification 2.0 as far
// as an endpoint's 256-byte configuration space goes.
//
// A device is a Function: a Config, some BARs with the device's Region behind
// each, and capabilities in the order in which the guest should find them. A Bus
// puts functions into places and connects them to the machine, which it knows
// as a Platform.
//
// Not modelled: bridges and further buses, extended configuration space,
// expansion ROMs, 64-bit I/O, MSI per-vector masking (MSI-X has it), power
// states other than D0 and D3hot, power management events, parity errors.
//
// # Concurrency
//
// Everything exported may be used from any goroutine at any time, except that a
// function is described (the Add and On methods) before it is attached.
//
// Locks are taken in this order, and none is held when a Region is called:
//
//	Bus.mu        which function is where
//	Function.mu   configuration space; held while hooks run
//	decoder.mu    which BARs are mapped
//	lines.mu      levels of the interrupt lines
//	msi.mu, vector.mu   one message
//
// The methods of Interrupt take the last three rows only, so a device may call
// them while it holds its own locks, and from hooks. Platform methods are called
// with these locks held. So they must not call into this package, and they must
// not wait for a Region call, a configuration access or a device. In return
// they see changes in order: when a write that masks a vector, moves a BAR or
// disables an interrupt has returned, nothing of the old state follows.
package pci
