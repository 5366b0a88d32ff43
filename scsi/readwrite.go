package scsi

// locate checks that e lies on the medium and returns its place in bytes. An
// extent that starts beyond the last block is out of range even if it is empty.
func (u *Unit) locate(e extent) (off, n int64, s Sense) {
	count := u.Blocks()
	if e.lba >= count || uint64(e.blocks) > count-e.lba {
		return 0, 0, illegalRequest(ASCLBAOutOfRange)
	}
	return int64(e.lba << u.shift), int64(e.blocks) << u.shift, Sense{}
}

// locateAtMost is locate for commands that a limit of blocks applies to.
func (u *Unit) locateAtMost(limit uint32, e extent) (off, n int64, s Sense) {
	off, n, s = u.locate(e)
	if s.OK() && e.blocks > limit {
		return 0, 0, e.lengthRefused()
	}
	return off, n, s
}

// lengthRefused is the sense data for a transfer length that is not allowed.
func (e extent) lengthRefused() Sense {
	if e.blocksAt == 0 {
		return illegalRequest(ASCInvalidFieldInCDB)
	}
	return invalidField(int(e.blocksAt), 7)
}

// forceUnitAccess returns the FUA bit, which 6-byte CDBs do not have.
func forceUnitAccess(cdb []byte) bool { return cdb[0]>>5 != 0 && cdb[1]&0x08 != 0 }

// read is READ (SBC-3).
func read(u *Unit, c *Command) Sense {
	return u.read(c, cdbExtent(c.CDB), forceUnitAccess(c.CDB))
}

// write is WRITE (SBC-3).
func write(u *Unit, c *Command) Sense {
	return u.write(c, cdbExtent(c.CDB), forceUnitAccess(c.CDB))
}

func (u *Unit) read(c *Command, e extent, fua bool) Sense {
	off, n, s := u.locateAtMost(u.config.Limits.MaxTransfer, e)
	if !s.OK() || n == 0 {
		return s
	}
	data, s := c.take(n)
	if !s.OK() {
		return s
	}
	if fua {
		// What is in the write cache goes to the medium first.
		if s := u.writeOut(c); !s.OK() {
			return s
		}
	}
	if s := u.load(c, &u.counters.read, data, off); !s.OK() {
		return s
	}
	c.Transferred = int(n)
	return Sense{}
}

func (u *Unit) write(c *Command, e extent, fua bool) Sense {
	off, n, s := u.locateAtMost(u.config.Limits.MaxTransfer, e)
	if !s.OK() || n == 0 {
		return s
	}
	data, s := c.take(n)
	if !s.OK() {
		return s
	}
	if s := u.store(c, data, off); !s.OK() {
		return s
	}
	c.Transferred = int(n)
	return u.commit(c, fua)
}

// synchronizeCache is SYNCHRONIZE CACHE (SBC-3). The whole cache
// is written whatever the range, and IMMED does not make it return earlier: what
// went wrong is reported here and not with a later command.
func synchronizeCache(u *Unit, c *Command) Sense {
	// A length of 0 is the rest of the medium, so only the start is checked.
	if _, _, s := u.locate(cdbExtent(c.CDB)); !s.OK() {
		return s
	}
	return u.flush(c)
}
