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

// allForeign stands for all foreign configurations in the mailbox.
const allForeign = 0xff

// checkImport looks at CFG_FOREIGN_IMPORT. The card imports all that there is, and
// never one of them.
func checkImport(_ *Controller, r *request) mfi.Status {
	if box := r.frame.Mailbox(); box[0] != allForeign {
		return r.refuse(&mfi.Error{Status: mfi.StatusInvalidParameter, Reason: "import of one foreign configuration"})
	}
	return mfi.StatusOK
}

// foreignClear is CFG_FOREIGN_CLEAR: what is not there is cleared, all of it if
// the guest asks for that.
func foreignClear(_ *Controller, r *request) mfi.Status {
	if box := r.frame.Mailbox(); box[0] != allForeign {
		return mfi.StatusNotFound
	}
	return mfi.StatusOK
}

// factoryDefaults is CTRL_FACTORY_DEFAULTS: the card's own settings are as they
// were when it was made. Volumes and drives stay.
func factoryDefaults(c *Controller, _ *request) mfi.Status {
	c.settings.reset()
	c.logPropertiesChanged()
	return c.remember()
}
