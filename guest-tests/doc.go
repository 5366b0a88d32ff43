// Package guesttests holds the tests in which a stock Debian kernel drives the
// emulated controller. Each boots a guest (see package harness), makes many
// checks in it through its agent, and has the disk images judged from outside
// by programs that were not written here.
//
// They need what `make setup` fetches, and either KVM that runs guests or QEMU
// for a nested machine; without, they are skipped with the reason, unless
// GOVMM_GUESTS=required says that they must run. With GOVMM_GUEST_VMM=qemu they
// run on QEMU's emulation of the controller instead, for comparison.
//
//	init/         the program that is process 1 of every guest
//	agent/        how the tests talk to it
//	ioverify/     a load that proves that a disk kept its data
//	kernel/       Debian's kernel packages, unpacked
//	initramfs/    builds what guests boot into
//	harness/      starts guests
//	bios/         boot sectors, a disc and a screen, through SeaBIOS
//	debian.sh     installs a Debian on a disk
//	payload/      guests of a few instructions, straight on the device
//	cmd/prepare   the last step of setup.sh
//	cmd/demo      the demonstration of `make run`, the shell of `make shell`
package guesttests
