package megasas

import (
	"fmt"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// logBoot logs that the firmware started.
func (c *Controller) logBoot() {
	p := &c.p
	c.events.add(mfi.Event{
		Code:   mfi.EventFWInitStarted,
		Filter: mfi.Filter(mfi.ClassInfo, mfi.LocaleController),
		Args:   mfi.ArgsPCI{Vendor: p.Vendor, Device: p.Device, SubVendor: p.SubVendor, SubDevice: p.SubDevice},
		Description: fmt.Sprintf("Firmware initialization started (PCI ID %04x/%04x/%04x/%04x)",
			p.Device, p.Vendor, p.SubDevice, p.SubVendor),
	})
	if len(p.Components) > 0 {
		version := p.Components[0].Version
		c.events.add(mfi.Event{
			Code:        mfi.EventFWVersion,
			Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocaleController),
			Args:        mfi.ArgsString(version),
			Description: "Firmware version " + version,
		})
	}
	if b := c.Battery(); b != NoBattery {
		c.logBattery(NoBattery, b)
	}
}

// logShutdown logs that the guest is going down.
func (c *Controller) logShutdown() {
	c.events.add(mfi.Event{
		Code:        mfi.EventShutdownReceived,
		Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocaleController),
		Description: "Shutdown command received from host",
	})
}

// logCleared logs that the log was cleared. It is the oldest event from then on.
func (c *Controller) logCleared() {
	c.events.add(mfi.Event{
		Code:        mfi.EventLogCleared,
		Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocaleController),
		Description: "Event log cleared",
	})
}

// logChange logs a change of drives or volumes.
func (c *Controller) logChange(change raid.Change) {
	switch x := change.(type) {
	case raid.DriveInserted:
		c.events.add(mfi.Event{
			Code:        mfi.EventPDInserted,
			Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocalePD),
			Args:        mfi.ArgsPD{PD: pdRef(x.Drive)},
			Description: "Inserted: " + pdName(x.Drive),
		})
	case raid.DriveRemoved:
		c.events.add(mfi.Event{
			Code:        mfi.EventPDRemoved,
			Filter:      mfi.Filter(mfi.ClassWarning, mfi.LocalePD),
			Args:        mfi.ArgsPD{PD: pdRef(x.Drive)},
			Description: "Removed: " + pdName(x.Drive),
		})
	case raid.DriveStateChanged:
		prev, now := pdState(x.Prev), pdState(x.Drive.State)
		class := mfi.ClassInfo
		if now == mfi.PDFailed || now == mfi.PDOffline {
			class = mfi.ClassWarning
		}
		c.events.add(mfi.Event{
			Code:   mfi.EventPDStateChange,
			Filter: mfi.Filter(class, mfi.LocalePD),
			Args:   mfi.ArgsPDState{PD: pdRef(x.Drive), Prev: prev, New: now},
			Description: fmt.Sprintf("State change on %s from %v(%x) to %v(%x)",
				pdName(x.Drive), x.Prev, uint16(prev), x.Drive.State, uint16(now)),
		})
		if x.Prev == raid.System || x.Drive.State == raid.System {
			c.logScanRequest()
		}
	case raid.VolumeCreated:
		c.events.add(mfi.Event{
			Code:        mfi.EventLDCreated,
			Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocaleLD),
			Args:        mfi.ArgsLD{LD: ldRef(x.Volume)},
			Description: "Created " + ldName(x.Volume),
		})
	case raid.VolumePropertiesChanged:
		c.events.add(mfi.Event{
			Code:        mfi.EventLDPropertiesSet,
			Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocaleLD),
			Args:        mfi.ArgsLD{LD: ldRef(x.Volume)},
			Description: "Properties updated on " + ldName(x.Volume),
		})
	case raid.VolumeDeleted:
		c.events.add(mfi.Event{
			Code:        mfi.EventLDDeleted,
			Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocaleLD),
			Args:        mfi.ArgsLD{LD: ldRef(x.Volume)},
			Description: "Deleted " + ldName(x.Volume),
		})
	case raid.VolumeStateChanged:
		c.logVolumeState(x)
	}
}

// logPropertiesChanged logs that the guest set the controller's properties.
func (c *Controller) logPropertiesChanged() {
	c.events.add(mfi.Event{
		Code:        mfi.EventPropertiesChanged,
		Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocaleController),
		Description: "Controller properties changed",
	})
}

// logConfigCleared logs that all volumes were deleted.
func (c *Controller) logConfigCleared() {
	c.events.add(mfi.Event{
		Code:        mfi.EventConfigCleared,
		Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocaleConfig),
		Description: "Configuration cleared",
	})
}

// logScanRequest asks the host to look for drives again: of a drive's change of
// state drivers take no notice.
func (c *Controller) logScanRequest() {
	c.events.add(mfi.Event{
		Code:        mfi.EventHostBusScanRequest,
		Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocaleController),
		Description: "Host bus scan requested",
	})
}

// logDriveError logs that a drive failed to do I/O.
func (c *Controller) logDriveError(d raid.DriveStatus, cause error) {
	c.events.add(mfi.Event{
		Code:        mfi.EventPDError,
		Filter:      mfi.Filter(mfi.ClassWarning, mfi.LocalePD),
		Args:        mfi.ArgsPDError{PD: pdRef(d)},
		Description: fmt.Sprintf("Error on %s: %v", pdName(d), cause),
	})
}

// logVolumeState logs a volume's change of state, and that it is offline in an
// event of its own: drivers act on that one.
func (c *Controller) logVolumeState(x raid.VolumeStateChanged) {
	prev, now := ldState(x.Prev), ldState(x.Volume.State)
	class := mfi.ClassInfo
	if x.Volume.State < x.Prev {
		class = mfi.ClassCritical
	}
	c.events.add(mfi.Event{
		Code:   mfi.EventLDStateChange,
		Filter: mfi.Filter(class, mfi.LocaleLD),
		Args:   mfi.ArgsLDState{LD: ldRef(x.Volume), Prev: prev, New: now},
		Description: fmt.Sprintf("State change on %s from %v(%x) to %v(%x)",
			ldName(x.Volume), x.Prev, uint8(prev), x.Volume.State, uint8(now)),
	})
	code, class, what := mfi.EventLDOptimal, mfi.ClassInfo, " is now optimal"
	switch x.Volume.State {
	case raid.VolumeOffline:
		code, class, what = mfi.EventLDOffline, mfi.ClassFatal, " is now offline"
	case raid.VolumeDegraded:
		return // arrays with redundancy do not exist
	}
	c.events.add(mfi.Event{
		Code:        code,
		Filter:      mfi.Filter(class, mfi.LocaleLD),
		Args:        mfi.ArgsLD{LD: ldRef(x.Volume)},
		Description: ldName(x.Volume) + what,
	})
}

func pdRef(d raid.DriveStatus) mfi.PDRef {
	return mfi.PDRef{DeviceID: d.DeviceID, Slot: d.Identity.Slot}
}

func ldRef(v raid.VolumeStatus) mfi.LDRef {
	return mfi.LDRef{Target: v.Target, Index: v.Target}
}

// pdName is how the firmware names a drive in text: device id and slot.
func pdName(d raid.DriveStatus) string {
	return fmt.Sprintf("PD %02x(s%d)", d.DeviceID, d.Identity.Slot)
}

// ldName is how the firmware names a volume in text: index and target id.
func ldName(v raid.VolumeStatus) string {
	return fmt.Sprintf("VD %02x/%x", v.Target, v.Target)
}

// pdState is a drive's state on the wire.
func pdState(s raid.DriveState) mfi.PDState {
	switch s {
	case raid.UnconfiguredBad:
		return mfi.PDUnconfiguredBad
	case raid.Online:
		return mfi.PDOnline
	case raid.Offline:
		return mfi.PDOffline
	case raid.Failed:
		return mfi.PDFailed
	case raid.System:
		return mfi.PDSystem
	}
	return mfi.PDUnconfiguredGood
}

// ldState is a volume's state on the wire.
func ldState(s raid.VolumeState) mfi.LDState {
	switch s {
	case raid.VolumeOptimal:
		return mfi.LDOptimal
	case raid.VolumeDegraded:
		return mfi.LDDegraded
	}
	return mfi.LDOffline
}
