package scsi

import (
	"context"
	"encoding/binary"
	"math"
	"sync/atomic"

	"github.com/govmm/govmm/internal/iov"
)

// sanitizeState is where the unit is with SANITIZE (SBC-3). It outlives a reset
// of the unit, but not the unit.
type sanitizeState struct {
	value    atomic.Uint32
	progress atomic.Uint32 // while it runs, in parts of 65536
}

const (
	sanitizeNone uint32 = iota
	sanitizeRunning
	sanitizeFailed         // the medium is not accessible until it is sanitized
	sanitizeFailedLeavable // or until EXIT FAILURE MODE, since AUSE was set
)

// check says what stands against a command that needs the medium.
func (z *sanitizeState) check() Sense {
	switch z.value.Load() {
	case sanitizeNone:
		return Sense{}
	case sanitizeRunning:
		return z.inProgress()
	}
	return Sense{Key: KeyMediumError, Code: ASCSanitizeFailed}
}

// inProgress is what commands are told that need the medium meanwhile.
func (z *sanitizeState) inProgress() Sense {
	return Sense{Key: KeyNotReady, Code: ASCSanitizeInProgress, HasProgress: true, Progress: uint16(z.progress.Load())}
}

// report says how far it is.
func (z *sanitizeState) report(done, total float64) {
	z.progress.Store(uint32(done / total * math.MaxUint16))
}

// begin reports whether the caller is the one to sanitize.
func (z *sanitizeState) begin() bool {
	if z.value.Swap(sanitizeRunning) == sanitizeRunning {
		return false
	}
	z.progress.Store(0)
	return true
}

// Parts of the parameter list of SANITIZE with OVERWRITE.
const (
	overwriteHeader = 4
	overwriteInvert = 0x80
	overwriteTest   = 0x60
	overwriteCount  = 0x1F
)

// sanitizePiece is the most that is erased in one call to the medium.
const sanitizePiece = 64 << 20

// canBlockErase says if the unit has SANITIZE with BLOCK ERASE: what the medium
// gives back must read as zeroes.
func canBlockErase(u *Unit) bool { return canUnmap(u) && u.medium.DiscardZeroes() }

// sanitizeOverwrite is SANITIZE with OVERWRITE: all blocks are written with the
// pattern, in each of its passes.
func sanitizeOverwrite(u *Unit, c *Command) Sense {
	length := int(binary.BigEndian.Uint16(c.CDB[7:]))
	if length <= overwriteHeader || length > overwriteHeader+int(u.config.BlockSize) {
		return invalidField(7, 7)
	}
	if length > iov.Len(c.Data) {
		return illegalRequest(ASCParameterListLengthError)
	}
	list := make([]byte, length)
	iov.Gather(list, c.Data)
	passes := int(list[0] & overwriteCount)
	n := int(binary.BigEndian.Uint16(list[2:]))
	switch {
	case list[0]&overwriteTest != 0:
		return invalidParameterBit(0, 6)
	case passes == 0:
		return invalidParameterBit(0, 4)
	case n == 0 || n > int(u.config.BlockSize):
		return invalidParameter(2)
	case n != length-overwriteHeader:
		return illegalRequest(ASCParameterListLengthError)
	}
	s := u.sanitize(c, func(ctx context.Context, c *Command, size int64) Sense {
		scratch := u.scratch.Get().(*[scratchSize]byte)
		defer u.scratch.Put(scratch)
		for at := range scratch { // each block starts with the pattern
			scratch[at] = list[overwriteHeader+at%int(u.config.BlockSize)%n]
		}
		for pass := range passes {
			if pass > 0 && list[0]&overwriteInvert != 0 {
				for at := range scratch {
					scratch[at] = ^scratch[at]
				}
			}
			if s := u.overwrite(ctx, c, scratch[:], size, pass, passes); !s.OK() {
				return s
			}
		}
		return Sense{}
	})
	if s.OK() {
		c.Transferred = length
	}
	return s
}

// overwrite is one of the passes of OVERWRITE.
func (u *Unit) overwrite(ctx context.Context, c *Command, data []byte, size int64, pass, passes int) Sense {
	for off := int64(0); off < size; {
		if ctx.Err() != nil {
			return sanitizeCutOff()
		}
		u.sanitizing.report(float64(size)*float64(pass)+float64(off), float64(size)*float64(passes))
		piece := data[:min(size-off, int64(len(data)))]
		err := u.medium.WriteV([][]byte{piece}, off)
		if s := u.done(c, &u.counters.write, int64(len(piece)), err, ASCWriteError); !s.OK() {
			return s
		}
		off += int64(len(piece))
	}
	return u.flush(c)
}

// sanitizeBlockErase is SANITIZE with BLOCK ERASE: the storage of all blocks is
// given back.
func sanitizeBlockErase(u *Unit, c *Command) Sense {
	return u.sanitize(c, func(ctx context.Context, c *Command, size int64) Sense {
		for off := int64(0); off < size; {
			if ctx.Err() != nil {
				return sanitizeCutOff()
			}
			u.sanitizing.report(float64(off), float64(size))
			n := min(size-off, sanitizePiece)
			err := u.medium.WriteZeroes(off, n, true)
			if s := u.done(c, &u.counters.write, n, err, ASCWriteError); !s.OK() {
				return s
			}
			off += n
		}
		return u.flush(c)
	})
}

// sanitizeCutOff is the end of one that could not go on.
func sanitizeCutOff() Sense { return Sense{Key: KeyMediumError, Code: ASCSanitizeFailed} }

// sanitize lets do change size bytes of the medium, which nothing else can use
// meanwhile. With IMMED it returns when that has begun, and how far it is is
// told to all commands that need the medium.
func (u *Unit) sanitize(c *Command, do func(ctx context.Context, c *Command, size int64) Sense) Sense {
	const immed, ause = 0x80, 0x20
	if u.stopped.Load() {
		return Sense{Key: KeyNotReady, Code: ASCNotReadyInitializingRequired}
	}
	u.changes.Lock() // what was let through before comes to its end
	begun := u.sanitizing.begin()
	u.changes.Unlock()
	if !begun {
		return u.sanitizing.inProgress()
	}
	failed := sanitizeFailed
	if c.CDB[1]&ause != 0 {
		failed = sanitizeFailedLeavable
	}
	size := int64(u.Blocks() << u.shift)
	work := func(ctx context.Context, c *Command) Sense {
		if s := do(ctx, c, size); !s.OK() {
			u.sanitizing.value.Store(failed)
			return u.sanitizing.check()
		}
		u.sanitizing.value.Store(sanitizeNone)
		return Sense{}
	}
	if c.CDB[1]&immed == 0 {
		return work(context.Background(), c)
	}
	if !u.background.begin(func(ctx context.Context) { work(ctx, new(Command)) }) {
		u.sanitizing.value.Store(sanitizeNone)
		return Sense{Key: KeyNotReady, Code: ASCNotReadyCauseNotReportable}
	}
	return Sense{}
}

// sanitizeExitFailure is SANITIZE with EXIT FAILURE MODE: the medium is
// accessible again after a failure, if the command that failed has allowed it.
func sanitizeExitFailure(u *Unit, _ *Command) Sense {
	if u.sanitizing.value.CompareAndSwap(sanitizeFailedLeavable, sanitizeNone) {
		return Sense{}
	}
	switch u.sanitizing.value.Load() {
	case sanitizeRunning:
		return u.sanitizing.inProgress()
	case sanitizeFailed:
		return invalidField(1, 4)
	}
	return Sense{}
}
