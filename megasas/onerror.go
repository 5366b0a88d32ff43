package megasas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/scsi"
)

// ErrorAction is what becomes of a transfer that the host could not do.
type ErrorAction uint8

const (
	// ReportError tells the guest, and logs an event of the firmware.
	ReportError ErrorAction = iota
	// IgnoreError tells the guest that it was done.
	IgnoreError
	// StopOnError tells the guest nothing: the frame stays outstanding, and is carried
	// out again after the next Pause and Resume. The Listener has to see to those.
	StopOnError
	// StopOnNoSpace is StopOnError if the host has no space, else ReportError.
	StopOnNoSpace
)

var errorActionNames = [...]string{ReportError: "report", IgnoreError: "ignore", StopOnError: "stop", StopOnNoSpace: "enospc"}

// String is QEMU's word for the action.
func (a ErrorAction) String() string {
	if int(a) < len(errorActionNames) {
		return errorActionNames[a]
	}
	return fmt.Sprintf("ErrorAction(%d)", uint8(a))
}

// ErrorPolicy says what becomes of a drive's transfers that the host could not do,
// and of those of a volume on it. The zero value reports them.
type ErrorPolicy struct {
	Read, Write ErrorAction // Write is for all that changes the medium or flushes
}

// of is the action for a failure: one of the first three.
func (p ErrorPolicy) of(write bool, cause error) ErrorAction {
	action := p.Read
	if write {
		action = p.Write
	}
	switch {
	case action != StopOnNoSpace:
		return action
	case noSpace(cause):
		return StopOnError
	}
	return ReportError
}

// noSpace reports whether a transfer failed since the host has no space.
func noSpace(cause error) bool {
	return errors.Is(cause, syscall.ENOSPC) || errors.Is(cause, syscall.EDQUOT)
}

// IOFailure is I/O that the host could not do.
type IOFailure struct {
	Drive   uint16
	Cmd     mfi.Cmd
	Write   bool        // or flush
	Action  ErrorAction // what becomes of it: not StopOnNoSpace
	NoSpace bool
	Cause   error
}

// stalled is a frame that is going to be carried out again, and why.
type stalled struct {
	post
	why IOFailure
}

// Stalled lists the failures of frames that are outstanding because of StopOnError, in
// the order in which they happened.
func (c *Controller) Stalled() (list []IOFailure) {
	x := &c.pausing
	x.mu.Lock()
	defer x.mu.Unlock()
	epoch := c.fw.epoch.Load()
	for _, s := range x.stalled {
		if s.epoch == epoch && !s.orphaned {
			list = append(list, s.why)
		}
	}
	return list
}

// stall keeps a frame that failed on a drive until the controller is resumed. It reports
// false if the drive is gone, or nobody would pause the machine, or there are more than a
// guest may have outstanding.
func (r *request) stall(pd *physical, why IOFailure) bool {
	x := &r.c.pausing
	x.mu.Lock()
	defer x.mu.Unlock()
	// Looked at with mu held, so that orphan comes after it.
	if r.c.listener == nil || r.c.physicalOf(why.Drive) != pd || len(x.stalled) == queueDepth {
		return false
	}
	x.stalled = append(x.stalled, stalled{post{addr: r.addr, epoch: r.epoch, at: r.posted, again: true}, why})
	r.stalled = true
	return true
}

// orphan has the frames that wait for a drive fail when they are carried out: another
// drive may have its place by then. The drive is no target any more.
func (x *pausing) orphan(drive uint16) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range x.stalled {
		if x.stalled[i].why.Drive == drive {
			x.stalled[i].orphaned = true
		}
	}
}

// ioFailed says what becomes of the frame, whose transfer the host could not do, and
// tells who wants to know. After StopOnError the frame is not to be completed.
func (r *request) ioFailed(cause error) ErrorAction {
	write, repeatable := r.transfers()
	return r.driveFailed(r.member(), write, repeatable, cause)
}

// driveFailed is ioFailed for one of the drives that the frame concerns.
func (r *request) driveFailed(id uint16, write, repeatable bool, cause error) ErrorAction {
	x := IOFailure{Drive: id, Cmd: r.frame.Cmd(), Write: write, NoSpace: noSpace(cause), Cause: cause}
	pd := r.c.physicalOf(id)
	if pd != nil && repeatable {
		x.Action = pd.onError.of(write, cause)
	}
	if x.Action == StopOnError && !r.stalled && !r.stall(pd, x) {
		x.Action = ReportError
	}
	r.c.tellFailure(r.frame, x)
	return x.Action
}

// transfers tells whether the frame changes the medium, and whether it can be carried
// out again.
func (r *request) transfers() (write, repeatable bool) {
	switch f := r.frame; f.Cmd() {
	case mfi.CmdLDRead:
		return false, true
	case mfi.CmdLDWrite:
		return true, true
	case mfi.CmdLDSCSIIO, mfi.CmdPDSCSIIO:
		return scsi.Repeatable(r.cmd.CDB)
	}
	return false, false
}

// member is the drive that the frame is for.
func (r *request) member() uint16 {
	if r.frame.Cmd() == mfi.CmdLDRead || r.frame.Cmd() == mfi.CmdLDWrite || r.frame.Cmd() == mfi.CmdLDSCSIIO {
		return r.c.memberOf(r.frame.Target())
	}
	return uint16(r.frame.Target())
}

// tellFailure tells of I/O that the host could not do: the host's log, the listener,
// and, if the guest is told, the controller's log. Of failures that stop the machine
// the listener hears always, of others not too often.
func (c *Controller) tellFailure(f mfi.Frame, x IOFailure) {
	allowed := c.failures.Allow(c.now())
	if allowed {
		level := slog.LevelError
		if x.Action == StopOnError { // who pauses the machine says so
			level = slog.LevelInfo
		}
		c.log.Log(context.Background(), level, "I/O failed", "cmd", f.Cmd().String(), "target", f.Target(), "action", x.Action.String(), "err", x.Cause)
	}
	if c.listener != nil && (allowed || x.Action == StopOnError) {
		c.listener.IOFailed(x)
	}
	if !allowed || x.Action != ReportError {
		return
	}
	v := c.set.View()
	if d, ok := v.Drive(x.Drive); ok {
		c.logDriveError(d, x.Cause)
	}
}

// physicalOf is the target of a drive, or nil.
func (c *Controller) physicalOf(id uint16) *physical {
	if int(id) >= len(c.physicals) {
		return nil
	}
	return c.physicals[id].Load()
}
