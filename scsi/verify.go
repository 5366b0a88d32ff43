package scsi

import "github.com/govmm/govmm/internal/iov"

// byteCheck returns BYTCHK: the data is compared, and not only read.
func byteCheck(cdb []byte) bool { return cdb[1]&0x02 != 0 }

// verify is VERIFY (SBC-3): the blocks are read, and with BYTCHK
// compared with the data buffer. Like READ it is subject to the maximum
// transfer length, also where no data is moved, so that it ends soon.
func verify(u *Unit, c *Command) Sense {
	off, n, s := u.locateAtMost(u.config.Limits.MaxTransfer, cdbExtent(c.CDB))
	if !s.OK() || n == 0 {
		return s
	}
	var data [][]byte
	if byteCheck(c.CDB) {
		if data, s = c.take(n); !s.OK() {
			return s
		}
	}
	// The medium is to be checked, so what is cached goes there first.
	if s := u.writeOut(c); !s.OK() {
		return s
	}
	if s := u.check(c, off, n, data); !s.OK() {
		return s
	}
	if byteCheck(c.CDB) {
		c.Transferred = int(n)
	}
	return Sense{}
}

// writeAndVerify is WRITE AND VERIFY (SBC-3): what was written goes to the
// medium whether the write cache is on or not, and is read back.
func writeAndVerify(u *Unit, c *Command) Sense {
	off, n, s := u.locateAtMost(u.config.Limits.MaxTransfer, cdbExtent(c.CDB))
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
	if s := u.flush(c); !s.OK() {
		return s
	}
	if !byteCheck(c.CDB) {
		data = nil
	}
	if s := u.check(c, off, n, data); !s.OK() {
		return s
	}
	c.Transferred = int(n)
	return Sense{}
}

// check reads n bytes at off and compares them with data, if there is any.
func (u *Unit) check(c *Command, off, n int64, data [][]byte) Sense {
	var expected *iov.Reader
	if data != nil {
		r := iov.NewReader(data)
		expected = &r
	}
	at, s := u.compare(c, &u.counters.verify, off, n, expected)
	if s.OK() && at >= 0 {
		return Sense{Key: KeyMiscompare, Code: ASCMiscompareDuringVerify,
			HasInfo: true, Info: uint64(off+at) >> u.shift}
	}
	return s
}

// compare reads n bytes at off, which counts as work of kind w. If expected is not nil, it returns the index of
// the first byte that is not as expected; otherwise, or if there is none, -1.
func (u *Unit) compare(c *Command, w *workCounter, off, n int64, expected *iov.Reader) (at int64, s Sense) {
	scratch := u.scratch.Get().(*[scratchSize]byte)
	defer u.scratch.Put(scratch)
	for done := int64(0); done < n; {
		piece := scratch[:min(n-done, scratchSize)]
		if s := u.load(c, w, [][]byte{piece}, off+done); !s.OK() {
			return -1, s
		}
		if expected != nil {
			if i := expected.Mismatch(piece); i >= 0 {
				return done + int64(i), Sense{}
			}
		}
		done += int64(len(piece))
	}
	return -1, Sense{}
}

// preFetch is PRE-FETCH (SBC-3). The unit has no read cache of its own, but what
// is below the medium may have one, and reading fills it. As much is read as the
// maximum transfer length allows, and CONDITION MET says that this was all.
// IMMED does not make it return earlier.
func preFetch(u *Unit, c *Command) Sense {
	e := cdbExtent(c.CDB)
	off, n, s := u.locate(e)
	if !s.OK() {
		return s
	}
	if e.blocks == 0 { // up to the last block
		n = int64((u.Blocks() - e.lba) << u.shift)
	}
	most := int64(u.config.Limits.MaxTransfer) << u.shift
	if _, s := u.compare(c, &u.counters.read, off, min(n, most), nil); !s.OK() {
		return s
	}
	if n <= most {
		c.Status = StatusConditionMet
	}
	return Sense{}
}
