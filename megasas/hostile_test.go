package megasas

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// alive checks that the controller still works.
func (g *guest) alive() {
	g.t.Helper()
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	if _, s := g.poll(r); s != mfi.StatusOK {
		g.t.Errorf("a read afterwards: %v", s)
	}
}

func TestBadFrames(t *testing.T) {
	cfg, d := oneDisk()
	g := newGuest(t, cfg)
	read := func(change func(*mfi.Fields)) mfi.Fields {
		x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
		change(&x)
		return x
	}
	cdb := func(change func(*mfi.Fields)) mfi.Fields {
		x := mfi.Fields{Cmd: mfi.CmdLDSCSIIO, CDB: []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0}, SenseLen: 96,
			SenseAddr: g.alloc(128), DataLen: 4096, SGL: []mfi.SGE{{Addr: g.alloc(4096), Len: 4096}}}
		change(&x)
		return x
	}
	const lbaRange, opcode = "\x05\x21", "\x05\x20"
	for name, tt := range map[string]struct {
		x     mfi.Fields
		want  mfi.Status
		sense string // key and code
	}{
		"unknown command":      {mfi.Fields{Cmd: 0x7f}, mfi.StatusInvalidCmd, ""},
		"SMP":                  {mfi.Fields{Cmd: mfi.CmdSMP}, mfi.StatusDeviceNotFound, ""},
		"STP":                  {mfi.Fields{Cmd: mfi.CmdSTP}, mfi.StatusPDTypeWrong, ""},
		"list shorter":         {read(func(x *mfi.Fields) { x.DataLen = 2 }), mfi.StatusInvalidSGL, ""},
		"no list":              {read(func(x *mfi.Fields) { x.SGL = nil }), mfi.StatusInvalidSGL, ""},
		"list longer":          {read(func(x *mfi.Fields) { x.SGL[0].Len = math.MaxUint32 }), mfi.StatusOK, ""},
		"element beyond RAM":   {read(func(x *mfi.Fields) { x.SGL[0].Addr = ramSize - 256 }), mfi.StatusInvalidSGL, ""},
		"element in a BAR":     {read(func(x *mfi.Fields) { x.SGL[0].Addr = mmioBase }), mfi.StatusInvalidSGL, ""},
		"element wraps":        {read(func(x *mfi.Fields) { x.SGL[0].Addr = math.MaxUint64 - 16 }), mfi.StatusInvalidSGL, ""},
		"61 elements":          {read(func(x *mfi.Fields) { x.SGL = make([]mfi.SGE, 61) }), mfi.StatusInvalidSGL, ""},
		"beyond the end":       {read(func(x *mfi.Fields) { x.LBA = 8192 }), mfi.StatusSCSIDoneWithError, lbaRange},
		"far beyond the end":   {read(func(x *mfi.Fields) { x.LBA = math.MaxUint64 }), mfi.StatusSCSIDoneWithError, lbaRange},
		"2^32-1 blocks":        {read(func(x *mfi.Fields) { x.DataLen = math.MaxUint32 }), mfi.StatusSCSIDoneWithError, lbaRange},
		"no blocks":            {read(func(x *mfi.Fields) { x.DataLen, x.SGL = 0, nil }), mfi.StatusOK, ""},
		"target 200":           {read(func(x *mfi.Fields) { x.Target = 200 }), mfi.StatusDeviceNotFound, ""},
		"data shorter than it": {cdb(func(x *mfi.Fields) { x.DataLen = 512 }), mfi.StatusInvalidSGL, ""},
		"no data for a READ":   {cdb(func(x *mfi.Fields) { x.DataLen, x.SGL = 0, nil }), mfi.StatusInvalidSGL, ""},
		"data, but no list":    {cdb(func(x *mfi.Fields) { x.SGL = nil }), mfi.StatusInvalidSGL, ""},
		"data of 4 GiB":        {cdb(func(x *mfi.Fields) { x.DataLen, x.SGL[0].Len = math.MaxUint32, math.MaxUint32 }), mfi.StatusInvalidParameter, ""},
		"empty CDB":            {cdb(func(x *mfi.Fields) { x.CDB = nil }), mfi.StatusSCSIDoneWithError, opcode},
		"CDB of 32 bytes":      {cdb(func(x *mfi.Fields) { x.CDB = make([]byte, 32) }), mfi.StatusSCSIDoneWithError, opcode},
		"CDB of 255 bytes":     {cdb(func(x *mfi.Fields) { x.CDB = make([]byte, 255) }), mfi.StatusSCSIDoneWithError, opcode},
		"CDB cut short":        {cdb(func(x *mfi.Fields) { x.CDB = x.CDB[:6] }), mfi.StatusSCSIDoneWithError, opcode},
		"unknown opcode":       {cdb(func(x *mfi.Fields) { x.CDB = []byte{0xff, 1, 2, 3, 4, 5} }), mfi.StatusSCSIDoneWithError, opcode},
		"UNMAP without list":   {cdb(func(x *mfi.Fields) { x.CDB, x.DataLen, x.SGL = []byte{0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0}, 0, nil }), mfi.StatusSCSIDoneWithError, "\x05\x1a"},
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			addr, s := g.poll(tt.x)
			if s != tt.want {
				t.Fatalf("%v, want %v", s, tt.want)
			}
			if tt.sense != "" {
				sense := g.mem[tt.x.SenseAddr:][:18]
				if g.scsiStatus(addr) != 2 || g.mem[addr+1] != 18 || sense[2] != tt.sense[0] || sense[12] != tt.sense[1] {
					t.Errorf("sense % x, want % x", sense, tt.sense)
				}
			}
		})
	}
	g.t = t
	if d.writes.Load() != 0 {
		t.Error("something was written to the disk")
	}
	g.alive()
}

// TestFramesNotInMemory posts addresses at which there is no whole frame.
func TestFramesNotInMemory(t *testing.T) {
	cfg, _ := oneDisk()
	g := newGuest(t, cfg)
	for _, addr := range []uint64{ramSize, ramSize + 64, mmioBase, 0xffffffe0} {
		g.post(addr)
	}
	g.await("frames without a header", func() bool { return g.c.Stats().Unreadable == 4 })

	// The header is in memory and the rest is not.
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	at := uint64(ramSize - 32)
	copy(g.mem[at:], x.Marshal())
	g.post(at)
	g.await("a frame without a body", func() bool { return g.status(at) != mfi.StatusPending })
	if s := g.status(at); s != mfi.StatusInvalidParameter {
		t.Errorf("frame that ends outside of memory: %v", s)
	}
	// A frame may end at the very last byte.
	f := mfi.Fields{Cmd: mfi.CmdLDSCSIIO, CDB: make([]byte, 6), Flags: mfi.FlagDontPost}.Marshal()
	at = ramSize - 64
	copy(g.mem[at:], f)
	g.write(0x40, uint32(at)|0x1f) // and the count tells of 15 more
	g.await("the last frame", func() bool { return g.status(at) != mfi.StatusPending })
	if s := g.status(at); s != mfi.StatusOK {
		t.Errorf("frame at the end of memory: %v", s)
	}
	g.alive()
}

func TestBadSense(t *testing.T) {
	cfg, _ := oneDisk()
	g := newGuest(t, cfg)
	for name, tt := range map[string]struct {
		addr      uint64
		size, out uint8
		flags     mfi.Flags
	}{
		"in a BAR":                     {mmioBase, 96, 0, 0},
		"beyond RAM":                   {ramSize - 4, 96, 0, 0},
		"above 4 GiB":                  {1 << 40, 96, 0, mfi.FlagSense64},
		"no room":                      {0x800, 0, 0, 0},
		"4 bytes":                      {0x800, 4, 4, 0},
		"255 bytes":                    {0x800, 255, 18, 0},
		"high rubbish, 32-bit address": {0xdead<<32 | 0x800, 96, 18, 0},
	} {
		clear(g.mem[0x800:0x900])
		x := mfi.Fields{Cmd: mfi.CmdLDSCSIIO, CDB: []byte{0xff, 0, 0, 0, 0, 0}, SenseAddr: tt.addr, SenseLen: tt.size, Flags: tt.flags}
		addr, s := g.poll(x)
		if s != mfi.StatusSCSIDoneWithError || g.scsiStatus(addr) != 2 || g.mem[addr+1] != tt.out {
			t.Errorf("%s: %v, %d bytes of sense, want %d", name, s, g.mem[addr+1], tt.out)
		}
		if tt.addr&0xffffffff == 0x800 && g.mem[0x800+uint64(tt.out)] != 0 {
			t.Errorf("%s: more sense than was told", name)
		}
	}
	g.alive()
}

func TestBadInit(t *testing.T) {
	cfg, _ := oneDisk()
	g := newGuest(t, cfg)
	ring, index := g.alloc(4096), g.alloc(8)
	good := mfi.QueueInfo{Entries: 128, Base: ring, Producer: index, Consumer: index + 4}
	for name, change := range map[string]func(*mfi.QueueInfo){
		"no entries":           func(q *mfi.QueueInfo) { q.Entries = 0 },
		"too many entries":     func(q *mfi.QueueInfo) { q.Entries = 1009 },
		"2^32-1 entries":       func(q *mfi.QueueInfo) { q.Entries = math.MaxUint32 },
		"ring beyond RAM":      func(q *mfi.QueueInfo) { q.Base = ramSize - 256 },
		"ring in a BAR":        func(q *mfi.QueueInfo) { q.Base = mmioBase },
		"ring wraps":           func(q *mfi.QueueInfo) { q.Base = math.MaxUint64 - 3 },
		"ring not aligned":     func(q *mfi.QueueInfo) { q.Base += 2 },
		"producer in a BAR":    func(q *mfi.QueueInfo) { q.Producer = mmioBase + 0x30 },
		"consumer beyond RAM":  func(q *mfi.QueueInfo) { q.Consumer = ramSize },
		"producer not aligned": func(q *mfi.QueueInfo) { q.Producer++ },
		"producer at the end":  func(*mfi.QueueInfo) { copy(g.mem[index:], le32(128)) },
		"producer negative":    func(*mfi.QueueInfo) { copy(g.mem[index:], le32(0x80000000)) },
		"producer is all ones": func(*mfi.QueueInfo) { copy(g.mem[index:], le32(0xffffffff)) },
	} {
		q := good
		clear(g.mem[index : index+8])
		change(&q)
		if s := g.init(q); s != mfi.StatusInvalidParameter {
			t.Errorf("%s: %v", name, s)
		}
		if g.state() != mfi.StateReady {
			t.Errorf("%s: state %v", name, g.state())
		}
	}
	if _, s := g.poll(mfi.Fields{Cmd: mfi.CmdInit, QueueInfo: mmioBase}); s != mfi.StatusInvalidParameter {
		t.Errorf("description in a BAR: %v", s)
	}
	copy(g.mem[index:], le32(127))          // the last one is fine,
	copy(g.mem[index+4:], le32(0xffffffff)) // and the consumer is the guest's business
	if s := g.init(good); s != mfi.StatusOK {
		t.Fatal(s)
	}
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	g.submit(r)
	g.await("a reply at the last entry", func() bool { n, _ := g.mem.Load32(index); return n == 0 })
	if ctx := g.mem.u32(ring + 4*127); ctx != 1 {
		t.Errorf("context %d", ctx)
	}
}

// TestOverlap reads into the frame itself, its sense buffer and the reply ring.
func TestOverlap(t *testing.T) {
	cfg, _ := oneDisk()
	g := running(t, cfg, 129)
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	for _, at := range []uint64{(g.free + 255) &^ 255, x.SenseAddr &^ 255, g.ring, g.producer &^ 255} {
		x.SGL[0].Addr = at
		before := g.c.Stats().Completed
		g.submit(x)
		g.await("the read", func() bool { return g.c.Stats().Completed > before })
		g.idle()
	}
	g.alive()
}

// TestFlood posts the same frame without end and never looks at the ring.
func TestFlood(t *testing.T) {
	g := running(t, nullDisk(), 129)
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	addr := g.put(r)
	const n = 50000
	for range n {
		g.post(addr)
	}
	g.await("the end of the flood", func() bool {
		s := g.c.Stats()
		return s.Posted+s.Dropped == n+1 && s.Completed == s.Posted
	})
	g.alive()
}

// TestFrameChangesUnderneath has a second CPU rewrite frames while they are
// carried out. It ends with the controller alive and the ring whole. Words are
// rewritten atomically: what the guest does to itself is not the test's race.
func TestFrameChangesUnderneath(t *testing.T) {
	g := newGuest(t, nullDisk())
	g.c.dma = rewriting{g.mem, new(atomic.Uint64)}
	g.initialize(1008)
	rng := rand.New(rand.NewPCG(3, 4))
	r, _ := g.blocks(mfi.CmdLDRead, 0, 512, 512)
	for range 2000 {
		addr := g.put(r)
		f := g.mem[addr:]
		for range rng.IntN(4) {
			f[rng.IntN(0x60)] = byte(rng.Uint32())
		}
		g.post(addr)
		if g.free > 8<<20 {
			g.free = 1 << 20
		}
	}
	g.await("the frames", func() bool {
		s := g.c.Stats()
		return s.Completed+uint64(len(g.c.heldWaits())) >= s.Posted
	})
}

// rewriting is guest memory in which every byte of a frame changes after it was
// read: a controller that reads one twice sees two values.
type rewriting struct {
	memory
	reads *atomic.Uint64
}

var rewriteMu sync.Mutex

//go:norace
func (m rewriting) ReadAt(p []byte, addr uint64) error {
	rewriteMu.Lock()
	defer rewriteMu.Unlock()
	if err := m.memory.ReadAt(p, addr); err != nil {
		return err
	}
	if m.reads.Add(1) > 4 { // INIT is left alone
		for i := range p {
			m.memory[addr+uint64(i)] ^= 0xff
		}
	}
	return nil
}

// FuzzFrame posts any frame whatever, polled, in a guest whose memory holds
// rubbish.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(mfi.Fields{Cmd: mfi.CmdLDRead, DataLen: 1, SGL: []mfi.SGE{{Addr: 0x2000, Len: 512}}}.Marshal()))
	f.Add([]byte(mfi.Fields{Cmd: mfi.CmdLDSCSIIO, CDB: []byte{0x12, 0, 0, 0, 36, 0}, DataLen: 36, SGL: []mfi.SGE{{Addr: 0x2000, Len: 36}}}.Marshal()))
	f.Add([]byte(mfi.Fields{Cmd: mfi.CmdPDSCSIIO, CDB: []byte{0x9e, 0x10}}.Marshal()))
	f.Add([]byte(mfi.Fields{Cmd: mfi.CmdAbort, AbortAddr: 0x1000}.Marshal()))
	f.Add([]byte(mfi.Fields{Cmd: mfi.CmdInit, QueueInfo: 0x1000}.Marshal()))
	tunnel := []mfi.SGE{{Addr: 0x2000, Len: 20}, {Addr: 0x3000, Len: 512}}
	for _, flags := range []mfi.Flags{0, mfi.FlagSGL64, mfi.FlagIEEE} {
		f.Add([]byte(mfi.Fields{Cmd: mfi.CmdSMP, Flags: flags, SGL: tunnel}.Marshal()))
		f.Add([]byte(mfi.Fields{Cmd: mfi.CmdSTP, Flags: flags, SGL: tunnel}.Marshal()))
	}
	for _, c := range commands {
		f.Add([]byte(mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: c.op, DataLen: 4096, SGL: []mfi.SGE{{Addr: 0x2000, Len: 4096}}}.Marshal()))
	}
	cfg, _ := oneDisk()
	var lines bytes.Buffer
	trace := NewTrace(&lines, TraceConfig{JSON: true})
	cfg.Observer = trace
	c, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	mem := newMemory(64 << 10)
	c.dma = mem
	f.Fuzz(func(t *testing.T, frame []byte) {
		for i := range mem {
			mem[i] = byte(i * 7)
		}
		copy(mem[0x1000:], frame)
		if len(frame) > 0x11 {
			mem[0x1010] |= 1 // DONT_POST: the status tells that it ended
		}
		mem[0x1002] = 0xff
		c.fw.word.Store(uint32(mfi.StateReady))
		r := newRequest(c)
		r.begin(post{addr: 0x1000, epoch: c.fw.epoch.Load()})
		if r.run() {
			r.runExclusive()
		}
		trace.flush()
		for line := range strings.Lines(lines.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("the trace of frame %x has %q", frame, line)
			}
		}
		lines.Reset()
		held := len(c.heldWaits())
		c.waits.forget()
		word := binary.LittleEndian.Uint32(mem[0x1000:])
		if mfi.Status(word>>16) == mfi.StatusPending && held == 0 {
			t.Errorf("frame %x did not end", frame)
		}
	})
}
