package nbd

import "github.com/govmm/govmm/internal/nbdproto"

type command uint16

// commands is how many there are.
const commands = 8

// allowedFlags are the command flags that each command knows.
var allowedFlags = [commands]uint16{
	nbdproto.CmdRead:        nbdproto.CmdFlagDF | nbdproto.CmdFlagFUA,
	nbdproto.CmdWrite:       nbdproto.CmdFlagFUA,
	nbdproto.CmdTrim:        nbdproto.CmdFlagFUA,
	nbdproto.CmdFlush:       nbdproto.CmdFlagFUA,
	nbdproto.CmdCache:       nbdproto.CmdFlagFUA,
	nbdproto.CmdWriteZeroes: nbdproto.CmdFlagFUA | nbdproto.CmdFlagNoHole | nbdproto.CmdFlagFastZero,
	nbdproto.CmdBlockStatus: nbdproto.CmdFlagReqOne | nbdproto.CmdFlagFUA,
}

// Flags of the metadata context base:allocation.
const (
	// StatusHole says that no storage stands behind the range.
	StatusHole = 1 << 0
	// StatusZero says that the range reads as zeroes.
	StatusZero = 1 << 1
)

// BaseAllocation is the metadata context of the protocol itself: what is
// allocated, and what reads as zeroes.
const BaseAllocation = "base:allocation"

const (
	maxName       = 4096     // bytes of an export name or a string
	maxOptionData = 64 << 10 // bytes of data of one option
	maxQueries    = 1024     // queries in one option about metadata contexts

	// MaxRequest is the most bytes that one READ or WRITE may move.
	MaxRequest = 32 << 20
)
