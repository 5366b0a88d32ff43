package megasas

import (
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/scsi"
)

// Observer sees every frame go by. Its methods run where the frames are handled,
// several at a time: they must be quick, and must not call the Controller.
type Observer interface {
	// FramePosted is called on the vCPU thread that posted a frame.
	FramePosted(addr uint64)
	// FrameDone is called when a frame's status is in guest memory. What d
	// refers to is valid during the call.
	FrameDone(d FrameDone)
}

// FrameDone is a frame that was carried out.
type FrameDone struct {
	Addr       uint64    // guest-physical
	Frame      mfi.Frame // as it was fetched
	Status     mfi.Status
	SCSIStatus scsi.Status
	Polled     bool // no reply is posted for it
}
