// Package nest runs a command in a machine of its own whose emulated processor
// has AMD's virtualization extension, for hosts whose KVM is missing or cannot
// run a stock kernel.
//
// The machine is QEMU's, without KVM (TCG). It boots a Debian kernel with an
// initramfs that is made on the fly: the kernel modules needed and the running
// executable, which is also its init process (see [Init]). Init loads KVM,
// mounts the host's root directory by virtio-9p, and starts the command in it,
// with the same arguments, environment, working directory and paths:
//
//	host                                  nest
//	Run ── control port ───────────────── Init
//	 │                                      │
//	 ├── port per stream (stdin, ...) ──── pipe ── command, chrooted
//	 │                                      │
//	 └── QEMU's 9p server: "/" ─────────── /host: files of the command
//
// Files are the host's own: a write is in the host's page cache when it
// returns, an fsync reaches the host's file. /proc, /sys and /dev are those of
// the nest, so that the command finds its /dev/kvm, and no device of the host.
// The standard streams, and any number of further streams, are carried over
// virtio-serial ports; so are signals and the exit status.
//
// What it needs, beside QEMU, is a directory with
//
//	vmlinux    the kernel, an ELF image (or vmlinuz, a bzImage, which boots some seconds later)
//	modules/   its modules, anywhere below, uncompressed
//
// An unpacked Debian kernel package serves as well, its modules being in
// lib/modules/RELEASE, once a vmlinux stands beside them.
//
// The command must not rely on file locks, which 9p keeps inside the nest, nor
// on punching holes in files and writable shared mappings, which 9p refuses.
package nest
