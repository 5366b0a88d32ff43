package megasas

import (
	"github.com/govmm/govmm/megasas/mfi"
)

// Drives never bring the configuration of another controller with them: what a
// volume is, is not kept on its drive. So there is nothing foreign to find.

// foreignScanLen is the payload of CFG_FOREIGN_SCAN: a count, and room for eight
// names of 24 bytes.
const foreignScanLen = 4 + 8*24

// foreignScan is CFG_FOREIGN_SCAN.
func foreignScan(_ *Controller, r *request) mfi.Status {
	return r.putOrRefuse(make([]byte, foreignScanLen))
}

// foreignNotFound is CFG_FOREIGN_DISPLAY, _PREVIEW and _IMPORT.
func foreignNotFound(*Controller, *request) mfi.Status { return mfi.StatusNotFound }

// foreignClear is CFG_FOREIGN_CLEAR: what is not there is cleared, all of it if
// the guest asks for that.
func foreignClear(_ *Controller, r *request) mfi.Status {
	const all = 0xff
	if box := r.frame.Mailbox(); box[0] != all {
		return mfi.StatusNotFound
	}
	return mfi.StatusOK
}

// pdProgress is PD_GET_PROGRESS: of the operations of a drive only its lamp can
// be on, which has no end to come closer to.
func pdProgress(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	v := c.set.View()
	d, ok := v.Drive(box.S(0))
	if !ok {
		return mfi.StatusDeviceNotFound
	}
	x := mfi.PDProgress{}
	if d.Locate {
		x.ActiveOps = mfi.PDOpLocate
	}
	return r.putOrRefuse(x.Marshal())
}

// factoryDefaults is CTRL_FACTORY_DEFAULTS: the card's own settings are as they
// were when it was made. Volumes and drives stay.
func factoryDefaults(c *Controller, _ *request) mfi.Status {
	c.settings.reset()
	c.logPropertiesChanged()
	return c.remember()
}
