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
	// erasure is what runs. It changes within steps of Unit.background.
	erasure atomic.Pointer[Erasure]
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
	s := u.sanitize(c, &Erasure{
		Pattern: list[overwriteHeader:], Passes: passes, Invert: list[0]&overwriteInvert != 0,
	})
	if s.OK() {
		c.Transferred = length
	}
	return s
}

// sanitizeBlockErase is SANITIZE with BLOCK ERASE: the storage of all blocks is
// given back.
func sanitizeBlockErase(u *Unit, c *Command) Sense { return u.sanitize(c, new(Erasure)) }

// Erasure is a SANITIZE that is under way: what it does, and how far it is.
type Erasure struct {
	Pattern  []byte // of OVERWRITE: each block starts with it; nil is BLOCK ERASE
	Passes   int    // of OVERWRITE, 1 to 31
	Invert   bool   // of OVERWRITE: every other pass writes the complement
	Leavable bool   // EXIT FAILURE MODE ends its failure (AUSE)
	Size     int64  // bytes to erase

	Pass   int   // from 0
	Offset int64 // in bytes; what is before it is done in this pass
}

// run erases what is left, in pieces between which it can be held.
func (e *Erasure) run(ctx context.Context, u *Unit, c *Command) Sense {
	scratch := u.scratch.Get().(*[scratchSize]byte)
	defer u.scratch.Put(scratch)
	passes := max(e.Passes, 1)
	filled := -1 // the pass that scratch is for
	for e.Pass < passes {
		var s Sense
		goes := u.background.step(ctx, func() {
			if e.Pattern != nil && filled != e.Pass {
				e.fill(scratch[:], int(u.config.BlockSize))
				filled = e.Pass
			}
			e.report(&u.sanitizing)
			s = e.piece(u, c, scratch[:])
		})
		if !goes {
			return Sense{Key: KeyMediumError, Code: ASCSanitizeFailed}
		}
		if !s.OK() {
			return s
		}
	}
	return Sense{}
}

// report tells how far it is.
func (e *Erasure) report(z *sanitizeState) {
	passes := int64(max(e.Passes, 1))
	done := float64(e.Size)*float64(e.Pass) + float64(e.Offset)
	z.progress.Store(uint32(done / (float64(e.Size) * float64(passes)) * math.MaxUint16))
}

// fill makes blocks of the pattern of a pass.
func (e *Erasure) fill(b []byte, block int) {
	for at := range b {
		if b[at] = e.Pattern[at%block%len(e.Pattern)]; e.Invert && e.Pass%2 != 0 {
			b[at] = ^b[at]
		}
	}
}

// piece erases a piece, and goes on behind it: after the last one, which ends with
// all being durable, in the next pass.
func (e *Erasure) piece(u *Unit, c *Command, pattern []byte) Sense {
	n, err := min(e.Size-e.Offset, sanitizePiece), error(nil)
	if e.Pattern != nil {
		n = min(n, int64(len(pattern)))
		err = u.medium.WriteV([][]byte{pattern[:n]}, e.Offset)
	} else {
		err = u.medium.WriteZeroes(e.Offset, n, true)
	}
	s := u.done(c, &u.counters.write, n, err, ASCWriteError)
	switch last := e.Offset+n == e.Size; {
	case !s.OK():
		return s
	case !last:
		e.Offset += n
		return s
	}
	if s = u.flush(c); s.OK() {
		e.Pass, e.Offset = e.Pass+1, 0
	}
	return s
}

// sanitize carries out an erasure of the medium, which nothing else can use
// meanwhile. With IMMED it returns when that has begun, and how far it is is
// told to all commands that need the medium.
func (u *Unit) sanitize(c *Command, e *Erasure) Sense {
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
	e.Leavable, e.Size = c.CDB[1]&ause != 0, int64(u.Blocks()<<u.shift)
	if c.CDB[1]&immed == 0 {
		return u.erase(context.Background(), c, e)
	}
	if !u.eraseInBackground(e) {
		u.sanitizing.value.Store(sanitizeNone)
		return Sense{Key: KeyNotReady, Code: ASCNotReadyCauseNotReportable}
	}
	return Sense{}
}

// erase carries out an erasure that has begun, to its end.
func (u *Unit) erase(ctx context.Context, c *Command, e *Erasure) Sense {
	u.sanitizing.erasure.Store(e)
	defer u.sanitizing.erasure.Store(nil)
	if s := e.run(ctx, u, c); !s.OK() {
		failed := sanitizeFailed
		if e.Leavable {
			failed = sanitizeFailedLeavable
		}
		u.sanitizing.value.Store(failed)
		return u.sanitizing.check()
	}
	u.sanitizing.value.Store(sanitizeNone)
	return Sense{}
}

// eraseInBackground is erase after its command. It reports false if the unit is
// closed.
func (u *Unit) eraseInBackground(e *Erasure) bool {
	u.sanitizing.erasure.Store(e)
	if u.background.begin(func(ctx context.Context) { u.erase(ctx, new(Command), e) }) {
		return true
	}
	u.sanitizing.erasure.Store(nil)
	return false
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
