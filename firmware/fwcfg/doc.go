// Package fwcfg is the firmware configuration device of PC virtual machines:
// twelve ports from which firmware reads what it can't find out from hardware,
// such as the memory map, the ACPI tables and the boot order. It follows the
// description in QEMU's documentation (docs/specs/fw_cfg.rst), and the keys are
// those that SeaBIOS asks for.
//
// The contents are numbered items and named files. They are fixed when the
// device is made, and read-only: there are no items that a guest can write to, no
// items that are made when they are selected, and no WRITE_POINTER commands.
//
// # Interfaces
//
// A guest selects an item by writing its 16-bit key to [Base], and reads it byte
// by byte from the port after that. Or it stores a control block in memory and
// writes that block's address to the two ports from Base+4, high half first, both
// big-endian; the transfer is over when the write returns. Unknown keys select an
// empty item, and whatever lies behind the end of an item reads as zero.
//
// A control block is hostile until shown otherwise. It is fetched once, a
// transfer is at most [MaxTransfer] bytes, and memory is reached only through
// [Memory], which refuses what is not RAM: the guest sees the error bit then.
//
// # Concurrency
//
// Read, Write and Reset may be called from any goroutine. One lock is held over
// a transfer; nothing is called under it but Memory.
package fwcfg
