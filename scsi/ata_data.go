package scsi

import (
	"encoding/binary"

	"github.com/govmm/govmm/internal/iov"
)

// ataExtent is the extent of a command that moves blocks.
func (u *Unit) ataExtent(t *taskFile) extent {
	e := extent{lba: t.lba, blocks: uint32(t.count)}
	if !t.extended {
		e.lba |= uint64(t.device&0x0F) << 24
	}
	if e.blocks == 0 {
		e.blocks = 256
		if t.extended {
			e.blocks = 65536
		}
	}
	return e
}

// ataOutcome is what a SCSI command's end means to an ATA command.
func (t *taskFile) ataOutcome(c *Command, s Sense) Sense {
	switch {
	case s.OK():
		t.count = 0
		return s
	case s.Code == ASCLBAOutOfRange:
		return t.fail(ataNoID)
	case s.Key == KeyMediumError:
		t.status, t.error = ataReady|ataError, ataUNC
		return s
	case c.Err == ErrShortBuffer:
		return s
	}
	return t.fail(ataAborted)
}

func ataRead(u *Unit, c *Command, t *taskFile) Sense {
	return t.ataOutcome(c, u.read(c, u.ataExtent(t), false))
}

func ataWrite(u *Unit, c *Command, t *taskFile) Sense {
	return t.ataOutcome(c, u.write(c, u.ataExtent(t), false))
}

func ataWriteFUA(u *Unit, c *Command, t *taskFile) Sense {
	return t.ataOutcome(c, u.write(c, u.ataExtent(t), true))
}

func ataVerify(u *Unit, c *Command, t *taskFile) Sense {
	off, n, s := u.locate(u.ataExtent(t))
	if s.OK() {
		s = u.check(c, off, n, nil)
	}
	return t.ataOutcome(c, s)
}

func ataFlush(u *Unit, c *Command, t *taskFile) Sense { return t.ataOutcome(c, u.flush(c)) }

// ataTrim is DATA SET MANAGEMENT with TRIM: ranges of 48-bit addresses and 16-bit
// lengths. What the medium cannot give back it keeps.
func ataTrim(u *Unit, c *Command, t *taskFile) Sense {
	const trim, maxBlocks = 0x01, 8
	if t.feature != trim || !canUnmap(u) || t.count == 0 || t.count > maxBlocks {
		return t.abort()
	}
	list := make([]byte, 512*int(t.count))
	if iov.Gather(list, c.Data) != len(list) {
		c.Err = ErrShortBuffer
		return Sense{Key: KeyAbortedCommand, Code: ASCDataPhaseError}
	}
	for check := range 2 {
		for at := 0; at < len(list); at += 8 {
			range64 := binary.LittleEndian.Uint64(list[at:])
			e := extent{lba: range64 & (1<<48 - 1), blocks: uint32(range64 >> 48)}
			if e.blocks == 0 {
				continue
			}
			off, n, s := u.locate(e)
			if s.OK() && check == 1 {
				s = u.discard(c, off, n)
			}
			if !s.OK() {
				return t.ataOutcome(c, s)
			}
		}
	}
	c.Transferred = len(list)
	return t.ataOutcome(c, u.commit(c, false))
}

// ataStandby is STANDBY IMMEDIATE. What is cached goes to the medium; CHECK POWER
// MODE says that the drive stands by until something uses it.
func ataStandby(u *Unit, c *Command, t *taskFile) Sense {
	s := u.flush(c)
	if s.OK() {
		u.StandBy()
	}
	return t.ataOutcome(c, s)
}

// ataIdle is IDLE IMMEDIATE: a drive that does nothing is idle.
func ataIdle(u *Unit, _ *Command, _ *taskFile) Sense {
	u.standby.Store(false)
	return Sense{}
}

// ataCheckPower is CHECK POWER MODE.
func ataCheckPower(u *Unit, _ *Command, t *taskFile) Sense {
	if t.count = 0xFF; u.standsBy() { // active or idle
		t.count = 0x00
	}
	return Sense{}
}

// ataSetFeatures is SET FEATURES: the write cache, and transfer modes, which
// mean nothing on SATA.
func ataSetFeatures(u *Unit, c *Command, t *taskFile) Sense {
	const cacheOn, transferMode, cacheOff = 0x02, 0x03, 0x82
	switch t.feature {
	case transferMode:
		return Sense{}
	case cacheOn, cacheOff:
		if u.config.FixedWriteCache {
			return t.abort()
		}
		if err := u.SetWriteCache(t.feature == cacheOn); err != nil {
			return t.ataOutcome(c, c.failed(err, ASCWriteError))
		}
		return Sense{}
	}
	return t.abort()
}
