package megasas

import (
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/scsi"
)

// Observer sees every frame go by, and the firmware's states. Its methods run where
// that happens, several at a time and with locks held: they must be quick, and must
// not call the Controller. What a FrameFetched or FrameDone refers to is valid during
// the call. [Trace] is an Observer.
type Observer interface {
	// FrameFetched is called when a frame has been read from guest memory, before
	// anything is done about it.
	FrameFetched(f FrameFetched)
	// FrameHeld is called when a frame stays outstanding because of [Faults].
	FrameHeld(f FrameFetched)
	// FrameDone is called when a frame's status is in guest memory.
	FrameDone(d FrameDone)
	// FrameLost is called when an address was posted and nothing will become of it:
	// the firmware takes no frames, there is none at the address, or a reset came. It
	// is not called for frames that were held when a reset came.
	FrameLost(addr uint64, reason string)
	// StateChanged is called when the firmware state word has changed.
	StateChanged(word uint32)
}

// FrameFetched is a frame that is about to be carried out.
type FrameFetched struct {
	Addr   uint64    // guest-physical
	Posted time.Time // when the guest posted it
	Frame  mfi.Frame // as it was fetched; the header only of one that is not wholly in memory
}

// FrameDone is a frame that was carried out.
type FrameDone struct {
	FrameFetched
	Status     mfi.Status
	SCSIStatus scsi.Status
	Sense      []byte // with CHECK CONDITION
	Polled     bool   // no reply is posted for it
}
