package megasas

import "github.com/govmm/govmm/megasas/mfi"

// abort is ABORT. Only a frame that is held can be aborted: all others are being
// carried out and end by themselves. The aborted frame completes first, or the
// driver would take it for outstanding and never wait for events again; its
// buffer is left alone, since the driver would read an event there.
func (r *request) abort() mfi.Status {
	w := r.c.waits.take(r.frame.AbortContext(), r.frame.AbortAddr())
	if w == nil {
		return mfi.StatusAbortNotPossible
	}
	w.complete(mfi.StatusNotFound)
	return mfi.StatusOK
}
