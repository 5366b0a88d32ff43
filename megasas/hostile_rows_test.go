package megasas

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// TestKnownAttacks repeats what has broken another emulation of this controller,
// each by the name that it is known by. After each the controller is alive. Three
// more of them have tests of their own: CVE-2015-8613 and CVE-2016-5106 are
// TestSizeSweep, and commands outside of the CDBs that there are TestBadFrames.
func TestKnownAttacks(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(*guest)
	}{
		{"CVE-2016-5105: CFG_READ tells of the host's memory", attackPadding},
		{"CVE-2016-5106: SET_PROPERTIES longer than its structure", attackLongProperties},
		{"CVE-2016-5107 and CVE-2020-13362: indices of the queue outside of it", attackQueueIndices},
		{"CVE-2016-5337: a string without an end", attackStrings},
		{"CVE-2017-5856: elements of 2 GiB and more, again and again", attackHugeElements},
		{"CVE-2017-8380: more values than the unlock sequence has", attackUnlockSequence},
		{"CVE-2017-9503: a frame that changes while it is carried out", attackDoubleFetch},
		{"LP 1878263: a command that moves data, without a list", attackNoList},
		{"GitLab 521: lengths that disagree", attackLengths},
		{"qtest pd-get-info: frames of noise", attackNoise},
		{"INIT while I/O is under way", attackReset},
		{"frame count, and frames where there is no memory", attackFramePlaces},
		{"DMA to the controller's own registers", attackReentrancy},
		{"data over the frame, the ring and the sense buffer", attackOverlap},
		{"the same frame many times, and a ring that nobody reads", attackFlood},
		{"sums that overflow", attackOverflow},
		{"sense buffers of any length anywhere", attackSense},
		{"many EVENT_WAITs, and aborts of what is not held", attackEvents},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := running(t, threeDrives(), 64)
			tt.run(g)
			if s := g.state(); s != mfi.StateOperational {
				t.Fatalf("state %v", s)
			}
			g.alive()
		})
	}
}

// attackPadding looks for anything in replies that is not a field: the same
// command must answer the same, and reserved bytes must be zero.
func attackPadding(g *guest) {
	reserved := map[mfi.Opcode][][2]int{
		mfi.OpCfgRead:           {{16, 32}},
		mfi.OpPDGetInfo:         {{0x0be, 0x0c0}, {0x0c4, 0x0c8}, {0x0d8, 0x0e8}, {0x1ac, 0x200}},
		mfi.OpLDGetInfo:         {{0x11c, 0x12c}, {0x170, 0x180}},
		mfi.OpCtrlGetInfo:       {{0x008, 0x020}, {0x069, 0x06f}, {0x5f5, 0x600}, {0x628, 0x640}, {0x6e0, 0x760}},
		mfi.OpCtrlGetProperties: {{0x28, 0x40}},
	}
	for op, ranges := range reserved {
		p := g.mustDCMD(op, 4096)
		for _, r := range ranges {
			if bytes.ContainsFunc(p[r[0]:r[1]], func(c rune) bool { return c != 0 }) {
				g.t.Errorf("%v: bytes %#x to %#x are % x", op, r[0], r[1], p[r[0]:r[1]])
			}
		}
	}
}

func attackLongProperties(g *guest) {
	before := bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
	for _, n := range []int{65, 4096, 1 << 20} {
		p := bytes.Repeat([]byte{0xff}, n)
		copy(p, before)
		copy(p[64:], "beyond")
		if s := g.send(mfi.OpCtrlSetProperties, p); s != mfi.StatusOK {
			g.t.Errorf("%d bytes: %v", n, s)
		}
		before[0]++
		if now := g.mustDCMD(mfi.OpCtrlGetProperties, 64); !bytes.Equal(now, before) {
			g.t.Errorf("%d bytes: properties are % x", n, now)
		}
	}
}

func attackQueueIndices(g *guest) {
	for _, index := range []uint32{63, 64, 65, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff} {
		ring, producer, consumer := g.alloc(256), g.alloc(4), g.alloc(4)
		binary.LittleEndian.PutUint32(g.mem[producer:], index)
		binary.LittleEndian.PutUint32(g.mem[consumer:], index)
		g.init(mfi.QueueInfo{Entries: 64, Base: ring, Producer: producer, Consumer: consumer})
		g.poll(mfi.Fields{Cmd: mfi.CmdAbort, AbortContext: index, AbortAddr: uint64(index)})
		before := bytes.Clone(g.mem[ring+256 : ring+512])
		r, _ := g.blocks(mfi.CmdLDRead, 0, 512)
		g.submit(r)
		g.await("the read", func() bool { return g.c.outstanding.Load() == 0 })
		g.idle()
		if !bytes.Equal(before[4:], g.mem[ring+256+4:ring+512]) {
			g.t.Errorf("index %#x: something was written behind the ring", index)
		}
		g.initialize(64)
	}
}

func attackStrings(g *guest) {
	long := bytes.Repeat([]byte{'A'}, 256)
	p := bytes.Clone(g.mustDCMD(mfi.OpLDGetProp, 32))
	copy(p[4:20], long) // a name without an end
	g.send(mfi.OpLDSetProp, p, p[0], 0, p[2], p[3])
	info := g.mustDCMD(mfi.OpCtrlGetInfo, 2048)
	for _, field := range [][2]int{{0x540, 0x590}, {0x590, 0x5b0}, {0x640, 0x6a0}, {0x0b8, 0x0c0}, {0x0c0, 0x0e0}} {
		if s := info[field[0]:field[1]]; s[len(s)-1] != 0 {
			g.t.Errorf("string %q has no end", s)
		}
	}
	ld := g.mustDCMD(mfi.OpLDGetInfo, 384)
	if ld[19] != 0 {
		g.t.Errorf("name %q has no end", ld[4:20])
	}
}

func attackHugeElements(g *guest) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := g.free
	for i := range 5000 {
		g.free = start
		x := mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: mfi.OpCtrlGetInfo, DataLen: 1 << 31,
			SGL: []mfi.SGE{{Addr: 0, Len: 1 << 31}, {Addr: 1 << 31, Len: 0xffffffff}}}
		if i%2 == 0 {
			x.Opcode = mfi.OpPDGetList
		}
		g.poll(x)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		g.t.Errorf("%d bytes more in use than before", grown)
	}
}

func attackUnlockSequence(g *guest) {
	rng := rand.New(rand.NewPCG(8, 380))
	for range 2000 {
		g.write(0xfc, unlockSequence[rng.IntN(len(unlockSequence))])
		g.write(0xfc, rng.Uint32())
	}
	for range 20 {
		for _, v := range unlockSequence {
			g.write(0xfc, v)
		}
		g.write(0xfc, 0x0d)
	}
}

// attackDoubleFetch has another CPU turn the bytes of a frame's header over and
// over.
func attackDoubleFetch(g *guest) {
	var stop atomic.Bool
	var others sync.WaitGroup
	box := g.put(mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: mfi.OpPDGetInfo, DataLen: 512, Flags: mfi.FlagDontPost,
		SGL: []mfi.SGE{{Addr: g.alloc(4096), Len: 512}}})
	others.Go(func() {
		rng := rand.New(rand.NewPCG(9, 503))
		words := []uint32{0x01000005, 0xff000005, 0x00000003, 0x00100002, 0xff0000ff, 0x00000000}
		for !stop.Load() {
			_ = g.mem.Store32(box, words[rng.IntN(len(words))])
			_ = g.mem.Store32(box+4, rng.Uint32()&0xffff0000|uint32(rng.IntN(256))<<24)
			_ = g.mem.Store32(box+0x18, []uint32{uint32(mfi.OpPDGetInfo), uint32(mfi.OpCtrlEventGet), 0xffffffff}[rng.IntN(3)])
			runtime.Gosched() // there may be one processor
		}
	})
	for range 2000 { // one at a time: what two write to the same place is nobody's guess
		g.post(box)
		g.await("the end of it", func() bool { return g.c.outstanding.Load() == 0 })
	}
	stop.Store(true)
	others.Wait()
	g.write(0x20, mfi.DoorbellReady) // noise may have been INIT
	g.await("READY", func() bool { return g.state() == mfi.StateReady })
	g.initialize(64)
}

func attackNoList(g *guest) {
	for _, cdb := range [][]byte{
		{0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0}, {0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0}, {0x12, 0, 0, 0, 255, 0},
		{0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0}, {0x55, 0x10, 0, 0, 0, 0, 0, 0, 24, 0}, {0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0},
		{0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}, {0x41, 0, 0, 0, 0, 0, 0, 0, 8, 0}, {0x48, 1, 0, 0, 0, 0, 0, 0, 8, 0},
	} {
		for _, length := range []uint32{0, 4096, 0xffffffff} {
			for _, cmd := range []mfi.Cmd{mfi.CmdLDSCSIIO, mfi.CmdPDSCSIIO} {
				x := mfi.Fields{Cmd: cmd, Target: 1, CDB: cdb, DataLen: length, SenseLen: 96, SenseAddr: g.alloc(128)}
				if addr, s := g.poll(x); s == mfi.StatusPending || s == mfi.StatusOK && g.scsiStatus(addr) == 0 && cdb[0] != 0x12 {
					g.t.Errorf("%v % x with %d bytes: %v", cmd, cdb, length, s)
				}
			}
		}
	}
}

// attackLengths has the lengths in CDB, frame and list disagree in every way:
// what is moved is at most the least of them.
func attackLengths(g *guest) {
	const mark = 0xa5
	at := g.alloc(64 << 10)
	start := g.free
	for _, blocks := range []uint8{1, 2, 8} {
		for _, length := range []uint32{0, 1, 511, 512, 1024, 4096} {
			for _, list := range []uint32{0, 1, 512, 1000, 4096} {
				g.free = start
				area := g.mem[at : at+8192]
				for i := range area {
					area[i] = mark
				}
				x := mfi.Fields{Cmd: mfi.CmdLDSCSIIO, CDB: []byte{0x28, 0, 0, 0, 0, 0, 0, 0, blocks, 0}, DataLen: length,
					SGL: []mfi.SGE{{Addr: at, Len: list / 2}, {Addr: at + uint64(list/2), Len: list - list/2}}}
				_, s := g.poll(x)
				want := 512 * uint32(blocks)
				if ok := s == mfi.StatusOK; ok != (want <= length && length <= list) {
					g.t.Errorf("%d blocks, %d bytes in the frame, %d in the list: %v", blocks, length, list, s)
				}
				if rest := bytes.Trim(area[min(length, list):], string([]byte{mark})); len(rest) != 0 {
					g.t.Errorf("%d blocks, %d bytes in the frame, %d in the list: written beyond", blocks, length, list)
				}
			}
		}
	}
}

func attackNoise(g *guest) {
	rng := rand.New(rand.NewPCG(1, 2))
	start := g.free
	for range 3000 {
		g.free = start
		frame := g.alloc(1024)
		for i := frame; i < frame+1024; i += 4 {
			binary.LittleEndian.PutUint32(g.mem[i:], rng.Uint32())
		}
		g.mem[frame] = byte(1 + rng.IntN(9)) // no INIT
		binary.LittleEndian.PutUint16(g.mem[frame+0x10:], uint16(rng.Uint32())|uint16(mfi.FlagDontPost))
		if g.mem[frame] == byte(mfi.CmdDCMD) {
			op := commands[rng.IntN(len(commands))].op
			if slices.Contains([]mfi.Opcode{mfi.OpCfgClear, mfi.OpLDDelete, mfi.OpPDStateSet}, op) {
				continue
			}
			binary.LittleEndian.PutUint32(g.mem[frame+0x18:], uint32(op))
		}
		g.post(frame)
		g.await("the end of it", func() bool { return g.c.outstanding.Load() == 0 })
	}
}

// attackReset mixes I/O with everything that ends it.
func attackReset(g *guest) {
	resets := []func(){
		func() { g.initialize(64) },
		func() { g.write(0x20, 7) },
		func() { g.unlock(); g.write(0xf8, 0x84) },
		func() { g.write(0x34, 0xffffffff) },
		func() { g.resetFunction(); g.place() },
		func() { g.write(0x20, mfi.DoorbellStop); g.unlock(); g.write(0xf8, 0x84) },
	}
	for i := range 36 {
		for range 20 {
			r, _ := g.blocks(mfi.CmdLDRead, 0, 4096)
			w, _ := g.blocks(mfi.CmdLDWrite, 8, 4096)
			g.post(g.put(r))
			g.post(g.put(w))
		}
		resets[i%len(resets)]()
		g.await("a firmware that takes frames", func() bool {
			s := g.state()
			return s == mfi.StateReady || s == mfi.StateOperational
		})
	}
	g.c.awaitSettled()
	g.initialize(64)
}

func attackFramePlaces(g *guest) {
	frame := mfi.Fields{Cmd: mfi.CmdLDSCSIIO, CDB: make([]byte, 6)}.Marshal() // TEST UNIT READY, many at a time
	for _, at := range []uint64{0, 32, ramSize - 32, ramSize - 16, ramSize, mmioBase, portBase, 0xffffffe0} {
		if at+uint64(len(frame)) <= ramSize {
			copy(g.mem[at:], frame)
		}
		for low := range uint32(32) { // the count, and bits that are none
			g.write(0x40, uint32(at)|low)
		}
	}
	g.await("the end of it", func() bool { return g.c.outstanding.Load() == 0 })
	g.initialize(64)
}

func attackReentrancy(g *guest) {
	for _, bar := range []uint64{mmioBase, mmioBase + 0x40, mmioBase + g.c.p.layout.msixTable, queueBase, portBase + ramSize} {
		g.post(bar &^ 31)
		for _, x := range []mfi.Fields{
			{Cmd: mfi.CmdDCMD, Opcode: mfi.OpCtrlGetInfo, DataLen: 64, SGL: []mfi.SGE{{Addr: bar, Len: 64}}},
			{Cmd: mfi.CmdLDRead, DataLen: 1, SGL: []mfi.SGE{{Addr: bar, Len: 512}}},
			{Cmd: mfi.CmdLDRead, LBA: 1 << 40, DataLen: 1, SenseLen: 96, SenseAddr: bar},
		} {
			g.poll(x)
		}
		for _, q := range []mfi.QueueInfo{
			{Entries: 4, Base: bar, Producer: g.alloc(4), Consumer: g.alloc(4)},
			{Entries: 4, Base: g.alloc(16), Producer: bar, Consumer: g.alloc(4)},
			{Entries: 4, Base: g.alloc(16), Producer: g.alloc(4), Consumer: bar},
		} {
			g.init(q)
		}
		if _, s := g.poll(mfi.Fields{Cmd: mfi.CmdInit, QueueInfo: bar}); s == mfi.StatusOK {
			g.t.Errorf("a queue was taken from %#x", bar)
		}
	}
	g.initialize(64)
}

func attackOverlap(g *guest) {
	frame := g.alloc(4096)
	for _, at := range []uint64{frame, frame + 2, frame + 0x28, g.ring, g.producer, g.consumer} {
		x := mfi.Fields{Cmd: mfi.CmdLDRead, DataLen: 8, SenseLen: 96, SenseAddr: at, Flags: mfi.FlagDontPost,
			SGL: []mfi.SGE{{Addr: at, Len: 4096}}}
		copy(g.mem[frame:], x.Marshal())
		g.post(frame)
		g.await("the end of it", func() bool { return g.c.outstanding.Load() == 0 })
	}
	g.initialize(64)
}

func attackFlood(g *guest) {
	addr, _ := g.submit(mfi.Fields{Cmd: mfi.CmdLDSCSIIO, CDB: make([]byte, 6)}) // TEST UNIT READY
	for range 50000 {
		g.post(addr) // the ring has 64 entries, and is never read
	}
	g.await("the end of it", func() bool { return g.c.outstanding.Load() == 0 })
	if n := g.c.Stats().Dropped + g.c.Stats().Completed; n < 50000 {
		g.t.Errorf("%d frames were dropped or completed of 50001", n)
	}
	g.initialize(64)
}

func attackOverflow(g *guest) {
	data := g.alloc(512)
	for _, lba := range []uint64{0, 1, 8191, 8192, 1<<32 - 1, 1 << 55, 1<<63 - 1, 1<<64 - 1} {
		for _, n := range []uint32{0, 1, 8192, 8193, 1 << 23, 1 << 31, 0xffffffff} {
			for _, cmd := range []mfi.Cmd{mfi.CmdLDRead, mfi.CmdLDWrite} {
				x := mfi.Fields{Cmd: cmd, LBA: lba, DataLen: n, SenseLen: 96, SenseAddr: g.alloc(128),
					SGL: []mfi.SGE{{Addr: data, Len: 512}}}
				blocks := g.c.logicals[0].Load().unit.Blocks()
				inside := lba < blocks && uint64(n) <= blocks-lba
				if _, s := g.poll(x); !inside && s != mfi.StatusSCSIDoneWithError {
					g.t.Errorf("%v of %d blocks at %d: %v", cmd, n, lba, s)
				}
			}
		}
	}
}

func attackSense(g *guest) {
	area := g.alloc(1024)
	for _, n := range []uint8{0, 1, 17, 18, 96, 97, 252, 255} {
		for _, at := range []uint64{area + 256, ramSize - 1, ramSize, mmioBase, 1<<64 - 1} {
			for i := area; i < area+1024; i++ {
				g.mem[i] = 0xa5
			}
			x := mfi.Fields{Cmd: mfi.CmdLDRead, LBA: 1 << 40, DataLen: 1, SenseLen: n, SenseAddr: at, Flags: mfi.FlagSense64}
			addr, s := g.poll(x)
			if s != mfi.StatusSCSIDoneWithError {
				g.t.Errorf("sense buffer of %d at %#x: %v", n, at, s)
			}
			if written := g.mem[addr+1]; written > n || written > maxSense {
				g.t.Errorf("sense buffer of %d at %#x: %d bytes", n, at, written)
			}
			if rest := bytes.Trim(g.mem[area+256+uint64(min(n, maxSense)):area+1024], "\xa5"); len(rest) != 0 {
				g.t.Errorf("sense buffer of %d: written beyond", n)
			}
		}
	}
}

func attackEvents(g *guest) {
	var held []uint64
	for range 3 * maxWaits {
		x := eventWaitFrame(g, 1<<31)
		x.Flags |= mfi.FlagDontPost
		addr := g.put(x)
		g.post(addr)
		held = append(held, addr)
	}
	g.await("the end of it", func() bool { return g.c.outstanding.Load() == 0 })
	if n := len(g.c.heldWaits()); n > maxWaits {
		g.t.Errorf("%d frames are held", n)
	}
	for _, addr := range append(held, 0, mmioBase, 1<<63) {
		for range 2 {
			g.poll(mfi.Fields{Cmd: mfi.CmdAbort, AbortContext: 0, AbortAddr: addr})
		}
	}
	// An abort of itself.
	abort := g.alloc(64)
	copy(g.mem[abort:], mfi.Fields{Cmd: mfi.CmdAbort, AbortAddr: abort, Flags: mfi.FlagDontPost}.Marshal())
	g.post(abort)
	g.await("the abort", func() bool { return g.status(abort) == mfi.StatusAbortNotPossible })
	if n := len(g.c.heldWaits()); n != 0 {
		g.t.Errorf("%d frames are held after all were aborted", n)
	}
}

// FuzzDevice drives the whole device: each byte chooses what the guest does next,
// and the bytes after it are what with. Nothing may panic, and in the end a reset
// gives a controller that works.
func FuzzDevice(f *testing.F) {
	f.Add([]byte("\x00\x40\x00\x10\x00\x00\x03\x05\x02\x00"))
	f.Add(bytes.Repeat([]byte{3, 1, 7, 3, 2, 9, 1, 0, 2, 4, 5, 5}, 20))
	f.Fuzz(func(t *testing.T, input []byte) {
		g := running(t, threeDrives(), 16)
		in := fuzzBytes(input)
		frame, data := g.alloc(4096), g.alloc(64<<10)
		var writer sync.WaitGroup
		for len(in) > 0 {
			switch in.next() % 7 {
			case 0: // a register
				g.write(uint64(in.next())&^3, in.word())
			case 1: // any access
				p := make([]byte, in.next()%9)
				g.regs.Read(uint64(in.word()&0x7fff), p)
				g.regs.Write(uint64(in.word()&0x7fff), p)
			case 2: // guest memory
				_ = g.mem.WriteAt(in.take(8), uint64(in.word()&(1<<20-1)))
			case 3: // a frame that makes some sense
				x := mfi.Fields{Cmd: mfi.Cmd(in.next() % 10), Target: in.next() % 4, DataLen: uint32(in.next()) << (in.next() % 24),
					LBA: uint64(in.word()), Flags: mfi.Flags(in.next()) | mfi.FlagDontPost, SenseLen: in.next(), SenseAddr: data,
					Opcode: commands[int(in.next())%len(commands)].op, CDB: in.take(16), AbortAddr: frame, QueueInfo: data}
				copy(x.Mailbox[:], in.take(12))
				elements := in.next() % 5
				if x.Cmd == mfi.CmdInit || x.Cmd >= mfi.CmdAbort {
					elements = 0 // they have no list
				}
				for range elements {
					x.SGL = append(x.SGL, mfi.SGE{Addr: data + uint64(in.word()&0xffff), Len: in.word() & 0x1ffff})
				}
				_ = g.mem.WriteAt(x.Marshal(), frame)
				g.post(frame)
			case 4: // a frame that makes none
				_ = g.mem.WriteAt(in.take(64), frame)
				g.write(0x40, uint32(frame)|uint32(in.next()&0x1f))
			case 5: // memory that changes underneath
				at, v := frame+uint64(in.next()&0x3c), in.take(4)
				writer.Go(func() { _ = g.mem.WriteAt(v, at) })
				g.post(frame)
			case 6: // drives come and go
				id := uint16(in.next() % 4)
				if g.c.RemoveDrive(id) != nil {
					_, _ = g.c.AddDrive(DriveConfig{Drive: drive(newDisk(1<<20), uint8(id)), System: in.next()&1 != 0})
				}
			}
		}
		writer.Wait()
		deadline := time.Now().Add(time.Minute)
		for g.c.outstanding.Load() != 0 && time.Now().Before(deadline) {
			time.Sleep(50 * time.Microsecond)
		}
		g.resetFunction()
		g.place()
		g.await("READY", func() bool { return g.state() == mfi.StateReady })
		g.initialize(16)
		if _, s := g.dcmd(mfi.OpCtrlGetInfo, 2048); s != mfi.StatusOK {
			t.Errorf("controller information afterwards: %v", s)
		}
	})
}

// fuzzBytes is the input of a fuzzer; beyond its end are zeroes.
type fuzzBytes []byte

func (b *fuzzBytes) next() byte {
	if len(*b) == 0 {
		return 0
	}
	v := (*b)[0]
	*b = (*b)[1:]
	return v
}

func (b *fuzzBytes) word() uint32 {
	return uint32(b.next()) | uint32(b.next())<<8 | uint32(b.next())<<16 | uint32(b.next())<<24
}

func (b *fuzzBytes) take(n int) []byte {
	p := make([]byte, n)
	*b = (*b)[copy(p, *b):]
	return p
}
