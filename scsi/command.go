package scsi

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/govmm/govmm/internal/iov"
)

// ErrShortBuffer is a Command's Err if the CDB asks for more bytes of blocks
// than the data buffer has. The medium was not touched.
var ErrShortBuffer = errors.New("scsi: the data buffer is shorter than the transfer")

// Command is one SCSI command and its outcome. The fields above Status are the
// caller's; those from Status on are set by Execute, Read and Write. A Command
// can be used again, and must not be copied while its Sense is in use.
type Command struct {
	// CDB is the command descriptor block. It may be longer than the command,
	// as a fixed field of a frame is; it must not change while the command runs.
	CDB []byte
	// LUN is the logical unit that the command is for.
	LUN uint8
	// Data is the initiator's buffer. Its elements may be shortened.
	Data [][]byte
	// DeferFailure leaves it to the caller whether a failure of the Medium is counted, by
	// CountFailure: who may carry out the command again, or say that it was done, tells
	// the initiator of no failure, and then no page of the unit must.
	DeferFailure bool

	// Status is the SCSI status.
	Status Status
	// Sense is the sense data if Status is CHECK CONDITION, and nil otherwise:
	// SenseSize bytes in fixed format or, once the initiator has set D_SENSE,
	// at most MaxSenseSize bytes in descriptor format. It is valid until the
	// Command is used again.
	Sense []byte
	// Transferred is the number of bytes moved from or to Data; 0 with sense data.
	Transferred int
	// Err is the cause of a failure that is not a matter of the CDB:
	// ErrShortBuffer, or what the Medium returned. It is for logs; Status and
	// Sense say what the initiator is to be told.
	Err error

	sense [MaxSenseSize]byte
	// failure is where a failure is counted that was not yet.
	failure *atomic.Uint64
	// lane is where the bytes of this Command are counted, from 1; 0 is not chosen.
	lane uint32
}

// begin clears the outcome.
func (c *Command) begin() {
	c.Status, c.Sense, c.Transferred, c.Err, c.failure = StatusGood, nil, 0, nil, nil
}

// CountFailure counts the failure of a Command with DeferFailure, once, if there was one.
func (c *Command) CountFailure() {
	if c.failure != nil {
		c.failure.Add(1)
		c.failure = nil
	}
}

// failedIn counts a failure in n, or leaves that to CountFailure.
func (c *Command) failedIn(n *atomic.Uint64) {
	if c.DeferFailure {
		c.failure = n
		return
	}
	n.Add(1)
}

// end sets Status and Sense from s. A handler that succeeds with a status other
// than GOOD has set it.
func (c *Command) end(s Sense, descriptor bool) {
	if s.OK() {
		return
	}
	c.Status, c.Transferred = StatusCheckCondition, 0
	if descriptor {
		c.Sense = s.appendDescriptor(c.sense[:0])
		return
	}
	s.fixed((*[SenseSize]byte)(c.sense[:]))
	c.Sense = c.sense[:SenseSize]
}

// reply moves a response to the data buffer, cut to the allocation length.
func (c *Command) reply(p []byte, allocation uint32) Sense {
	c.Transferred = iov.Scatter(c.Data, p[:min(uint64(len(p)), uint64(allocation))])
	return Sense{}
}

// take returns the first n bytes of the data buffer for a transfer of blocks.
func (c *Command) take(n int64) ([][]byte, Sense) {
	if int64(iov.Len(c.Data)) < n {
		c.Err = ErrShortBuffer
		return nil, Sense{Key: KeyAbortedCommand, Code: ASCDataPhaseError}
	}
	return iov.Trim(c.Data, int(n)), Sense{}
}

// String describes the command and its outcome for traces.
func (c *Command) String() string {
	text := CommandName(c.CDB)
	if e, ok := extentOf(c.CDB); ok {
		text += fmt.Sprintf(" LBA %d, %d blocks", e.lba, e.blocks)
	}
	text += fmt.Sprintf(": %v, %d bytes", c.Status, c.Transferred)
	if s, ok := ParseSense(c.Sense); ok {
		text += ", " + s.Error()
	}
	if c.Err != nil {
		text += fmt.Sprintf(" (%v)", c.Err)
	}
	return text
}
