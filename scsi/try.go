package scsi

import "github.com/govmm/govmm/internal/iov"

// TryRead is Read if that waits for nothing and nothing stands against it. It
// reports whether the command is done, with GOOD; if not, it has had no effect but
// that c.Data may hold anything, and is to be carried out by Read.
func (u *Unit) TryRead(c *Command, lba uint64, blocks uint32) (done bool) {
	return u.tryRead(c, extent{lba: lba, blocks: blocks})
}

func (u *Unit) tryRead(c *Command, e extent) (done bool) {
	data, off := u.tryBegin(c, started, accessRead, e)
	return data != nil && u.trier.TryReadV(data, off) && u.tryEnd(c, &u.counters.read, data)
}

// TryWrite is Write if that waits for nothing and nothing stands against it, which
// takes a write cache. It reports whether the command is done, with GOOD; if not,
// part of the data may have been written, and it is to be carried out by Write.
func (u *Unit) TryWrite(c *Command, lba uint64, blocks uint32) (done bool) {
	return u.tryWrite(c, extent{lba: lba, blocks: blocks})
}

func (u *Unit) tryWrite(c *Command, e extent) (done bool) {
	if !u.writeBack.Load() || !u.changes.TryRLock() {
		return false
	}
	defer u.changes.RUnlock()
	data, off := u.tryBegin(c, started|writable, accessWrite, e)
	// The write cache is looked at after the change, as commit does.
	return data != nil && u.trier.TryWriteV(data, off) && u.writeBack.Load() &&
		u.tryEnd(c, &u.counters.write, data)
}

// Transfer tells of a CDB whether it may be one for TryExecute, and which way the
// data goes.
func Transfer(cdb []byte) (write, ok bool) {
	if len(cdb) == 0 {
		return false, false
	}
	switch Opcode(cdb[0]) {
	case OpRead10, OpRead12, OpRead16:
		return false, true
	case OpWrite10, OpWrite12, OpWrite16:
		return true, true
	}
	return false, false
}

// TryExecute is TryRead or TryWrite for the command in c.CDB. What is no READ or
// WRITE of at least 10 bytes, or has FUA set, is not done.
func (u *Unit) TryExecute(c *Command) (done bool) {
	write, ok := Transfer(c.CDB)
	if !ok || c.LUN != 0 {
		return false
	}
	row, _ := u.commands.find(u, c.CDB)
	switch {
	case row == nil || !row.check(c.CDB).OK() || forceUnitAccess(c.CDB):
		return false
	case write:
		return u.tryWrite(c, cdbExtent(c.CDB))
	}
	return u.tryRead(c, cdbExtent(c.CDB))
}

// tryBegin returns where the data of a transfer goes and where it is on the
// medium; nil if the command has to wait, is to be refused, or moves nothing.
func (u *Unit) tryBegin(c *Command, n needs, a access, e extent) (data [][]byte, off int64) {
	c.begin()
	if u.trier == nil || u.attention.pending.Load() != 0 || !u.tray.check().OK() || !u.admit(n|noAttention).OK() || u.reservations.against(a) {
		return nil, 0
	}
	off, length, s := u.locateAtMost(u.config.Limits.MaxTransfer, e)
	if !s.OK() || length == 0 || int64(iov.Len(c.Data)) < length {
		return nil, 0
	}
	return iov.Trim(c.Data, int(length)), off
}

// tryEnd counts a transfer that was done.
func (u *Unit) tryEnd(c *Command, w *workCounter, data [][]byte) bool {
	n := int64(iov.Len(data))
	u.counters.note(c, w, n, Sense{})
	c.Transferred = int(n)
	return true
}
