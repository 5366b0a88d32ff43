// Package harness starts guests for tests and demonstrations and talks to them.
//
// A guest is a stock Debian kernel with the initramfs of guest-tests/initramfs,
// in a machine that a VMM runs: govmm, or QEMU as a peer to compare with. The
// init program answers on the second serial port, see package agent; the console
// on the first is for people, and is shown when something failed.
//
// Nothing here waits for a time to pass. Waits end with an event or with the
// caller's context, and the limits are wide: a guest under emulation on a busy
// machine is ten times slower than on an idle one.
package harness
