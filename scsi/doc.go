// Package scsi is the target side of SCSI: a logical unit that carries out
// command descriptor blocks (CDBs) against a [Medium].
//
// It models a direct-access block device as an enterprise RAID volume shows
// itself: SPC-4 (primary commands), SBC-3 (block commands) and the parts of
// SAM-5 that say which answer comes first. Names of constants are those of
// these documents; clauses are cited by the name of the command or page, since
// their numbers differ between revisions. All multi-byte fields of SCSI are big
// endian.
//
// With [UnitConfig.CDROM] it models a CD-ROM drive instead (MMC-5), with a pressed
// disc of one data track (cdrom.go).
//
// A [Unit] is one logical unit, LUN 0 of its target; other LUNs answer as
// absent ones do. Its commands stand in one table (table.go): name, length,
// the CDB bits that are looked at, what must hold before, and the function that
// does it. Everything else derives from that table: the refusal of unknown
// commands and of reserved bits, the lists of REPORT SUPPORTED OPERATION CODES,
// and the names in traces.
//
// # Data and its length
//
// [Command.Data] is the initiator's buffer, in the direction that the CDB
// implies. Nothing is read or written beyond it, and:
//   - a response (INQUIRY, MODE SENSE, ...) is cut to the allocation length and
//     to the buffer, and the command is GOOD;
//   - a parameter list (UNMAP, MODE SELECT, ...) that is longer than the buffer is
//     refused with PARAMETER LIST LENGTH ERROR;
//   - a transfer of blocks (READ, WRITE, VERIFY with BYTCHK, WRITE SAME, COMPARE
//     AND WRITE, ...) that is longer than the buffer is refused before the medium
//     is touched: CHECK CONDITION, ABORTED COMMAND, DATA PHASE ERROR, and
//     [Command.Err] is [ErrShortBuffer], by which a transport can tell it from
//     the unit's errors.
//
// A longer buffer is used as far as the command needs it.
//
// # Durability
//
// With the write cache off (the default) every command that changes the medium
// flushes it before it reports GOOD. With the write cache on, FUA and
// SYNCHRONIZE CACHE flush. A failed flush is a failed command.
//
// # Concurrency
//
// All methods of a Unit may be called from any number of goroutines. A Command
// belongs to one call at a time. Commands are not ordered with each other: an
// initiator that cares waits, as the control mode page says. But COMPARE AND
// WRITE and, block by block, ORWRITE are atomic: nothing is written between
// what they read and what they write. READ and WRITE do not allocate.
//
// # Limits
//
// There is one initiator: unit attentions, reservations and the stopped state are
// the unit's. A reservation can be moved to another one, which never comes. There is no
// protection information and no saved log parameter; LOG SELECT clears counters.
// Mode parameters can be saved, and persistent reservations outlive the loss of
// power, where the unit's owner keeps them. IMMED makes SANITIZE return when it has
// begun, and other commands no earlier than they would. A failed SANITIZE ends with
// the Unit, but for [Unit.Save].
//
// # SATA
//
// With [ATA] a unit is a SATA drive behind a translation layer, as a SAS
// controller shows it: the same commands, and the drive's own by ATA
// PASS-THROUGH. There is no NCQ by that way, no security and no microcode. What a
// drive returns in its registers comes in sense data of descriptor format, also
// while D_SENSE is not set.
//
// # Background
//
// Extended self-tests and SANITIZE with IMMED go on after their command;
// [Unit.Close] ends them.
package scsi
