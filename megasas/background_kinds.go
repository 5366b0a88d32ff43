package megasas

import (
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// clearEvents are the events of PD_CLEAR.
var clearEvents = workEvents{
	locale:   mfi.LocalePD,
	started:  workEvent{mfi.EventPDClearStarted, mfi.ClassInfo, "Clear started on %s"},
	progress: workEvent{mfi.EventPDClearProgress, mfi.ClassProgress, "Clear progress on %s"},
	complete: workEvent{mfi.EventPDClearComplete, mfi.ClassInfo, "Clear completed on %s"},
	aborted:  workEvent{mfi.EventPDClearAborted, mfi.ClassInfo, "Clear aborted on %s"},
	failed:   workEvent{mfi.EventPDClearFailed, mfi.ClassCritical, "Clear failed on %s"},
}

// initEvents are the events of LD_INIT, wholly or fast.
func initEvents(full bool) *workEvents {
	e := workEvents{
		locale:   mfi.LocaleLD,
		started:  workEvent{mfi.EventLDInitFastStarted, mfi.ClassInfo, "Fast initialization started on %s"},
		progress: workEvent{mfi.EventLDInitProgress, mfi.ClassProgress, "Initialization progress on %s"},
		complete: workEvent{mfi.EventLDInitComplete, mfi.ClassInfo, "Initialization complete on %s"},
		aborted:  workEvent{mfi.EventLDInitAborted, mfi.ClassInfo, "Initialization aborted on %s"},
		failed:   workEvent{mfi.EventLDInitFailed, mfi.ClassCritical, "Initialization failed on %s"},
	}
	if full {
		e.started = workEvent{mfi.EventLDInitFullStarted, mfi.ClassInfo, "Full initialization started on %s"}
	}
	return &e
}

// initEnds is how much of a volume is zeroed at its start and at its end by a
// fast initialization.
const initEnds = 8 << 20

// clearing is the work of zeroing all of a drive.
func (c *Controller) clearing(d *raid.PhysicalDrive, w *raid.Work) *zeroing {
	return &zeroing{
		c: c, work: w, on: clearedDrive{d}, what: &clearEvents,
		spans: []span{{0, int64(d.Blocks()) * raid.BlockSize}},
	}
}

// initializing is the work of zeroing all of a volume, or its ends.
func (c *Controller) initializing(v *raid.Volume, w *raid.Work) *zeroing {
	spans := []span{{0, v.Size()}}
	if !w.Full && v.Size() > 2*initEnds {
		spans = []span{{0, initEnds}, {v.Size() - initEnds, v.Size()}}
	}
	return &zeroing{c: c, work: w, on: initializedVolume{v}, what: initEvents(w.Full), spans: spans}
}

// clearedDrive is a drive that is being cleared.
type clearedDrive struct{ d *raid.PhysicalDrive }

func (p clearedDrive) zero(off, n int64) error { return p.d.WriteZeroes(off, n, true) }
func (p clearedDrive) flush() error            { return p.d.Flush() }
func (p clearedDrive) finished(*raid.Work)     {}
func (p clearedDrive) name() string            { return pdName(p.status()) }

func (p clearedDrive) status() raid.DriveStatus {
	return raid.DriveStatus{DeviceID: p.d.DeviceID(), Identity: p.d.Identity()}
}

func (p clearedDrive) args(progress *mfi.Progress) mfi.EventArgs {
	if progress != nil {
		return mfi.ArgsPDProgress{PD: pdRef(p.status()), Progress: *progress}
	}
	return mfi.ArgsPD{PD: pdRef(p.status())}
}

func (p clearedDrive) save(c *Controller) (savedWork, bool) {
	return savedWork{Drive: true, ID: p.d.DeviceID()}, c.set.Drive(p.d.DeviceID()) == p.d
}

// initializedVolume is a volume that is being initialized.
type initializedVolume struct{ v *raid.Volume }

func (p initializedVolume) zero(off, n int64) error {
	if p.v.State() == raid.VolumeOffline {
		return raid.ErrOffline
	}
	return p.v.WriteZeroesAnyway(off, n)
}

func (p initializedVolume) flush() error          { return p.v.FlushAnyway() }
func (p initializedVolume) finished(w *raid.Work) { p.v.Initialized(w.Full) }
func (p initializedVolume) name() string          { return ldName(p.status()) }

func (p initializedVolume) status() raid.VolumeStatus {
	return raid.VolumeStatus{Target: p.v.Target()}
}

func (p initializedVolume) args(progress *mfi.Progress) mfi.EventArgs {
	if progress != nil {
		return mfi.ArgsLDProgress{LD: ldRef(p.status()), Progress: *progress}
	}
	return mfi.ArgsLD{LD: ldRef(p.status())}
}

func (p initializedVolume) save(*Controller) (savedWork, bool) {
	return savedWork{ID: uint16(p.v.Target())}, p.v.State() == raid.VolumeOptimal
}

// clearDrive is PD_CLEAR_START: all of a drive that is unconfigured good is
// zeroed in the background.
func clearDrive(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	d, work, err := c.set.BeginClear(box.S(0), int(box.S(1)))
	if err != nil {
		return r.statusOf(err)
	}
	return begun(c.clearing(d, work))
}

// begun starts work that a command has asked for.
func begun(z *zeroing) mfi.Status {
	if !z.start() {
		return mfi.StatusWrongState
	}
	return mfi.StatusOK
}

// abortClear is PD_CLEAR_ABORT. When it is answered, the drive is not written any
// more.
func abortClear(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	d, err := c.set.CheckDrive(box.S(0), int(box.S(1)))
	if err != nil {
		return r.statusOf(err)
	}
	w := d.Work()
	if w == nil {
		return r.refuse(&mfi.Error{Status: mfi.StatusWrongState, Reason: "nothing is under way"})
	}
	w.Abort()
	w.Wait()
	return mfi.StatusOK
}

// initVolume is LD_INIT_START: all of a volume is zeroed, or its ends. It cannot
// be used meanwhile.
func initVolume(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	// FreeBSD's mfireg.h has the opcode. No open source that was found has the mode, nor
	// where it stands: both are this project's.
	const fast, full = 0, 1
	if box[4] != fast && box[4] != full {
		return r.refuse(&mfi.Error{Status: mfi.StatusInvalidParameter, Reason: "mode of initialization that the firmware has not"})
	}
	v, work, err := c.set.BeginInit(box[0], int(box.S(1)), box[4] == full)
	if err != nil {
		return r.statusOf(err)
	}
	return begun(c.initializing(v, work))
}
