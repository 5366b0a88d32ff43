package megasas

import (
	"context"
	"encoding/binary"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/pci"
)

// machine is the pci.Platform of a test: it remembers where BARs are mapped, and
// passes interrupts on.
type machine struct {
	mu   sync.Mutex
	mmio map[uint64]pci.Region
	port map[uint64]pci.Region
	msi  chan uint32
	line bool
	rise chan struct{}
}

func newMachine() *machine {
	return &machine{
		mmio: map[uint64]pci.Region{},
		port: map[uint64]pci.Region{},
		msi:  make(chan uint32, 1<<16),
		rise: make(chan struct{}, 1<<16),
	}
}

func (m *machine) SetIRQ(_ int, asserted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if asserted && !m.line {
		m.rise <- struct{}{}
	}
	m.line = asserted
}

func (m *machine) asserted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.line
}

func (m *machine) SendMSI(_ uint64, data uint32) error {
	select {
	case m.msi <- data:
	default: // a benchmark that polls
	}
	return nil
}

func (m *machine) MapMMIO(base, _ uint64, h pci.Region) error { m.mmio[base] = h; return nil }
func (m *machine) UnmapMMIO(base, _ uint64)                   { delete(m.mmio, base) }
func (m *machine) MapPort(base, _ uint64, h pci.Region) error { m.port[base] = h; return nil }
func (m *machine) UnmapPort(base, _ uint64)                   { delete(m.port, base) }

// Where the test's firmware puts the BARs.
const (
	portBase  = 0xc000
	mmioBase  = 0xfeb00000
	queueBase = 0xfea00000
)

// guest drives a controller as a driver does.
type guest struct {
	t    testing.TB
	c    *Controller
	m    *machine
	mem  memory
	free uint64 // next free address
	word [4]byte

	regs pci.Region // BAR 1
	io   pci.Region // BAR 0

	ring     uint64
	entries  uint32
	producer uint64
	consumer uint64
	tail     uint32
	frames   uint32 // contexts given out
}

// ramSize is the RAM of a test's guest.
const ramSize = 16 << 20

// newGuest makes a machine with a controller, BARs placed, and bus mastering
// allowed. The firmware is READY.
func newGuest(t testing.TB, cfg Config) *guest {
	t.Helper()
	if strings.HasPrefix(t.Name(), "TestSAS8708EM2/") {
		cfg.Profile = SAS8708EM2()
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, c: c, m: newMachine(), mem: newMemory(ramSize), free: 0x1000}
	bus := pci.NewBus(g.m, func(int, int) int { return 16 })
	if err := bus.Attach(5, 0, c.Function()); err != nil {
		t.Fatal(err)
	}
	g.place()
	c.Attach(g.mem)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testLimit)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	g.await("READY", func() bool { return g.state() == mfi.StateReady })
	return g
}

// place puts the BARs where the guest expects them and turns on decoding.
func (g *guest) place() {
	g.config32(0x10+4*g.c.p.layout.ioBAR, portBase)
	g.config32(0x10+4*g.c.p.layout.memoryBAR, mmioBase)
	g.config32(0x1c, queueBase)
	g.config16(0x04, 0x0007)
	g.regs, g.io = g.m.mmio[mmioBase], g.m.port[portBase]
	if g.regs == nil || g.io == nil {
		g.t.Fatal("the BARs are not decoded")
	}
}

func (g *guest) config16(off int, v uint16) {
	g.c.Function().WriteConfig(off, binary.LittleEndian.AppendUint16(nil, v))
}

func (g *guest) config32(off int, v uint32) {
	g.c.Function().WriteConfig(off, binary.LittleEndian.AppendUint32(nil, v))
}

// enableMSIX programs vector 0 and turns MSI-X on.
func (g *guest) enableMSIX() {
	for off, v := range map[uint64]uint32{0: 0xfee00000, 4: 0, 8: 0x41, 12: 0} {
		g.regs.Write(g.c.p.layout.msixTable+off, binary.LittleEndian.AppendUint32(nil, v))
	}
	g.config16(g.c.p.layout.msix+2, 0x8000)
}

// enableMSI programs a message and turns MSI on.
func (g *guest) enableMSI() {
	msi := g.c.p.layout.msi
	g.config32(msi+4, 0xfee00000)
	g.config16(msi+12, 0x42)
	g.config16(msi+2, 1)
}

// openMask lets replies interrupt, and faults, as Linux does for the card.
func (g *guest) openMask() {
	if g.c.p.layout.replyBit == statusReply1 {
		g.write(0x34, 0x7fffffff) // replies only
		return
	}
	g.write(0x34, 0xfffffffa)
}

// resetFunction is a function-level reset.
func (g *guest) resetFunction() { g.config16(g.c.p.layout.express+8, 0x8000) }

func (g *guest) read(off uint64) uint32 {
	var p [4]byte
	g.regs.Read(off, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

func (g *guest) write(off uint64, v uint32) {
	binary.LittleEndian.PutUint32(g.word[:], v)
	g.regs.Write(off, g.word[:])
}

func (g *guest) state() mfi.State { return mfi.State(g.read(0xb0) & 0xf0000000) }

// testLimit is far more than anything takes that a test waits for.
const testLimit = 5 * time.Minute

// await waits for something that the controller does by itself.
func (g *guest) await(what string, ok func() bool) {
	g.t.Helper()
	deadline := time.Now().Add(testLimit)
	for !ok() {
		if time.Now().After(deadline) {
			g.t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// alloc returns zeroed memory, 256-byte aligned as Linux aligns frames.
func (g *guest) alloc(n uint64) uint64 {
	addr := (g.free + 255) &^ 255
	g.free = addr + n
	if g.free > uint64(len(g.mem)) {
		g.t.Fatal("out of guest memory")
	}
	return addr
}

// put stores a frame and returns its address.
func (g *guest) put(x mfi.Fields) uint64 {
	if !g.c.p.IEEE {
		x.Flags &^= mfi.FlagIEEE // drivers use what is left, SGL64 or SGE32
	}
	f := x.Marshal()
	addr := g.alloc(uint64(len(f)))
	copy(g.mem[addr:], f)
	return addr
}

// post rings the bell for a frame.
func (g *guest) post(addr uint64) { g.write(0x40, uint32(addr)|1) }

// status is the completion status of a frame.
func (g *guest) status(addr uint64) mfi.Status {
	w, err := g.mem.Load32(addr)
	if err != nil {
		g.t.Fatal(err)
	}
	return mfi.Status(w >> 16)
}

func (g *guest) scsiStatus(addr uint64) byte {
	w, err := g.mem.Load32(addr)
	if err != nil {
		g.t.Fatal(err)
	}
	return byte(w >> 24)
}

// poll posts a frame that is not to be answered through the ring, waits for it
// and returns its address and status.
func (g *guest) poll(x mfi.Fields) (uint64, mfi.Status) {
	g.t.Helper()
	x.Flags |= mfi.FlagDontPost
	addr := g.put(x)
	g.post(addr)
	g.await(x.Cmd.String(), func() bool { return g.status(addr) != mfi.StatusPending })
	return addr, g.status(addr)
}

// submit posts a frame that is answered through the ring.
func (g *guest) submit(x mfi.Fields) (addr uint64, context uint32) {
	g.frames++
	x.Context = g.frames
	addr = g.put(x)
	g.post(addr)
	return addr, x.Context
}

// initialize is INIT with a ring of n entries.
func (g *guest) initialize(n uint32) {
	g.t.Helper()
	g.entries, g.tail = n, 0
	g.ring, g.producer, g.consumer = g.alloc(4*uint64(n)), g.alloc(4), g.alloc(4)
	if s := g.init(mfi.QueueInfo{Entries: n, Base: g.ring, Producer: g.producer, Consumer: g.consumer}); s != mfi.StatusOK {
		g.t.Fatalf("INIT: %v", s)
	}
}

func (g *guest) init(q mfi.QueueInfo) mfi.Status {
	g.t.Helper()
	at := g.alloc(mfi.QueueInfoLen)
	copy(g.mem[at:], q.Marshal())
	_, s := g.poll(mfi.Fields{Cmd: mfi.CmdInit, QueueInfo: at})
	return s
}

// replies returns the contexts that were posted since the last call.
func (g *guest) replies() []uint32 {
	head, err := g.mem.Load32(g.producer)
	if err != nil {
		g.t.Fatal(err)
	}
	if head >= g.entries {
		g.t.Fatalf("producer index %d of %d entries", head, g.entries)
	}
	var list []uint32
	for g.tail != head {
		ctx, _ := g.mem.Load32(g.ring + 4*uint64(g.tail))
		list = append(list, ctx)
		if g.tail++; g.tail == g.entries {
			g.tail = 0
		}
	}
	_ = g.mem.Store32(g.consumer, g.tail)
	return list
}

// collect waits for n replies.
func (g *guest) collect(n int) []uint32 {
	g.t.Helper()
	var list []uint32
	g.await("replies", func() bool {
		list = append(list, g.replies()...)
		return len(list) >= n
	})
	if len(list) != n {
		g.t.Fatalf("%d replies, want %d", len(list), n)
	}
	return list
}

// idle waits until interrupts were raised for all replies that are in the ring.
func (g *guest) idle() {
	g.await("the end of posting", func() bool {
		g.c.replies.mu.Lock()
		defer g.c.replies.mu.Unlock()
		return !g.c.replies.posting
	})
}

// dcmd sends a management command, polled, with one SGE of n bytes as Linux
// does, and returns the reply buffer.
func (g *guest) dcmd(op mfi.Opcode, n uint32, box ...byte) ([]byte, mfi.Status) {
	g.t.Helper()
	x := mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: op, DataLen: n, Flags: mfi.FlagRead}
	copy(x.Mailbox[:], box)
	if n > 0 {
		at := g.alloc(uint64(n))
		x.SGL = []mfi.SGE{{Addr: at, Len: n}}
	}
	_, s := g.poll(x)
	if n == 0 {
		return nil, s
	}
	return g.mem[x.SGL[0].Addr:][:n], s
}

// mustDCMD is dcmd that has to succeed.
func (g *guest) mustDCMD(op mfi.Opcode, n uint32, box ...byte) []byte {
	g.t.Helper()
	p, s := g.dcmd(op, n, box...)
	if s != mfi.StatusOK {
		g.t.Fatalf("%v: %v", op, s)
	}
	return p
}

// scsi sends a CDB, polled, and returns the data buffer of n bytes and the
// result: frame status, SCSI status and sense data.
func (g *guest) scsi(cmd mfi.Cmd, target uint8, n uint32, cdb ...byte) (data []byte, s mfi.Status, status byte, sense []byte) {
	g.t.Helper()
	x := mfi.Fields{Cmd: cmd, Target: target, CDB: cdb, DataLen: n, SenseLen: 96, SenseAddr: g.alloc(128), Flags: mfi.FlagIEEE | mfi.FlagSGL64}
	at := g.alloc(uint64(n))
	if n > 0 {
		x.SGL = []mfi.SGE{{Addr: at, Len: n}}
	}
	addr, s := g.poll(x)
	if s == mfi.StatusSCSIDoneWithError {
		sense = g.mem[x.SenseAddr:][:g.mem[addr+1]]
	}
	return g.mem[at:][:n], s, g.scsiStatus(addr), sense
}

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// logged is the mailbox of the event commands: first sequence number, filter.
func logged(first uint32, f mfi.EventFilter) []byte {
	return append(le32(first), le32(uint32(f))...)
}

// oneDisk is a controller with a volume on a disk of 4 MiB.
func oneDisk() (Config, *disk) {
	d := newDisk(4 << 20)
	return Config{Drives: []DriveConfig{{Drive: drive(d, 0), Name: "data"}}}, d
}

// nullDisk is a controller with a volume of 4 MiB that moves no data, so that
// many commands can share a buffer.
func nullDisk() Config {
	return Config{Drives: []DriveConfig{{Drive: drive(null{4 << 20}, 0)}}}
}
