package payloadtests

import (
	"bytes"
	"fmt"

	"github.com/govmm/govmm/megasas/mfi"
)

// Where the guest puts the controller.
const (
	slot      = 5 // the first that is free on the bus
	portBase  = 0xc000
	regsBase  = 0xc1000000
	queueBase = 0xc2000000
)

// Registers and bits of configuration space.
const (
	regCommand = 0x04
	regBAR0    = 0x10

	commandIO     = 1 << 0
	commandMemory = 1 << 1
	commandMaster = 1 << 2

	statusInterrupt = 1 << 19 // of the dword at regCommand
)

// Registers of the controller.
const (
	regDoorbell = 0x20
	regStatus   = 0x30 // of interrupts
	regMask     = 0x34
	regPost     = 0x40
	regClear    = 0xa0
	regState    = 0xb0

	replyPosted = 1 << 0 // in regStatus

	maskNone = 0xfffffffa // what drivers write to hear of replies and faults
	maskAll  = 0xffffffff
)

// stateMask is the state in regState, statusMask the status in a frame's first
// word.
const (
	stateMask     = 0xf0000000
	statusMask    = 0xff << 16
	statusPending = uint32(mfi.StatusPending) << 16
)

// place programs the BARs and lets the function decode what command says.
func (g *guest) place(command uint16) {
	g.begin("place the BARs")
	for i, base := range []uint32{portBase, regsBase, 0, queueBase, 0} {
		g.ConfigWrite32(slot, 0, regBAR0+4*i, base)
	}
	g.ConfigWrite16(slot, 0, regCommand, command)
}

// write writes a register.
func (g *guest) write(reg uint16, v uint32) {
	if g.viaPorts {
		g.Out32(portBase+reg, v)
	} else {
		g.Store32(regsBase+uint64(reg), v)
	}
}

// read reads a register into the accumulator.
func (g *guest) read(reg uint16) {
	if g.viaPorts {
		g.In32(portBase + reg)
	} else {
		g.Load32(regsBase + uint64(reg))
	}
}

// awaitState waits until the firmware is in a state.
func (g *guest) awaitState(s mfi.State) {
	g.begin(fmt.Sprintf("wait until the firmware is %v", s))
	if g.viaPorts {
		g.WaitPort32(portBase+regState, stateMask, uint32(s))
	} else {
		g.Wait32(regsBase+regState, stateMask, uint32(s))
	}
}

// drive brings the controller to READY as a driver finds it: BARs in place,
// memory decoded, bus mastering on.
func (g *guest) drive() {
	g.place(commandMemory | commandMaster)
	g.awaitState(mfi.StateReady)
}

// frame puts a frame into memory.
func (g *guest) frame(x mfi.Fields) uint64 {
	f := x.Marshal()
	addr := g.alloc(uint64(len(f)))
	g.put(addr, f)
	return addr
}

// post rings the bell for a frame, as Linux does for a short one.
func (g *guest) post(frame uint64) { g.write(regPost, uint32(frame)|1) }

// poll posts a frame that is not to be answered through the ring, and waits for
// its status.
func (g *guest) poll(x mfi.Fields, want mfi.Status) (frame uint64) {
	x.Flags |= mfi.FlagDontPost
	frame = g.frame(x)
	name := describe(x)
	g.begin("poll for " + name)
	g.post(frame)
	g.WaitOther32(frame, statusMask, statusPending)
	g.wantStatus(name, frame, want)
	return frame
}

// wantStatus checks a frame's status at the end.
func (g *guest) wantStatus(name string, frame uint64, want mfi.Status) {
	g.check(func() {
		if s := g.statusOf(frame); s != want {
			g.t.Errorf("%s: status %v, want %v", name, s, want)
		}
	})
}

// describe names a frame in messages.
func describe(x mfi.Fields) string {
	switch x.Cmd {
	case mfi.CmdDCMD:
		return x.Opcode.String()
	case mfi.CmdLDRead, mfi.CmdLDWrite:
		return fmt.Sprintf("%v of %d blocks from %d, %d elements", x.Cmd, x.DataLen, x.LBA, len(x.SGL))
	case mfi.CmdLDSCSIIO, mfi.CmdPDSCSIIO:
		return fmt.Sprintf("%v of CDB % x", x.Cmd, x.CDB)
	}
	return x.Cmd.String()
}

// dcmd is a management command with room for n bytes, as Linux builds it: one
// short element, whatever the others of its frames are. The reply is at SGL[0].
func (g *guest) dcmd(op mfi.Opcode, n uint32) mfi.Fields {
	x := mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: op, DataLen: n, Flags: mfi.FlagRead}
	if n > 0 {
		x.SGL = []mfi.SGE{{Addr: g.alloc(uint64(n)), Len: n}}
	}
	return x
}

// transfer is an LD_READ or LD_WRITE through IEEE elements of the given lengths,
// scattered over memory. Together they must be whole blocks.
func (g *guest) transfer(cmd mfi.Cmd, lba uint64, lengths ...uint32) mfi.Fields {
	x := mfi.Fields{Cmd: cmd, LBA: lba, Flags: mfi.FlagIEEE | mfi.FlagSGL64 | mfi.FlagRead, SenseLen: 96, SenseAddr: g.alloc(96)}
	if cmd == mfi.CmdLDWrite {
		x.Flags ^= mfi.FlagRead | mfi.FlagWrite
	}
	total := uint32(0)
	for i, n := range lengths {
		skew := uint64(4 * i) // so that pages and blocks begin anywhere in an element
		x.SGL = append(x.SGL, mfi.SGE{Addr: g.alloc(skew+uint64(n)) + skew, Len: n})
		total += n
	}
	if total%blockSize != 0 {
		panic(fmt.Sprintf("elements of %d bytes are not whole blocks", total))
	}
	x.DataLen = total / blockSize
	return x
}

// reading is a read, and a check that it brings what is on the disk when the
// program comes to it.
func (g *guest) reading(lba uint64, lengths ...uint32) mfi.Fields {
	x := g.transfer(mfi.CmdLDRead, lba, lengths...)
	g.wantData(describe(x), x.SGL, lba)
	return x
}

// wantData checks that memory holds what is on the disk now, from block lba on.
func (g *guest) wantData(name string, sgl []mfi.SGE, lba uint64) {
	n := uint64(0)
	for _, e := range sgl {
		n += uint64(e.Len)
	}
	want := bytes.Clone(g.disk.want[lba*blockSize:][:n])
	g.check(func() {
		off := 0
		for i, e := range sgl {
			got := g.bytes(e.Addr, uint64(e.Len))
			if diff := difference(got, want[off:off+len(got)]); diff >= 0 {
				g.t.Errorf("%s: wrong data from byte %d of element %d on: % x..., want % x...", name, diff, i,
					got[diff:][:min(8, len(got)-diff)], want[off+diff:][:min(8, len(got)-diff)])
				return
			}
			off += len(got)
		}
	})
}

// writing is a write of data that was nowhere before, which is on the disk from
// this place in the program on.
func (g *guest) writing(seed byte, lba uint64, lengths ...uint32) mfi.Fields {
	x := g.transfer(mfi.CmdLDWrite, lba, lengths...)
	data := pattern(seed, int(x.DataLen)*blockSize)
	copy(g.disk.want[lba*blockSize:], data)
	for _, e := range x.SGL {
		g.put(e.Addr, data[:e.Len])
		data = data[e.Len:]
	}
	return x
}
