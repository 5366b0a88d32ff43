package payload

import (
	"encoding/binary"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/megasas/mfi"
)

// The controller's place, and what the guests program into it.
const (
	slot = 5
	// gsi is the interrupt of the slot's pin A, as the machine's ACPI tables
	// tell an operating system.
	gsi = 16 + slot

	bar    = 0xc1000000 // BAR 1: registers
	vector = 0x51

	regBAR1    = 0x14
	regCommand = 0x04
	regMSIX    = 0xc0

	decodeMemoryAndMaster = 0x0006
)

// Registers of the controller, by their offset in BAR 1.
const (
	outboundStatus = 0x30
	outboundMask   = 0x34
	queuePort      = 0x40
	outboundClear  = 0xa0
	scratchPad0    = 0xb0

	msixTable   = 0x2000
	msixPending = 0x3800

	stateMask  = 0xf0000000
	stateReady = 0xb0000000

	unmaskReplies = 0xfffffffa // the mask that Linux writes
)

// driver writes a guest that drives the controller.
type driver struct {
	*payload.Program
	entries  uint32 // length of the reply ring
	ring     uint64 // contexts, 4 bytes each
	producer uint64 // index that the controller advances
	consumer uint64 // index that the driver advances
	contexts uint32 // given out
	sense    uint64
}

// newDriver starts a guest: it gives the controller an address and waits until
// the firmware is ready.
func newDriver() *driver {
	d := &driver{Program: payload.New()}
	d.place(bar)
	d.Wait32(bar+scratchPad0, stateMask, stateReady)
	return d
}

// place gives BAR 1 an address and turns decoding and bus mastering on.
func (d *driver) place(addr uint32) {
	d.ConfigWrite32(slot, 0, regBAR1, addr)
	d.ConfigWrite32(slot, 0, regBAR1+4, 0)
	d.ConfigWrite16(slot, 0, regCommand, decodeMemoryAndMaster)
}

// frame puts a frame into memory and returns its address.
func (d *driver) frame(x mfi.Fields) uint64 { return d.Data(x.Marshal(), 64) }

// post rings the bell for a frame.
func (d *driver) post(frame uint64) { d.Store32(bar+queuePort, uint32(frame)|1) }

// polled posts a frame that is not answered through the ring, and waits until
// it completed with the given status.
func (d *driver) polled(x mfi.Fields, want mfi.Status) (frame uint64) {
	x.Flags |= mfi.FlagDontPost
	frame = d.frame(x)
	d.post(frame)
	d.awaitStatus(frame, want)
	return frame
}

// awaitStatus waits until a frame has completed with a status, which is byte 2.
func (d *driver) awaitStatus(frame uint64, want mfi.Status) {
	d.Wait32(frame, 0xff0000, uint32(want)<<16)
}

// initialize hands a reply ring of n entries over.
func (d *driver) initialize(n uint32) {
	d.entries = n
	d.ring = d.Reserve(4*uint64(n), 64)
	d.producer, d.consumer = d.Reserve(4, 4), d.Reserve(4, 4)
	info := mfi.QueueInfo{Entries: n, Base: d.ring, Producer: d.producer, Consumer: d.consumer}
	d.polled(mfi.Fields{Cmd: mfi.CmdInit, QueueInfo: d.Data(info.Marshal(), 64)}, mfi.StatusOK)
}

// transfer is a read or write of blocks, answered through the ring.
func (d *driver) transfer(cmd mfi.Cmd, lba uint64, blocks uint32, buffer uint64) (frame uint64, context uint32) {
	flags := mfi.FlagIEEE | mfi.FlagSGL64
	if cmd == mfi.CmdLDRead {
		flags |= mfi.FlagRead
	} else {
		flags |= mfi.FlagWrite
	}
	d.contexts++
	return d.frame(mfi.Fields{
		Cmd: cmd, Context: d.contexts, Flags: flags, LBA: lba, DataLen: blocks,
		SGL: []mfi.SGE{{Addr: buffer, Len: 512 * blocks}},
	}), d.contexts
}

// passThrough is a polled SCSI command to a volume that reads n bytes.
func (d *driver) passThrough(target uint8, n uint32, want mfi.Status, cdb ...byte) (buffer uint64) {
	if d.sense == 0 {
		d.sense = d.Reserve(96, 64)
	}
	buffer = d.Reserve(uint64(max(n, 1)), 64)
	x := mfi.Fields{Cmd: mfi.CmdLDSCSIIO, Target: target, CDB: cdb, SenseLen: 96, SenseAddr: d.sense, DataLen: n}
	if n > 0 {
		x.Flags = mfi.FlagRead | mfi.FlagIEEE | mfi.FlagSGL64
		x.SGL = []mfi.SGE{{Addr: buffer, Len: n}}
	}
	d.polled(x, want)
	return buffer
}

// dcmd is a polled management command that reads n bytes.
func (d *driver) dcmd(op mfi.Opcode, n uint32, want mfi.Status) (buffer uint64) {
	buffer = d.Reserve(uint64(n), 64)
	d.polled(mfi.Fields{
		Cmd: mfi.CmdDCMD, Opcode: op, DataLen: n, Flags: mfi.FlagRead,
		SGL: []mfi.SGE{{Addr: buffer, Len: n}},
	}, want)
	return buffer
}

// enableMSIX points vector 0 at processor 0 and turns MSI-X on.
func (d *driver) enableMSIX() {
	const enable = 0x8000
	d.Store32(bar+msixTable, payload.LAPIC)
	d.Store32(bar+msixTable+4, 0)
	d.Store32(bar+msixTable+8, vector)
	d.maskVector(false)
	d.ConfigWrite16(slot, 0, regMSIX+2, enable)
}

// maskVector sets the mask bit of vector 0.
func (d *driver) maskVector(masked bool) {
	var control uint32
	if masked {
		control = 1
	}
	d.Store32(bar+msixTable+12, control)
}

// read posts a read and sleeps until its reply is in the ring and an interrupt
// handler has set bit 0 of the word at flag. A handler only ever sets the bit:
// KVM that interprets guest code may call it once too often.
func (d *driver) read(lba uint64, flag uint64) (buffer uint64) {
	buffer = d.Reserve(512, 512)
	frame, context := d.transfer(mfi.CmdLDRead, lba, 1, buffer)
	d.Store32(flag, 0)
	d.post(frame)
	d.Wait32(d.producer, 0xffffffff, context%d.entries)
	d.HaltUntil32(flag, 1, 1)
	d.Store32(d.consumer, context%d.entries)
	return buffer
}

// or sets the bits of the accumulator in the word at addr.
func (d *driver) or(addr uint64) {
	d.Raw(0x48, 0xbb) // mov rbx, imm64
	d.Raw(binary.LittleEndian.AppendUint64(nil, addr)...)
	d.Raw(0x09, 0x03) // or [rbx], eax
}
