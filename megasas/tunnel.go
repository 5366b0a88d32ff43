package megasas

import (
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// smp is an SMP frame: a request for an expander, by its SAS address. Drives are
// attached directly, and they and the card itself are no SMP targets: no address
// answers.
func (r *request) smp() mfi.Status { return mfi.StatusDeviceNotFound }

// stp is an STP frame: the registers of an ATA command for a SATA drive. The
// drive's registers come back in the first element of the list, and data goes to
// or from the second.
func (r *request) stp() mfi.Status {
	f := r.frame
	if int(f.Target()) >= len(r.c.physicals) {
		return mfi.StatusDeviceNotFound
	}
	pd := r.c.physicals[f.Target()].Load()
	switch {
	case pd == nil:
		return mfi.StatusDeviceNotFound
	case pd.drive.Identity().Interface != raid.SATA:
		return mfi.StatusPDTypeWrong
	}
	fis := f.FIS()
	switch pd.drive.State() {
	case raid.System, raid.UnconfiguredGood:
	default:
		if !scsi.FISReadOnly(fis) {
			return mfi.StatusWrongState // the data belongs to the volume
		}
	}
	answer, data, err := r.tunnelWindows()
	if err != nil {
		return r.refuse(err)
	}
	r.cmd.CDB, r.cmd.LUN, r.cmd.Data = nil, 0, data
	back := pd.unit.ExecuteFIS(&r.cmd, fis)
	if r.cmd.Err != nil {
		if status, gone := leftWhile(r.cmd.Err); gone {
			return status
		}
		r.ioFailed(r.cmd.Err)
		r.cmd.CountFailure() // as it is always told
	}
	if answer > 0 && r.c.dma.WriteAt(back[:min(answer, uint32(len(back)))], f.TunnelElement(0).Addr) != nil {
		return mfi.StatusInvalidSGL
	}
	if scsi.FISFailed(back) {
		return mfi.StatusSCSIIOFailed
	}
	return mfi.StatusOK
}

// tunnelWindows is the room for the answer, and the windows of guest memory for
// the data: as much as the card takes in one frame.
func (r *request) tunnelWindows() (answer uint32, data [][]byte, err error) {
	e := r.frame.TunnelElement(1)
	if uint64(e.Len) > uint64(r.c.p.MaxRequestSectors)*raid.BlockSize {
		return 0, nil, &mfi.Error{Status: mfi.StatusInvalidSGL, Reason: "more data than in one frame"}
	}
	r.data = r.data[:0]
	if e.Len > 0 {
		if r.data, err = r.c.dma.Append(r.data, e.Addr, uint64(e.Len)); err != nil {
			return 0, nil, &mfi.Error{Status: mfi.StatusInvalidSGL, Reason: "scatter-gather element is not in memory"}
		}
	}
	return r.frame.TunnelElement(0).Len, r.data, nil
}
