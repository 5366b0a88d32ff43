package scsi

import "github.com/govmm/govmm/internal/iov"

// compareAndWrite is COMPARE AND WRITE (SBC-3). The data buffer has the blocks
// to compare with, and after them those to write. Nothing changes the medium
// between the two.
func compareAndWrite(u *Unit, c *Command) Sense {
	e := cdbExtent(c.CDB)
	e.blocksAt = 13 // the length is one byte; those above it are reserved
	off, n, s := u.locateAtMost(uint32(u.config.Limits.MaxCompareAndWrite), e)
	if !s.OK() || n == 0 {
		return s
	}
	data, s := c.take(2 * n)
	if !s.OK() {
		return s
	}
	if s := u.swap(c, data, off, n); !s.OK() {
		return s
	}
	c.Transferred = int(2 * n)
	return u.commit(c, forceUnitAccess(c.CDB))
}

// swap writes the second n bytes of data if the medium has the first n of them.
func (u *Unit) swap(c *Command, data [][]byte, off, n int64) Sense {
	u.changes.Lock()
	defer u.changes.Unlock()
	expected := iov.NewReader(data)
	at, s := u.compare(c, &u.counters.verify, off, n, &expected)
	if !s.OK() {
		return s
	}
	if at >= 0 {
		// Where in the data buffer, other than in VERIFY.
		return Sense{Key: KeyMiscompare, Code: ASCMiscompareDuringVerify, HasInfo: true, Info: uint64(at)}
	}
	return u.storeAlone(c, iov.Skip(data, int(n)), off)
}

// orWrite is ORWRITE(16) (SBC-3): the blocks become the bitwise OR of what they
// were and of the data buffer. No other change comes between the reading and
// the writing of a block.
func orWrite(u *Unit, c *Command) Sense {
	off, n, s := u.locateAtMost(u.config.Limits.MaxTransfer, cdbExtent(c.CDB))
	if !s.OK() || n == 0 {
		return s
	}
	data, s := c.take(n)
	if !s.OK() {
		return s
	}
	scratch := u.scratch.Get().(*[scratchSize]byte)
	defer u.scratch.Put(scratch)
	source := iov.NewReader(data)
	for done := int64(0); done < n; {
		piece := scratch[:min(n-done, scratchSize)]
		if s := u.orInto(c, piece, &source, off+done); !s.OK() {
			return s
		}
		done += int64(len(piece))
	}
	c.Transferred = int(n)
	return u.commit(c, forceUnitAccess(c.CDB))
}

// orInto does ORWRITE for len(piece) bytes at off.
func (u *Unit) orInto(c *Command, piece []byte, source *iov.Reader, off int64) Sense {
	u.changes.Lock()
	defer u.changes.Unlock()
	if s := u.load(c, &u.counters.read, [][]byte{piece}, off); !s.OK() {
		return s
	}
	for at := 0; at < len(piece); {
		p := source.Next(len(piece) - at)
		for i, b := range p {
			piece[at+i] |= b
		}
		at += len(p)
	}
	return u.storeAlone(c, [][]byte{piece}, off)
}
