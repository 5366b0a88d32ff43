// Package firmware makes what a Linux guest finds in memory when its first
// instruction runs: the memory map, the kernel, its initial RAM disk, its
// command line and the structures that describe them, and it says with which
// register contents the boot processor starts.
//
// Three kinds of kernel are loaded, chosen by content:
//
//   - bzImage, entered by the 64-bit boot protocol or, where the kernel has none, by
//     the 32-bit one (Linux, Documentation/arch/x86/boot.rst, 2.10 and later);
//   - ELF64 with a PVH note, entered in 32-bit protected mode with a
//     start_info structure (Xen, docs/misc/pvh.pandoc);
//   - ELF64 without one, entered at e_entry in 64-bit mode with the zero page
//     of the boot protocol.
//
// Each may be compressed as a whole with gzip, xz, zstd or lz4. ELF files of 32 bits,
// multiboot images and EFI stubs without a bzImage header are not supported: they are
// refused by name.
//
// A kernel is never trusted. Every number in its headers is checked before it
// is used, memory that is allocated on its behalf is bounded, and nothing is
// written outside the RAM of the Layout. Files are read straight into guest
// memory where the Memory offers windows, else through one small buffer.
//
// For a machine that starts its BIOS instead there are the places of its ROM and
// the memory map that it is told; the package fwcfg below this one is how it is
// told. The ACPI tables are made by the package acpi.
//
// The package keeps no state: everything is a function of its arguments, and
// values may be used from any goroutine.
package firmware
