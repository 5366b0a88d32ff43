package payloadtests

import (
	"bytes"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/vmm"
)

// TestMachineResetWaitsForTheController resets the machine while reads are on
// their way into its memory. The next kernel starts only when they have ended, so
// that its memory is its own, and finds a controller that is as at power-on.
func TestMachineResetWaitsForTheController(t *testing.T) {
	const (
		inFlight = 4
		lba      = 6000 // in the fast half
		nvram    = 0x50 // a byte of the clock's memory, which a reset leaves alone
	)
	drive := &slowDrive{done: make(chan struct{})}
	g := newGuestWith(t, hardware{drive: func(d raid.Drive) raid.Drive { drive.Drive = d; return drive }})
	t.Cleanup(func() { _, _ = drive.Write(nil) })
	g.com1 = drive
	var restarted, early atomic.Bool
	g.tune = func(c *vmm.Config) {
		c.OnReset = vmm.RestartOnReset
		c.Notify = func(e vmm.Event) {
			if _, ok := e.(vmm.ResetDone); ok {
				restarted.Store(true)
				g.fill()
			}
		}
	}
	begun := g.alloc(4 * (inFlight + 1)) // by number of the read
	drive.begun = func(reads uint32) {
		if reads > inFlight {
			return // of the next kernel
		}
		if err := g.machine.DMA().Store32(begun+4*uint64(reads), 1); err != nil {
			t.Error(err)
		}
		if reads < inFlight {
			return
		}
		go func() {
			for g.controller.State() != mfi.StateUndefined { // until the reset has begun
				runtime.Gosched()
			}
			early.Store(restarted.Load())
			_, _ = drive.Write(nil) // the reads go on
		}()
	}
	var buffers []uint64
	g.Out8(0x70, nvram)
	g.In8(0x71)
	g.If32(0xff, 0, func() {
		g.Out8(0x71, 1)
		g.drive()
		for i := range uint64(inFlight) {
			x := g.transfer(mfi.CmdLDRead, 8*i, 4096)
			buffers = append(buffers, x.SGL[0].Addr)
			g.post(g.frame(x))
		}
		g.begin("wait until all reads have begun")
		for i := range uint64(inFlight) {
			g.Wait32(begun+4*(i+1), 0xffffffff, 1)
		}
		g.begin("reset the machine")
		g.Out8(0xcf9, 6)
		g.Halt()
	})
	// The second kernel: all memory that the reads were to fill is zero.
	g.drive()
	g.initialize(3)
	g.submit(g.writing(80, lba, 4096), mfi.StatusOK)
	g.pollReplies()
	g.submit(g.reading(lba-1, 8192), mfi.StatusOK)
	g.pollReplies()
	g.run()
	if early.Load() {
		t.Error("the machine started again while reads were on their way")
	}
	for _, addr := range buffers {
		if got := g.bytes(addr, 4096); !bytes.Equal(got, make([]byte, 4096)) {
			t.Errorf("a read of the first kernel reached the second one's memory at %#x", addr)
		}
	}
}
