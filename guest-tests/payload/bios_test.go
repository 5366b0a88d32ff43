package payloadtests

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// cdb passes a CDB to the volume as a BIOS does: 32-bit elements, one of them.
func (g *guest) cdb(target uint8, n uint32, cdb ...byte) mfi.Fields {
	x := mfi.Fields{Cmd: mfi.CmdLDSCSIIO, Target: target, CDB: cdb, DataLen: n, Flags: mfi.FlagRead}
	if n > 0 {
		x.SGL = []mfi.SGE{{Addr: g.alloc(uint64(n)), Len: n}}
	}
	return x
}

// TestBIOSReadsTheDisk does what a BIOS does to boot: ports only, no INIT, no
// interrupts, one polled frame after the other.
func TestBIOSReadsTheDisk(t *testing.T) {
	g := newGuest(t)
	g.viaPorts = true
	g.place(commandIO | commandMaster)
	g.awaitState(mfi.StateReady)

	list := g.dcmd(mfi.OpLDGetList, mfi.LDListLen)
	g.poll(list, mfi.StatusOK)
	g.poll(g.cdb(0, 0, 0x00, 0, 0, 0, 0, 0), mfi.StatusOK) // TEST UNIT READY
	inquiry := g.cdb(0, 36, 0x12, 0, 0, 0, 36, 0)
	g.poll(inquiry, mfi.StatusOK)
	capacity := g.cdb(0, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	g.poll(capacity, mfi.StatusOK)
	boot := g.cdb(0, blockSize, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0) // READ(10), block 0
	g.wantData("boot sector", boot.SGL, 0)
	g.poll(boot, mfi.StatusOK)
	// A loader's read, across the end of the data that is in the image.
	loader := g.cdb(0, 64*blockSize, 0x28, 0, 0, 0, 0, preloaded-32, 0, 0, 64, 0)
	g.wantData("64 blocks", loader.SGL, preloaded-32)
	g.poll(loader, mfi.StatusOK)
	g.awaitState(mfi.StateReady) // still
	g.run()

	p := g.bytes(list.SGL[0].Addr, mfi.LDListLen)
	if n := binary.LittleEndian.Uint32(p); n != 1 {
		t.Fatalf("%d logical drives in the list, want 1", n)
	}
	const optimal = 3
	if e := p[8:]; e[0] != 0 || e[4] != optimal || binary.LittleEndian.Uint64(e[8:]) != diskSize/blockSize {
		t.Errorf("first logical drive: target %d, state %d, %d blocks; want target 0, state %d, %d blocks",
			e[0], e[4], binary.LittleEndian.Uint64(e[8:]), optimal, diskSize/blockSize)
	}
	if p := g.bytes(inquiry.SGL[0].Addr, 36); p[0] != 0 || !bytes.HasPrefix(p[8:], []byte("LSI ")) {
		t.Errorf("INQUIRY: device type %d, vendor %q", p[0], p[8:16])
	}
	p = g.bytes(capacity.SGL[0].Addr, 8)
	if last, size := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:]); last != diskSize/blockSize-1 || size != blockSize {
		t.Errorf("READ CAPACITY: last block %d of %d bytes", last, size)
	}
	if s := g.controller.Stats(); s.Interrupts != 0 || s.Batches != 0 {
		t.Errorf("%d interrupts and %d batches of replies for frames that are polled", s.Interrupts, s.Batches)
	}
}
