package payloadtests

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// slowDrive is a drive whose reads of its first half take until somebody writes to
// it: the guest, on COM1.
type slowDrive struct {
	raid.Drive
	begun func(reads uint32) // told when a read begins

	reads atomic.Uint32
	once  sync.Once
	done  chan struct{} // closed by the first Write
}

func (d *slowDrive) ReadV(bufs [][]byte, off int64) error {
	if off < diskSize/2 {
		d.begun(d.reads.Add(1))
		<-d.done
	}
	return d.Drive.ReadV(bufs, off)
}

func (d *slowDrive) Write(p []byte) (int, error) {
	d.once.Do(func() { close(d.done) })
	return len(p), nil
}

// ringReset resets the controller as a driver does that finds it OPERATIONAL.
func (g *guest) ringReset() {
	g.begin("reset through the doorbell")
	g.write(regMask, maskAll)
	g.write(regDoorbell, mfi.DoorbellAbort|mfi.DoorbellReady|mfi.DoorbellMFIMode)
}

// wantUnchanged checks that a word keeps the value that it has at this place in
// the program.
func (g *guest) wantUnchanged(what string, addr uint64) {
	then := g.Word()
	g.Load32(addr)
	g.Save32(then)
	g.check(func() {
		if before, now := g.word(then), g.word(addr); now != before {
			g.t.Errorf("%s was %#x when the firmware became READY, and is %#x", what, before, now)
		}
	})
}

// TestResetThroughTheDoorbell is a driver that finds the controller at work. It is
// READY only when nothing of the time before touches memory any more: by then
// the memory belongs to somebody else.
func TestResetThroughTheDoorbell(t *testing.T) {
	const (
		inFlight = 8
		lba      = 6000 // in the fast half
	)
	drive := &slowDrive{done: make(chan struct{})}
	g := newGuestWith(t, hardware{drive: func(d raid.Drive) raid.Drive { drive.Drive = d; return drive }})
	t.Cleanup(func() { _, _ = drive.Write(nil) })
	g.com1 = drive
	begun := g.alloc(4 * (inFlight + 1)) // by number of the read
	drive.begun = func(reads uint32) {
		if reads > inFlight {
			return // of the next driver
		}
		if err := g.machine.DMA().Store32(begun+4*uint64(reads), 1); err != nil {
			t.Error(err)
		}
	}
	g.drive()
	g.initialize(16)
	g.submit(g.writing(80, lba, 4096), mfi.StatusOK)
	g.pollReplies()

	// A frame that waits for an event that does not come, as drivers always have
	// one, and reads that are on their way.
	wait := g.dcmd(mfi.OpCtrlEventWait, mfi.EventLen)
	binary.LittleEndian.PutUint32(wait.Mailbox[0:], 0x7fffffff) // the first sequence number
	frame, _ := g.postNext(wait)
	g.wantStatus("the frame that waits for an event", frame, mfi.StatusPending)
	canary := bytes.Repeat([]byte{0xc5}, 4096)
	canaryAt := g.alloc(uint64(len(canary)))
	g.put(canaryAt, canary)
	var buffers []uint64
	for i := range uint64(inFlight) {
		x := g.transfer(mfi.CmdLDRead, 8*i, uint32(len(canary)))
		frame, _ := g.postNext(x)
		g.wantStatus(fmt.Sprintf("read %d, which is on its way", i), frame, mfi.StatusPending)
		buffers = append(buffers, x.SGL[0].Addr)
	}
	g.begin("wait until all reads have begun")
	for i := range uint64(inFlight) {
		g.Wait32(begun+4*(i+1), 0xffffffff, 1)
	}
	g.ringReset()
	early := g.Word()
	g.Repeat(100, func() { // some milliseconds, in which a firmware that doesn't wait is READY
		g.read(regState)
		g.If32(stateMask, uint32(mfi.StateReady), func() { g.Increment32(early) })
	})
	g.wantWord("times that the firmware was READY while reads were on their way", early, 0xffffffff, 0)
	g.Out8(payload.COM1, '.')
	g.awaitState(mfi.StateReady)
	g.wantUnchanged("the producer index", g.ring.producer)
	for i, addr := range buffers {
		g.Copy(addr, canaryAt, uint32(len(canary)))
		g.check(func() {
			if !bytes.Equal(g.bytes(addr, uint64(len(canary))), canary) {
				t.Errorf("read %d wrote into its buffer when the firmware was READY", i)
			}
		})
	}

	// The next driver begins with books of its own.
	g.ring = ring{done: g.alloc(4 * maxContexts), total: g.Word()}
	g.initialize(3)
	for _, x := range []mfi.Fields{
		g.reading(0, 4096),
		g.reading(lba-1, 8192),
		g.writing(81, lba+2, 512, 512),
		g.reading(lba-1, 512, 7680),
	} {
		g.submit(x, mfi.StatusOK)
		g.pollReplies()
	}
	g.run()
}

// TestResetsInARow has each reset forget its ring: a frame in READY is carried out,
// and its reply goes nowhere.
func TestResetsInARow(t *testing.T) {
	g := newGuest(t)
	g.drive()
	for i := range byte(3) {
		g.initialize(3)
		g.submit(g.writing(90+i, 4000, 4096), mfi.StatusOK)
		g.pollReplies()
		g.ringReset()
		g.awaitState(mfi.StateReady)
		x := g.reading(3999, 8192)
		frame := g.frame(x)
		g.begin("read in READY")
		g.post(frame)
		g.WaitOther32(frame, statusMask, statusPending)
		g.wantStatus(describe(x), frame, mfi.StatusOK)
		g.wantWord("producer index of the forgotten ring", g.ring.producer, 0xffffffff, 1)
	}
	g.run()
}
