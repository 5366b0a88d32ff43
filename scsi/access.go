package scsi

import "github.com/govmm/govmm/internal/iov"

// The functions of this file are the only ones that move data to or from the
// medium, but for SANITIZE, which has it for itself. What changes the medium
// holds Unit.changes shared, for as long as the call takes; a read-modify-write
// holds it exclusively.

// load reads from the medium, and counts that as work of kind w.
func (u *Unit) load(c *Command, w *workCounter, data [][]byte, off int64) Sense {
	n := int64(iov.Len(data))
	return u.done(c, w, n, u.medium.ReadV(data, off), ASCUnrecoveredReadError)
}

// done ends and counts work of kind w on n bytes, which returned err.
func (u *Unit) done(c *Command, w *workCounter, n int64, err error, otherwise ASC) Sense {
	var s Sense
	if err != nil {
		s = c.failed(err, otherwise)
	}
	u.counters.note(c, w, n, s)
	return s
}

// store writes to the medium.
func (u *Unit) store(c *Command, data [][]byte, off int64) Sense {
	u.changes.RLock()
	defer u.changes.RUnlock()
	return u.storeAlone(c, data, off)
}

// storeAlone is store for a caller that holds changes.
func (u *Unit) storeAlone(c *Command, data [][]byte, off int64) Sense {
	if s := u.sanitizing.check(); !s.OK() {
		return s
	}
	n := int64(iov.Len(data))
	return u.done(c, &u.counters.write, n, u.medium.WriteV(data, off), ASCWriteError)
}

// storeZeroes makes n bytes at off read as zeroes.
func (u *Unit) storeZeroes(c *Command, off, n int64, unmap bool) Sense {
	u.changes.RLock()
	defer u.changes.RUnlock()
	if s := u.sanitizing.check(); !s.OK() {
		return s
	}
	return u.done(c, &u.counters.write, n, u.medium.WriteZeroes(off, n, unmap), ASCWriteError)
}

// discard gives back the storage of n bytes at off.
func (u *Unit) discard(c *Command, off, n int64) Sense {
	u.changes.RLock()
	defer u.changes.RUnlock()
	if s := u.sanitizing.check(); !s.OK() {
		return s
	}
	return u.done(c, &u.counters.write, 0, u.medium.Discard(off, n), ASCWriteError)
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
	return u.done(c, &u.counters.write, 0, u.medium.Flush(), ASCWriteError)
}
