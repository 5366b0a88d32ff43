package scsi

import (
	"encoding/binary"

	"github.com/govmm/govmm/internal/iov"
)

// Lengths in bytes of the parts of the parameter list of UNMAP (SBC-3).
const (
	unmapHeader     = 8
	unmapDescriptor = 16
)

// canUnmap says if the unit is thin provisioned: UNMAP is there, and capacity
// data and VPD pages say so.
func canUnmap(u *Unit) bool { return u.medium.CanDiscard() }

// unmap is UNMAP (SBC-3). The whole list is checked before anything is
// unmapped.
func unmap(u *Unit, c *Command) Sense {
	length := int(binary.BigEndian.Uint16(c.CDB[7:]))
	if length == 0 {
		return Sense{}
	}
	if length < unmapHeader || length > iov.Len(c.Data) {
		return illegalRequest(ASCParameterListLengthError)
	}
	list := make([]byte, length)
	iov.Gather(list, c.Data)
	c.Transferred = length

	// A descriptor that the list does not hold completely is ignored.
	described := min(int(binary.BigEndian.Uint16(list[2:])), length-unmapHeader)
	count := described / unmapDescriptor
	if count > int(u.config.Limits.MaxUnmapDescriptors) {
		return invalidParameter(2)
	}
	left := u.config.Limits.MaxUnmap
	for i := range count {
		e := unmapExtent(list, i)
		if e.blocks == 0 {
			continue
		}
		if _, _, s := u.locate(e); !s.OK() {
			return s
		}
		if e.blocks > left {
			return invalidParameter(unmapHeader + i*unmapDescriptor + 8)
		}
		left -= e.blocks
	}
	for i := range count {
		e := unmapExtent(list, i)
		if e.blocks == 0 {
			continue
		}
		// The medium may have shrunk since the check.
		off, n, s := u.locate(e)
		if !s.OK() {
			return s
		}
		if s := u.discard(c, off, n); !s.OK() {
			return s
		}
	}
	return u.commit(c, false)
}

// unmapExtent decodes descriptor i.
func unmapExtent(list []byte, i int) extent {
	d := list[unmapHeader+i*unmapDescriptor:]
	return extent{lba: binary.BigEndian.Uint64(d), blocks: binary.BigEndian.Uint32(d[8:])}
}

// writeSame is WRITE SAME (SBC-3). With UNMAP, blocks of zeroes
// are unmapped where the medium can; any other data is written, as the standard
// has it for data that unmapped blocks would not read as.
func writeSame(u *Unit, c *Command) Sense {
	const bitNDOB, bitUnmap = 0, 3
	unmap := c.CDB[1]>>bitUnmap&1 != 0
	if unmap && !canUnmap(u) {
		return invalidField(1, bitUnmap)
	}
	e := cdbExtent(c.CDB)
	off, n, s := u.locateAtMost(u.config.Limits.MaxWriteSame, e)
	if !s.OK() {
		return s
	}
	if e.blocks == 0 {
		return e.lengthRefused() // WSNZ is set in VPD page B0h
	}

	scratch := u.scratch.Get().(*[scratchSize]byte)
	defer u.scratch.Put(scratch)
	block := scratch[:u.config.BlockSize]
	if c.CDB[1]>>bitNDOB&1 != 0 {
		clear(block)
	} else {
		data, s := c.take(int64(len(block)))
		if !s.OK() {
			return s
		}
		c.Transferred = iov.Gather(block, data)
	}
	if allZero(block) {
		if s := u.storeZeroes(c, off, n, unmap); !s.OK() {
			return s
		}
		return u.commit(c, false)
	}

	for filled := len(block); filled < len(scratch); filled *= 2 {
		copy(scratch[filled:], scratch[:filled])
	}
	for done := int64(0); done < n; {
		piece := scratch[:min(n-done, scratchSize)]
		if s := u.store(c, [][]byte{piece}, off+done); !s.OK() {
			return s
		}
		done += int64(len(piece))
	}
	return u.commit(c, false)
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
