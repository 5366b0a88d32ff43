package megasas

import (
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// physical is a drive as a SCSI target of its own.
type physical struct {
	drive  *raid.PhysicalDrive
	unit   *scsi.Unit
	vitals *vitals
	luck   lucks // of inline

	onError ErrorPolicy // also of the volumes on it
}

// invalidOpcode is the sense data for a command that a target does not take:
// ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE.
var invalidOpcode = [18]byte{0: 0x70, 2: 0x05, 7: 10, 12: 0x20}

// memberCommands are what a member of an array does for the host itself: tell
// about itself. The data belongs to the volume.
var memberCommands = [256]bool{
	0x00: true, // TEST UNIT READY
	0x03: true, // REQUEST SENSE
	0x12: true, // INQUIRY
	0x1a: true, // MODE SENSE(6)
	0x1d: true, // SEND DIAGNOSTIC
	0x1c: true, // RECEIVE DIAGNOSTIC RESULTS
	0x25: true, // READ CAPACITY(10)
	0x37: true, // READ DEFECT DATA(10)
	0x4d: true, // LOG SENSE
	0x5a: true, // MODE SENSE(10)
	0x9e: true, // SERVICE ACTION IN(16): READ CAPACITY(16)
	0xa0: true, // REPORT LUNS
	0xa3: true, // MAINTENANCE IN
	0xb7: true, // READ DEFECT DATA(12)
}

// volumeCDB is LD_SCSI_IO.
func (r *request) volumeCDB() mfi.Status {
	ld, status := r.c.logicalDrive(r.frame.Target())
	if ld == nil {
		return status
	}
	return r.cdb(ld.unit)
}

// driveCDB is PD_SCSI_IO.
func (r *request) driveCDB() mfi.Status {
	f := r.frame
	if int(f.Target()) >= len(r.c.physicals) {
		return mfi.StatusDeviceNotFound
	}
	pd := r.c.physicals[f.Target()].Load()
	if pd == nil {
		return mfi.StatusDeviceNotFound
	}
	switch pd.drive.State() {
	case raid.System, raid.UnconfiguredGood:
	default:
		cdb := f.CDB()
		if !memberCommands[cdb[0]] && !scsi.ATAReadOnly(cdb[:]) {
			return r.invalidOpcode()
		}
	}
	return r.cdb(pd.unit)
}

// cdb carries out the frame's CDB.
func (r *request) cdb(unit *scsi.Unit) mfi.Status {
	f := r.frame
	cdb := f.CDB()
	if n := int(f.CDBLen()); n == 0 || n > len(cdb) {
		return r.invalidOpcode()
	}
	if uint64(f.DataLen()) > uint64(r.c.p.MaxRequestSectors)*raid.BlockSize {
		return mfi.StatusInvalidParameter
	}
	if err := r.mapData(uint64(f.DataLen())); err != nil {
		return r.refuse(err)
	}
	r.cmd.CDB, r.cmd.LUN, r.cmd.Data = cdb[:f.CDBLen()], f.LUN(), r.data
	unit.Execute(&r.cmd)
	return r.scsiResult()
}

func (r *request) invalidOpcode() mfi.Status {
	r.scsiStatus = scsi.StatusCheckCondition
	r.putSense(invalidOpcode[:])
	return mfi.StatusSCSIDoneWithError
}
