package megasas

import (
	"errors"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// GrowDrive tells that the medium of a drive has become larger. Volumes on it alone
// get the new size. The guest is told by a unit attention, after which it has to look at
// the size again.
func (c *Controller) GrowDrive(id uint16) error {
	if int(id) >= len(c.physicals) || c.physicals[id].Load() == nil {
		return raid.ErrNotFound
	}
	c.physicals[id].Load().unit.RaiseAttention(scsi.ASCCapacityDataHasChanged)
	var errs []error
	for _, target := range c.VolumesOn(id) {
		errs = append(errs, c.set.GrowVolume(target))
		if ld := c.logicals[target].Load(); ld != nil {
			ld.unit.RaiseAttention(scsi.ASCCapacityDataHasChanged)
		}
	}
	return errors.Join(errs...)
}

// VolumesOn lists the volumes that lie on a drive alone, by target id.
func (c *Controller) VolumesOn(id uint16) (targets []uint8) {
	view := c.set.View()
	for _, a := range view.Arrays {
		if len(a.Drives) != 1 || a.Drives[0] != id {
			continue
		}
		for _, v := range view.Volumes {
			if v.Array == a.Ref {
				targets = append(targets, v.Target)
			}
		}
	}
	return targets
}

// Listener is told of what happens to a controller, by any goroutine. It must not
// call the controller, nor wait.
type Listener interface {
	// Logged is told of every event of the firmware's log.
	Logged(e mfi.Event)
	// IOFailed is told of I/O that the host could not do. If the failure's action is
	// StopOnError, it has to see to it that the controller is paused and, some time
	// later, resumed: the frame is carried out again then.
	IOFailed(x IOFailure)
}

// DriveTotals is what was moved from and to a drive since it was put in, by
// whatever way; zero for one that is not there.
func (c *Controller) DriveTotals(id uint16) scsi.Totals {
	if int(id) >= len(c.physicals) {
		return scsi.Totals{}
	}
	pd := c.physicals[id].Load()
	if pd == nil {
		return scsi.Totals{}
	}
	return pd.vitals.counters.Totals()
}
