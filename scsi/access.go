package scsi

// The functions of this file are the only ones that move data to or from the
// medium. What changes it holds Unit.changes shared, for as long as the call to
// the medium takes; a read-modify-write holds it exclusively.

// load reads from the medium.
func (u *Unit) load(c *Command, data [][]byte, off int64) Sense {
	if err := u.medium.ReadV(data, off); err != nil {
		return c.failed(err, ASCUnrecoveredReadError)
	}
	return Sense{}
}

// store writes to the medium.
func (u *Unit) store(c *Command, data [][]byte, off int64) Sense {
	u.changes.RLock()
	defer u.changes.RUnlock()
	return u.storeAlone(c, data, off)
}

// storeAlone is store for a caller that holds changes.
func (u *Unit) storeAlone(c *Command, data [][]byte, off int64) Sense {
	if err := u.medium.WriteV(data, off); err != nil {
		return c.failed(err, ASCWriteError)
	}
	return Sense{}
}

// storeZeroes makes n bytes at off read as zeroes.
func (u *Unit) storeZeroes(c *Command, off, n int64, unmap bool) Sense {
	u.changes.RLock()
	defer u.changes.RUnlock()
	if err := u.medium.WriteZeroes(off, n, unmap); err != nil {
		return c.failed(err, ASCWriteError)
	}
	return Sense{}
}

// discard gives back the storage of n bytes at off.
func (u *Unit) discard(c *Command, off, n int64) Sense {
	u.changes.RLock()
	defer u.changes.RUnlock()
	if err := u.medium.Discard(off, n); err != nil {
		return c.failed(err, ASCWriteError)
	}
	return Sense{}
}

// commit ends a command that has changed the medium: unless the write cache is
// on and the initiator did not insist, the change is made durable. The cache is
// looked at after the change, so that SetWriteCache can rely on it.
func (u *Unit) commit(c *Command, fua bool) Sense {
	if u.writeBack.Load() && !fua {
		return Sense{}
	}
	return u.flush(c)
}

// writeOut makes what the write cache may hold durable.
func (u *Unit) writeOut(c *Command) Sense {
	if !u.writeBack.Load() {
		return Sense{}
	}
	return u.flush(c)
}

func (u *Unit) flush(c *Command) Sense {
	if err := u.medium.Flush(); err != nil {
		return c.failed(err, ASCWriteError)
	}
	return Sense{}
}
