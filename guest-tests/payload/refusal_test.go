package payloadtests

import (
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// hole is an address where nobody is: not RAM, and no BAR.
const hole = 0xd0000000

// TestBadFrames posts what no driver should. Each frame is answered with the
// status that the card has for it, the disk stays as it is, and the controller
// works as before.
func TestBadFrames(t *testing.T) {
	g := newGuest(t)
	g.drive()
	g.initialize(8)

	absentRead := g.transfer(mfi.CmdLDRead, 0, 512)
	absentRead.Target = 3
	absentWrite := g.transfer(mfi.CmdLDWrite, 0, 512)
	absentWrite.Target = 255
	absentDrive := g.cdb(77, 36, 0x12, 0, 0, 0, 36, 0)
	absentDrive.Cmd = mfi.CmdPDSCSIIO
	noSense := g.cdb(0, 0, 0xff, 0, 0, 0, 0, 0)
	noSense.SenseLen, noSense.SenseAddr = 96, hole
	// The first element is good: nothing of it may reach the disk.
	intoHole := g.transfer(mfi.CmdLDWrite, 8, 512, 512)
	intoHole.SGL[1].Addr = hole
	overEnd := g.transfer(mfi.CmdLDRead, 8, 1024)
	overEnd.SGL[0].Addr = ramSize - 512
	ownRegisters := g.transfer(mfi.CmdLDWrite, 8, 512)
	ownRegisters.SGL[0].Addr = regsBase
	tooShort := g.transfer(mfi.CmdLDWrite, 8, 512)
	tooShort.DataLen = 2
	for _, tt := range []struct {
		frame mfi.Fields
		want  mfi.Status
	}{
		{absentRead, mfi.StatusDeviceNotFound},
		{absentWrite, mfi.StatusDeviceNotFound},
		{g.cdb(3, 36, 0x12, 0, 0, 0, 36, 0), mfi.StatusDeviceNotFound},
		{absentDrive, mfi.StatusDeviceNotFound},
		{g.dcmd(0x01ffff00, 64), mfi.StatusInvalidDCMD},
		{g.dcmd(0, 0), mfi.StatusOK}, // what MegaCli sends to see if anybody is there
		{mfi.Fields{Cmd: 0x0a}, mfi.StatusInvalidCmd},
		{mfi.Fields{Cmd: mfi.CmdSMP}, mfi.StatusDeviceNotFound},
		{noSense, mfi.StatusSCSIDoneWithError},
		{intoHole, mfi.StatusInvalidSGL},
		{overEnd, mfi.StatusInvalidSGL},
		{ownRegisters, mfi.StatusInvalidSGL},
		{tooShort, mfi.StatusInvalidSGL},
	} {
		g.submit(tt.frame, tt.want)
		g.pollReplies()
		g.poll(tt.frame, tt.want)
	}
	g.submit(g.reading(0, 8192), mfi.StatusOK)
	g.pollReplies()
	g.awaitState(mfi.StateOperational)
	g.run()
}

// TestFramesOutsideMemory posts addresses where no frame can be, or only part of
// one.
func TestFramesOutsideMemory(t *testing.T) {
	const partial = ramSize - 32 // room for a frame's header
	g := newGuest(t)
	g.put(partial, g.transfer(mfi.CmdLDWrite, 0, 512).Marshal()[:32])
	g.drive()
	g.initialize(4)
	g.begin("post frames that are nowhere")
	for _, addr := range []uint64{hole, ramSize, regsBase, regsBase + regPost, 0xfee00000, 0xffffffe0} {
		g.post(addr)
	}
	g.begin("post half a frame")
	g.post(partial)
	g.WaitOther32(partial, statusMask, statusPending)
	g.wantStatus("half a frame", partial, mfi.StatusInvalidParameter)
	// Its context is that of the first frame that is submitted: let the books know.
	g.Until32(g.ring.total, 0xffffffff, 1, g.drain)
	g.Store32(g.doneWord(0), 0)
	g.Store32(g.ring.total, 0)

	g.submit(g.writing(70, 0, 512), mfi.StatusOK)
	g.pollReplies()
	g.submit(g.reading(0, 1024), mfi.StatusOK)
	g.pollReplies()
	g.awaitState(mfi.StateOperational)
	g.run()
	if err := g.machine.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := g.controller.Stats(); s.Unreadable != 6 || s.Dropped != 0 || s.Completed != 4 {
		t.Errorf("%d unreadable, %d dropped, %d completed; want 6, 0, and 4", s.Unreadable, s.Dropped, s.Completed)
	}
}
