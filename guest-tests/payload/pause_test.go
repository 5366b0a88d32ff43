package payloadtests

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/vmm"
)

// countingDrive counts flushes.
type countingDrive struct {
	raid.Drive
	flushes atomic.Uint32
}

func (d *countingDrive) Flush() error {
	d.flushes.Add(1)
	return d.Drive.Flush()
}

// TestPauseWithReadsOnTheirWay pauses the machine while the drive is at work: that
// takes until it has ended, or is given up with everything as it was.
func TestPauseWithReadsOnTheirWay(t *testing.T) {
	const inFlight = 4
	drive := &slowDrive{done: make(chan struct{})}
	counting := &countingDrive{}
	g := newGuestWith(t, hardware{drive: func(d raid.Drive) raid.Drive {
		counting.Drive = d
		drive.Drive = counting
		return drive
	}})
	t.Cleanup(func() { _, _ = drive.Write(nil) })
	over := g.Word()
	var paused atomic.Bool
	verdict := make(chan error, 1)
	drive.begun = func(reads uint32) {
		if reads != inFlight {
			return
		}
		go func() {
			verdict <- func() error {
				short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				if err := g.machine.Pause(short); !errors.Is(err, context.DeadlineExceeded) {
					return errors.Join(errors.New("a pause that can't be was not given up"), err)
				}
				_, _ = drive.Write(nil)
				flushes := counting.flushes.Load()
				if err := g.machine.Pause(t.Context()); err != nil {
					return err
				}
				if g.machine.Status() != vmm.PausedByHost || counting.flushes.Load() == flushes {
					return errors.New("the machine is not paused, or its drive was not flushed")
				}
				paused.Store(true)
				if err := g.machine.Resume(t.Context()); err != nil {
					return err
				}
				return g.machine.DMA().Store32(over, 1)
			}()
		}()
	}
	g.drive()
	g.initialize(16)
	for i := range uint64(inFlight) {
		g.submit(g.reading(8*i, 4096), mfi.StatusOK)
	}
	g.pollReplies()
	g.submit(g.writing(80, 6000, 4096), mfi.StatusOK)
	g.pollReplies()
	g.submit(g.reading(5999, 8192), mfi.StatusOK)
	g.pollReplies()
	g.begin("wait until the test is over")
	g.Wait32(over, 0xffffffff, 1)
	g.run()
	if err := <-verdict; err != nil || !paused.Load() {
		t.Error(err)
	}
}
