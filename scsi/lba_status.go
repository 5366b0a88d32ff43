package scsi

import (
	"encoding/binary"
	"math"
)

// Mapper is what a Medium has besides if it knows which of its bytes have
// storage behind them. A thin provisioned unit over it has GET LBA STATUS.
type Mapper interface {
	// Allocated reports whether the byte at off has storage behind it, and how
	// many of the n bytes from there on are known to be alike: from 1 to n, not
	// necessarily as many as there are. Bytes without storage read as those
	// that Discard has given back do, and only such count as not allocated.
	Allocated(off, n int64) (allocated bool, length int64, err error)
}

// Bounds of one GET LBA STATUS; an initiator asks again for what follows.
const (
	maxLBAStatus    = 256  // descriptors in the response
	maxMapperVisits = 4096 // calls of the Mapper
)

// Lengths in bytes of the parts of the response, and PROVISIONING STATUS.
const (
	lbaStatusHeader     = 8
	lbaStatusDescriptor = 16
	lbaMapped           = 0x00
	lbaDeallocated      = 0x01
)

// canMap says if the unit has GET LBA STATUS.
func canMap(u *Unit) bool { return u.mapper != nil && canUnmap(u) }

// getLBAStatus is GET LBA STATUS (SBC-3). A block is deallocated if no byte of
// it has storage. Neighbours in the response differ, but where the number of
// blocks has no place in a descriptor.
func getLBAStatus(u *Unit, c *Command) Sense {
	allocation := binary.BigEndian.Uint32(c.CDB[10:])
	lba := binary.BigEndian.Uint64(c.CDB[2:])
	off, _, s := u.locate(extent{lba: lba, lbaAt: 2})
	if !s.OK() {
		return s
	}
	end := int64(u.Blocks() << u.shift)
	most := 1 // the first is there, even if the allocation length cuts it
	if allocation > lbaStatusHeader {
		most = max(most, int(min(maxLBAStatus, (allocation-lbaStatusHeader)/lbaStatusDescriptor)))
	}

	b := make([]byte, lbaStatusHeader)
	var run lbaRun
	for visits := 0; off < end && visits < maxMapperVisits; visits++ {
		next, s := u.lbaRun(c, off, end)
		if !s.OK() {
			return s
		}
		if run.blocks != 0 && (run.status != next.status || run.blocks+next.blocks > math.MaxUint32) {
			b = run.append(b)
			run = lbaRun{}
			if len(b) == lbaStatusHeader+most*lbaStatusDescriptor {
				break
			}
		}
		if run.blocks == 0 {
			run = next
		} else {
			run.blocks += next.blocks
		}
		off += int64(next.blocks << u.shift)
	}
	if run.blocks != 0 {
		b = run.append(b)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return c.reply(b, allocation)
}

// lbaRun is a run of blocks of the same state.
type lbaRun struct {
	lba, blocks uint64
	status      byte
}

func (r lbaRun) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.lba)
	b = binary.BigEndian.AppendUint32(b, uint32(r.blocks))
	return append(b, r.status, 0, 0, 0)
}

// lbaRun returns the run of blocks at off, at least one. One that has storage
// for a part only is mapped.
func (u *Unit) lbaRun(c *Command, off, end int64) (lbaRun, Sense) {
	r := lbaRun{lba: uint64(off) >> u.shift, status: lbaMapped}
	most := int64(math.MaxUint32) << u.shift
	allocated, n, err := u.mapper.Allocated(off, min(end-off, most))
	if err != nil {
		return r, c.failed(err, ASCUnrecoveredReadError)
	}
	r.blocks = uint64(max(n, 0)) >> u.shift
	switch {
	case allocated:
		r.blocks = max(r.blocks, 1)
	case r.blocks > 0:
		r.status = lbaDeallocated
	default:
		r.blocks = 1
	}
	r.blocks = min(r.blocks, uint64(end-off)>>u.shift)
	return r, Sense{}
}
