package megasas

import (
	"bytes"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/pci"
)

// TestLinuxBoot follows the Linux driver from probe to the first read, access by
// access, with MSI-X.
func TestLinuxBoot(t *testing.T) {
	cfg, d := oneDisk()
	copy(d.data, "first sector")
	g := newGuest(t, cfg)

	word := g.read(0xb0)
	if word&0xf0000000 != 0xb0000000 || word&(1<<26) == 0 {
		t.Fatalf("state word %#08x: want READY with MSI-X", word)
	}
	if n := word & 0xffff; n != 1008 {
		t.Errorf("%d commands, want 1008", n)
	}
	if n := word >> 16 & 0xff; n > 60 {
		t.Errorf("%d elements: Linux's frame block holds 61", n)
	}
	if mirror := g.read(0x18); mirror != word {
		t.Errorf("register 18 is %#x, want the state word %#x", mirror, word)
	}
	g.enableMSIX()
	g.write(0x34, 0xffffffff)
	if m := g.read(0x34); m != 0xffffffff {
		t.Errorf("mask reads %#x", m)
	}
	g.initialize(1008)
	if s := g.state(); s != mfi.StateOperational {
		t.Fatalf("state after INIT: %v", s)
	}

	info := g.mustDCMD(mfi.OpCtrlGetInfo, 2384, 1)
	checkBootInfo(t, info)
	if word := g.read(0xb0); word&(1<<26) == 0 {
		t.Error("OPERATIONAL without IEEE bit")
	}
	g.write(0xa0, 0xffffffff)
	g.openMask()

	if list := g.mustDCMD(mfi.OpPDListQuery, 8192, byte(mfi.PDQueryExposedToHost)); !bytes.Equal(list[:8], append(le32(8), le32(0)...)) {
		t.Errorf("system drives: % x, want none", list[:8])
	}
	list := g.mustDCMD(mfi.OpLDListQuery, 268, byte(mfi.LDQueryExposedToHost))
	if want := append(append(le32(12), le32(1)...), 0, 0, 0, 0); !bytes.Equal(list[:12], want) {
		t.Errorf("logical drives: % x, want % x", list[:12], want)
	}
	if len(g.m.msi) != 0 || len(g.replies()) != 0 {
		t.Error("a polled frame was answered through the ring")
	}
	for _, target := range []uint8{1, 63, 64, 128, 191, 255} {
		if _, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, target, 36, 0x12, 0, 0, 0, 36, 0); s != mfi.StatusDeviceNotFound {
			t.Errorf("INQUIRY to absent target %d: %v", target, s)
		}
	}
	probeDisk(g)

	newest := g.mem.u32(g.mustEventInfo())
	wait, _ := g.submit(mfi.Fields{
		Cmd: mfi.CmdDCMD, Opcode: mfi.OpCtrlEventWait, DataLen: 256, Flags: mfi.FlagRead,
		Mailbox: mfi.Mailbox(append(logged(newest+1, 0xfe00ffff), 0, 0, 0, 0)),
		SGL:     []mfi.SGE{{Addr: g.alloc(256), Len: 256}},
	})
	buf := g.alloc(4096)
	_, ctx := g.submit(mfi.Fields{
		Cmd: mfi.CmdLDRead, DataLen: 8, Flags: mfi.FlagRead | mfi.FlagIEEE | mfi.FlagSGL64,
		SGL: []mfi.SGE{{Addr: buf, Len: 4096}},
	})
	if data := <-g.m.msi; data != 0x41 {
		t.Errorf("message %#x", data)
	}
	if s := g.read(0x30); s != 0 {
		t.Errorf("interrupt status %#x with MSI-X: the driver would acknowledge it", s)
	}
	if got := g.collect(1); got[0] != ctx {
		t.Errorf("context %d, want %d", got[0], ctx)
	}
	if !bytes.HasPrefix(g.mem[buf:], []byte("first sector")) {
		t.Errorf("read % x", g.mem[buf:buf+16])
	}
	if s := g.status(wait); s != mfi.StatusPending {
		t.Errorf("EVENT_WAIT is not held: %v", s)
	}
}

// mustEventInfo posts EVENT_GET_INFO in interrupt mode, as Linux does, and
// returns where the reply is.
func (g *guest) mustEventInfo() uint64 {
	g.t.Helper()
	at := g.alloc(20)
	addr, ctx := g.submit(mfi.Fields{
		Cmd: mfi.CmdDCMD, Opcode: mfi.OpCtrlEventGetInfo, DataLen: 20, Flags: mfi.FlagRead,
		SGL: []mfi.SGE{{Addr: at, Len: 20}},
	})
	<-g.m.msi
	if got := g.collect(1); got[0] != ctx || g.status(addr) != mfi.StatusOK {
		g.t.Fatalf("EVENT_GET_INFO: context %d, status %v", got[0], g.status(addr))
	}
	return at
}

// checkBootInfo checks what Linux takes from the controller information.
func checkBootInfo(t *testing.T, p []byte) {
	m := memory(p)
	if id := m.u64(0); id != 0x9261_1000_0079_1000 {
		t.Errorf("PCI ids %#x", id)
	}
	if mb := m.u16(0x5d0); mb != 512 {
		t.Errorf("%d MiB of memory: without it Linux takes the card for an iMR", mb)
	}
	stripe, strips, request := uint32(1)<<p[0x5e8], uint32(m.u16(0x5da)), m.u32(0x5bc)
	if min(stripe*strips, request) < 256 {
		t.Errorf("largest request %d sectors, want 256 at least", min(stripe*strips, request))
	}
	if m.u32(0x620)&(1<<10) != 0 {
		t.Error("online controller reset is disabled")
	}
	if p[0x624] != 0 {
		t.Errorf("properties byte 24 is %#x: Linux goes for snap dumps and device lists", p[0x624])
	}
	for off, mask := range map[int]byte{0x20: 1 << 4, 0x7a6: 1 << 4, 0x7d0: 1, 0x7e8: 1 << 6, 0x7fd: 1 << 5} {
		if p[off]&mask != 0 {
			t.Errorf("byte %#x has bit %#x, which must stay clear", off, mask)
		}
	}
	for i, b := range p[2048:] {
		if b != 0 {
			t.Fatalf("byte %d beyond the structure was written", 2048+i)
		}
	}
}

// probeDisk does what the SCSI layer does with a disk that it found.
func probeDisk(g *guest) {
	t := g.t
	inq, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 36, 0x12, 0, 0, 0, 36, 0)
	if s != mfi.StatusOK || inq[0] != 0 || string(inq[8:16]) != "LSI     " || string(inq[16:32]) != "MR9260-8i       " {
		t.Errorf("INQUIRY: %v, %q", s, inq)
	}
	if _, s, status, sense := g.scsi(mfi.CmdLDSCSIIO, 0, 0, 0, 0, 0, 0, 0, 0); s != mfi.StatusOK {
		t.Errorf("TEST UNIT READY without data: %v, %#x, % x", s, status, sense)
	}
	capacity, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0)
	if want := []byte{0, 0, 0, 0, 0, 0, 0x1f, 0xff, 0, 0, 2, 0}; s != mfi.StatusOK || !bytes.Equal(capacity[:12], want) {
		t.Errorf("READ CAPACITY(16): %v, % x", s, capacity[:12])
	}
	mode, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 4, 0x1a, 0, 0x3f, 0, 4, 0)
	if s != mfi.StatusOK || mode[2]&0x80 != 0 || mode[2]&0x10 == 0 {
		t.Errorf("MODE SENSE: %v, % x: want writable, with FUA", s, mode)
	}
	_, s, status, sense := g.scsi(mfi.CmdLDSCSIIO, 0, 512, 0x85, 0x08, 0x0e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xec, 0)
	if s != mfi.StatusSCSIDoneWithError || status != 2 || len(sense) < 14 || sense[2] != 5 || sense[12] != 0x20 {
		t.Errorf("ATA PASS-THROUGH: %v, %#x, % x: want 5/20/00", s, status, sense)
	}
}

// TestConfigSpace walks the capability list and compares it with the card's.
func TestConfigSpace(t *testing.T) {
	cfg, _ := oneDisk()
	g := newGuest(t, cfg)
	f := g.c.Function()
	var p [256]byte
	f.ReadConfig(0, p[:])
	m := memory(p[:])
	if m.u32(0) != 0x00791000 || m.u32(8) != 0x01040005 || m.u32(0x2c) != 0x92611000 || p[0x3d] != 1 {
		t.Errorf("identity: % x", p[:0x40])
	}
	var got [][2]byte
	for at := p[0x34]; at != 0; at = p[at+1] {
		got = append(got, [2]byte{at, p[at]})
	}
	want := [][2]byte{{0x50, 0x01}, {0x68, 0x10}, {0xa8, 0x05}, {0xc0, 0x11}}
	if len(got) != len(want) {
		t.Fatalf("capabilities %x, want %x", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("capability %d: %x, want %x", i, got[i], want[i])
		}
	}
	if n := m.u16(0xc2) & 0x7ff; n != 14 {
		t.Errorf("MSI-X table of %d vectors, want 15", n+1)
	}
	if m.u32(0xc4) != 0x2001 || m.u32(0xc8) != 0x3801 {
		t.Errorf("MSI-X table at %#x, pending bits at %#x", m.u32(0xc4), m.u32(0xc8))
	}
	if g.m.mmio[queueBase] == nil {
		t.Error("BAR 3 is not decoded")
	}
	if mode := f.Mode(); mode != pci.ModeINTx {
		t.Errorf("interrupt mode %v before the guest chose one", mode)
	}
}

// TestSeaBIOS drives the controller through the I/O BAR without INIT, polled, as
// a BIOS does.
func TestSeaBIOS(t *testing.T) {
	cfg, d := oneDisk()
	d.data[510], d.data[511] = 0x55, 0xaa
	g := newGuest(t, cfg)
	g.regs = g.io

	list := memory(g.mustDCMD(mfi.OpLDGetList, 1032))
	if list.u32(0) != 1 || list[8] != 0 || list[12] != 3 || list.u64(16) != 8192 {
		t.Errorf("LD list: % x", list[:24])
	}
	boot, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0)
	if s != mfi.StatusOK || boot[510] != 0x55 || boot[511] != 0xaa {
		t.Errorf("READ(10) of the boot sector: %v, % x", s, boot[510:])
	}
	if g.state() != mfi.StateReady {
		t.Errorf("state %v, want READY still", g.state())
	}
}
