package scsi

import "github.com/govmm/govmm/internal/iov"

// TryRead is Read if that waits for nothing and nothing stands against it. It
// reports whether the command is done, with GOOD; if not, it has had no effect but
// that c.Data may hold anything, and is to be carried out by Read.
func (u *Unit) TryRead(c *Command, lba uint64, blocks uint32) (done bool) {
	data, off := u.tryBegin(c, started, accessRead, extent{lba: lba, blocks: blocks})
	return data != nil && u.trier.TryReadV(data, off) && u.tryEnd(c, &u.counters.read, data)
}

// TryWrite is Write if that waits for nothing and nothing stands against it, which
// takes a write cache. It reports whether the command is done, with GOOD; if not,
// part of the data may have been written, and it is to be carried out by Write.
func (u *Unit) TryWrite(c *Command, lba uint64, blocks uint32) (done bool) {
	if !u.writeBack.Load() || !u.changes.TryRLock() {
		return false
	}
	defer u.changes.RUnlock()
	data, off := u.tryBegin(c, started|writable, accessWrite, extent{lba: lba, blocks: blocks})
	// The write cache is looked at after the change, as commit does.
	return data != nil && u.trier.TryWriteV(data, off) && u.writeBack.Load() &&
		u.tryEnd(c, &u.counters.write, data)
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
