package megasas

import (
	"math"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// pdList is PD_GET_LIST.
func pdList(c *Controller, r *request) mfi.Status {
	v := c.set.View()
	return r.putOrRefuse(mfi.MarshalPDList(pdAddresses(v.Drives)))
}

// pdQuery is PD_LIST_QUERY.
func pdQuery(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	v := c.set.View()
	list := v.Drives
	switch mfi.PDQuery(box[0]) {
	case mfi.PDQueryAll:
	case mfi.PDQueryExposedToHost:
		list = nil
		for _, d := range v.Drives {
			if d.State == raid.System {
				list = append(list, d)
			}
		}
	default:
		return mfi.StatusInvalidParameter
	}
	return r.putOrRefuse(mfi.MarshalPDList(pdAddresses(list)))
}

func pdAddresses(drives []raid.DriveStatus) []mfi.PDAddress {
	var list []mfi.PDAddress
	for _, d := range drives {
		list = append(list, mfi.PDAddress{
			DeviceID:    d.DeviceID,
			EnclosureID: d.Identity.Enclosure,
			Slot:        d.Identity.Slot,
			PortBitmap:  portBitmap(d),
			SASAddress:  [2]uint64{d.Identity.WWN},
		})
	}
	return list
}

// portBitmap is the phy that a drive is attached to.
func portBitmap(d raid.DriveStatus) uint8 { return 1 << (d.Identity.Slot % 8) }

// speed6G is the code for 6 Gb/s.
const speed6G = 3

// pdInfo is PD_GET_INFO.
func pdInfo(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	v := c.set.View()
	d, ok := v.Drive(box.S(0))
	if !ok {
		return mfi.StatusDeviceNotFound
	}
	pd := c.physicals[d.DeviceID].Load()
	if pd == nil {
		return mfi.StatusDeviceNotFound // it was removed just now
	}
	unit := pd.unit
	errs := pd.vitals.counters.Totals()
	x := mfi.PDInfo{
		DeviceID:       d.DeviceID,
		Sequence:       d.Sequence,
		Inquiry:        inquiry(unit, 0, 96),
		VPD83:          inquiry(unit, vpdIdentification, 128),
		PortBitmap:     portBitmap(d),
		SpeedCode:      speed6G,
		MediaErrors:    uint32(min(errs.MediumErrors, math.MaxUint32)),
		OtherErrors:    uint32(min(errs.OtherErrors, math.MaxUint32)),
		Temperature:    uint8(pd.vitals.temperature()),
		State:          pdState(d.State),
		DDFType:        ddfType(d),
		PathCount:      1,
		SASAddress:     [2]uint64{d.Identity.WWN},
		RawSize:        d.Blocks,
		NonCoercedSize: d.Blocks,
		CoercedSize:    d.Blocks,
		EnclosureID:    d.Identity.Enclosure,
		Slot:           d.Identity.Slot,
		BlockSize:      uint16(unit.BlockSize()),
		Progress:       operations(d),
	}
	if d.Identity.Media == raid.SolidState {
		x.MediaType = 1
	}
	x.InterfaceType = mfi.InterfaceSAS
	if d.Identity.Interface == raid.SATA {
		x.InterfaceType = mfi.InterfaceSATA
		x.Properties |= mfi.PDPropertyNCQ
	}
	if unit.SpunDown() {
		x.PowerState = mfi.PowerSave
	}
	if unit.WriteCache() {
		x.Properties |= mfi.PDPropertyWriteCache
	}
	if pd.drive.CanDiscard() {
		x.Properties |= mfi.PDPropertyUnmap
	}
	return r.putOrRefuse(x.Marshal())
}

// operations is what is being done to a drive.
func operations(d raid.DriveStatus) (x mfi.PDProgress) {
	if d.Locate {
		x.ActiveOps |= mfi.PDOpLocate
	}
	if d.Clearing != nil {
		x.ActiveOps |= mfi.PDOpClear
		x.Clear = progressOf(*d.Clearing)
	}
	return x
}

// pdProgress is PD_GET_PROGRESS.
func pdProgress(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	v := c.set.View()
	d, ok := v.Drive(box.S(0))
	if !ok {
		return mfi.StatusDeviceNotFound
	}
	x := operations(d)
	return r.putOrRefuse(x.Marshal())
}

// driveStates are the states that a guest can ask for.
var driveStates = map[mfi.PDState]raid.DriveState{
	mfi.PDUnconfiguredGood: raid.UnconfiguredGood,
	mfi.PDUnconfiguredBad:  raid.UnconfiguredBad,
	mfi.PDOnline:           raid.Online,
	mfi.PDOffline:          raid.Offline,
	mfi.PDFailed:           raid.Failed,
	mfi.PDSystem:           raid.System,
}

// setDriveState is PD_STATE_SET.
func setDriveState(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	to, ok := driveStates[mfi.PDState(box.S(2))]
	if !ok || to == raid.System && !c.settings.systemDrivesEnabled() {
		return r.refuse(&mfi.Error{Status: mfi.StatusWrongState, Reason: "no drive can have that state"})
	}
	return r.statusOf(c.set.SetDriveState(box.S(0), int(box.S(1)), to))
}

// checkDrive looks if a drive is there, and if it is as the guest takes it to be.
func checkDrive(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	_, err := c.set.CheckDrive(box.S(0), int(box.S(1)))
	return r.statusOf(err)
}

// locate is PD_LOCATE_START and PD_LOCATE_STOP.
func locate(c *Controller, r *request, on bool) mfi.Status {
	box := r.frame.Mailbox()
	d := c.set.Drive(box.S(0))
	if d == nil {
		return mfi.StatusDeviceNotFound
	}
	d.Locate(on)
	return mfi.StatusOK
}

func ddfType(d raid.DriveStatus) uint16 {
	t := uint16(mfi.DDFInterfaceSAS)
	if d.Identity.Interface == raid.SATA {
		t = mfi.DDFInterfaceSATA
	}
	if d.InArray {
		t |= mfi.DDFInVD
	}
	return t
}

// vpdIdentification is the page code of the device identification page.
const vpdIdentification = 0x83

// inquiry asks a unit for its standard INQUIRY data, or for a vital product data
// page if that is not 0, at most n bytes.
func inquiry(unit *scsi.Unit, page uint8, n int) []byte {
	buf := make([]byte, n)
	cmd := scsi.Command{CDB: []byte{0x12, 0, page, 0, byte(n), 0}, Data: [][]byte{buf}}
	if page != 0 {
		cmd.CDB[1] = 1 // EVPD
	}
	unit.Execute(&cmd)
	return buf[:cmd.Transferred]
}
