package scsi

import "github.com/govmm/govmm/internal/iov"

// verify is VERIFY (SBC-3): the blocks are read, and with BYTCHK
// compared with the data buffer. Like READ it is subject to the maximum
// transfer length, also where no data is moved, so that it ends soon.
func verify(u *Unit, c *Command) Sense {
	e := cdbExtent(c.CDB)
	off, n, s := u.locateAtMost(u.config.Limits.MaxTransfer, e)
	if !s.OK() || n == 0 {
		return s
	}
	compare := c.CDB[1]&0x02 != 0
	var data [][]byte
	if compare {
		if data, s = c.take(n); !s.OK() {
			return s
		}
	}
	// The medium is to be checked, so what is cached goes there first.
	if s := u.writeOut(c); !s.OK() {
		return s
	}

	scratch := u.scratch.Get().(*[scratchSize]byte)
	defer u.scratch.Put(scratch)
	expected := iov.NewReader(data)
	for done := int64(0); done < n; {
		piece := scratch[:min(n-done, scratchSize)]
		if err := u.medium.ReadV([][]byte{piece}, off+done); err != nil {
			return c.failed(err, ASCUnrecoveredReadError)
		}
		if compare {
			if at := expected.Mismatch(piece); at >= 0 {
				lba := uint64(off+done+int64(at)) >> u.shift
				return Sense{Key: KeyMiscompare, Code: ASCMiscompareDuringVerify, HasInfo: true, Info: lba}
			}
		}
		done += int64(len(piece))
	}
	if compare {
		c.Transferred = int(n)
	}
	return Sense{}
}
