// Package mfi is the wire format of the MegaRAID Firmware Interface as spoken
// by the SAS 1078 and SAS 2108 controllers: the frames that a driver posts, the
// scatter-gather lists inside them, the firmware state word, the status codes,
// and the payloads of the management commands (DCMDs).
//
// There is no published specification. The layouts follow the open drivers
// (Linux megaraid_sas, FreeBSD mfi, illumos, OpenBSD mfi) where they agree.
// Everything is little-endian and packed; offsets in comments are hexadecimal
// bytes, sizes decimal bytes.
//
// The package holds no state and does no I/O. A [Frame] is a private copy of
// guest memory: it is read from the guest once and only then looked at, so that
// a guest that rewrites a frame while it is being handled confuses nobody but
// itself. Nothing here trusts a length that the guest gave: accessors stay
// inside the copy, and iterators bound their own count.
//
// Not covered: the RAID map and the other "fusion" structures of later
// controllers, and NVMe and TOOLBOX frames.
package mfi
