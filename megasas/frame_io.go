package megasas

import (
	"errors"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// logical is a volume as a SCSI target.
type logical struct {
	volume *raid.Volume
	unit   *scsi.Unit

	luck lucks // of inline
}

// maxSense is the most sense data to return: Linux copies as much as it is told
// into an array of this size.
const maxSense = 96

// transfer is LD_READ and LD_WRITE.
func (r *request) transfer() mfi.Status {
	f := r.frame
	ld, status := r.c.logicalDrive(f.Target())
	if ld == nil {
		return status
	}
	lba, blocks := f.LBA(), f.Blocks()
	r.data = r.data[:0]
	// An extent that is not on the volume is the unit's to refuse, whatever the
	// list looks like.
	if end := ld.unit.Blocks(); uint64(blocks) <= end && lba <= end-uint64(blocks) {
		length := uint64(blocks) * uint64(ld.unit.BlockSize())
		if length > uint64(r.c.p.MaxRequestSectors)*raid.BlockSize {
			return mfi.StatusInvalidParameter
		}
		if err := r.mapData(length); err != nil {
			return r.refuse(err)
		}
	}
	fua := f.AccessByte()&mfi.AccessFUA != 0
	r.cmd.Data = r.data
	if f.Cmd() == mfi.CmdLDRead {
		ld.unit.Read(&r.cmd, lba, blocks, fua)
	} else {
		ld.unit.Write(&r.cmd, lba, blocks, fua)
	}
	return r.scsiResult()
}

// logicalDrive returns the logical drive of a target id, or the status that its
// absence is answered with.
func (c *Controller) logicalDrive(target uint8) (*logical, mfi.Status) {
	if int(target) >= len(c.logicals) {
		return nil, mfi.StatusDeviceNotFound
	}
	ld := c.logicals[target].Load()
	if ld == nil {
		return nil, mfi.StatusDeviceNotFound
	}
	if ld.volume.State() == raid.VolumeOffline {
		return nil, mfi.StatusLDOffline
	}
	return ld, mfi.StatusOK
}

// scsiResult turns the outcome of r.cmd into the frame's status and sense data.
func (r *request) scsiResult() mfi.Status {
	cmd := &r.cmd
	if cmd.Err != nil {
		if status, gone := leftWhile(cmd.Err); gone {
			return status
		}
		if errors.Is(cmd.Err, scsi.ErrShortBuffer) {
			return r.refuse(&mfi.Error{Status: mfi.StatusInvalidSGL, Reason: "command moves more data than the frame has"})
		}
		switch r.ioFailed(cmd.Err) {
		case StopOnError:
			return mfi.StatusPending
		case IgnoreError:
			cmd.Status = scsi.StatusGood
		default:
			cmd.CountFailure()
		}
	}
	r.scsiStatus = cmd.Status
	if cmd.Status == scsi.StatusGood {
		return mfi.StatusOK
	}
	if cmd.Status == scsi.StatusCheckCondition {
		r.putSense(cmd.Sense)
	}
	return mfi.StatusSCSIDoneWithError
}

// leftWhile tells whether a command failed because what it was for left while it
// was on its way, or is being initialized, and what that is answered with: the
// same as a moment later.
func leftWhile(err error) (status mfi.Status, gone bool) {
	switch {
	case errors.Is(err, raid.ErrOffline):
		return mfi.StatusLDOffline, true
	case errors.Is(err, raid.ErrInitializing):
		return mfi.StatusLDInitInProgress, true
	case errors.Is(err, raid.ErrDeleted), errors.Is(err, raid.ErrRemoved):
		return mfi.StatusDeviceNotFound, true
	}
	return mfi.StatusOK, false
}

// putSense writes sense data where the frame says, as much as the guest has
// room for. A bad address costs the guest its sense data and nothing else.
func (r *request) putSense(sense []byte) {
	r.sense = sense
	n := min(len(sense), int(r.frame.SenseLen()), maxSense)
	if n > 0 && r.c.dma.WriteAt(sense[:n], r.frame.SenseAddr()) != nil {
		n = 0
	}
	r.senseLen = uint8(n)
}
