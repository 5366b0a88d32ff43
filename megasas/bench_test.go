package megasas

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// keepBusy keeps the given frames outstanding until n are done, by looking at
// the producer index. A frame's context is its index.
func (g *guest) keepBusy(addrs []uint64, n int) {
	posted, done := 0, 0
	for ; posted < len(addrs) && posted < n; posted++ {
		g.post(addrs[posted])
	}
	for done < n {
		head, _ := g.mem.Load32(g.producer)
		if head == g.tail {
			runtime.Gosched()
			continue
		}
		for ; g.tail != head; done++ {
			context, _ := g.mem.Load32(g.ring + 4*uint64(g.tail))
			if g.tail++; g.tail == g.entries {
				g.tail = 0
			}
			_ = g.mem.Store32(g.consumer, g.tail)
			if posted < n {
				g.post(addrs[context])
				posted++
			}
		}
	}
}

func busyGuest(tb testing.TB, cmd mfi.Cmd, depth int) (*guest, []uint64) {
	cfg := nullDisk()
	cfg.Drives[0].Cache = raid.WriteBack
	g := running(tb, cfg, 1008)
	x, _ := g.blocks(cmd, 0, 4096)
	var addrs []uint64
	for i := range depth {
		x.Context = uint32(i)
		addrs = append(addrs, g.put(x))
	}
	return g, addrs
}

// BenchmarkCommand is a 4 KiB read from the store into the queue port to the
// reply in the ring, with a medium that does nothing.
func BenchmarkCommand(b *testing.B) {
	for name, depth := range map[string]int{"depth=1": 1, "depth=32": 32} {
		b.Run(name, func(b *testing.B) {
			g, addrs := busyGuest(b, mfi.CmdLDRead, depth)
			before := g.c.Stats()
			b.ReportAllocs()
			b.ResetTimer()
			g.keepBusy(addrs, b.N)
			b.StopTimer()
			g.idle()
			after := g.c.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
			b.ReportMetric(float64(after.Inline-before.Inline)/float64(b.N), "inline/op")
			b.ReportMetric(float64(after.Interrupts-before.Interrupts)/float64(b.N), "interrupts/op")
		})
	}
}

// TestNoAllocations holds the promise of the hot path: no allocation for a read
// or a write, from the queue port to the reply ring.
func TestNoAllocations(t *testing.T) {
	for _, cmd := range []mfi.Cmd{mfi.CmdLDRead, mfi.CmdLDWrite} {
		g, addrs := busyGuest(t, cmd, 32)
		g.keepBusy(addrs, 2000) // every worker has seen work
		if n := testing.AllocsPerRun(200, func() { g.keepBusy(addrs, 32) }); n > 0 {
			t.Errorf("%v: %v allocations for 32 commands", cmd, n)
		}
		if n := testing.AllocsPerRun(200, func() { g.keepBusy(addrs[:1], 32) }); n > 0 {
			t.Errorf("%v: %v allocations for 32 commands, one after another", cmd, n)
		}
	}
}

// BenchmarkVCPUs is a 4 KiB read by each of several vCPUs, which look at the status
// of their own frames: what they have in common is the controller.
func BenchmarkVCPUs(b *testing.B) {
	cfg := nullDisk()
	g := running(b, cfg, 1008)
	var frames [64]uint64
	for i := range frames {
		x, _ := g.blocks(mfi.CmdLDRead, 0, 4096)
		x.Flags |= mfi.FlagDontPost
		frames[i] = g.put(x)
	}
	var vcpus atomic.Int32
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		addr := frames[int(vcpus.Add(1)-1)%len(frames)]
		var word [4]byte
		binary.LittleEndian.PutUint32(word[:], uint32(addr)|1)
		for pb.Next() {
			g.mem[addr+2] = byte(mfi.StatusPending)
			g.regs.Write(0x40, word[:])
			for g.status(addr) == mfi.StatusPending {
				runtime.Gosched()
			}
		}
	})
}
