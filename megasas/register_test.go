package megasas

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// TestRegisterTable reads every word of both windows after power-on: what the
// table has reads as it says, all else as zero.
func TestRegisterTable(t *testing.T) {
	g := newGuest(t, nullDisk())
	limits := g.read(0xb0) & 0x0fffffff
	for off := uint64(0); off < ioWindow; off += 4 {
		want := uint32(0)
		if r := g.c.registers[off/4]; r != nil && r.readable {
			want = r.reset
		}
		if want == uint32(mfi.StateReady) {
			want |= limits
		}
		if got := g.read(off); got != want {
			t.Errorf("register %#x is %#x, want %#x", off, got, want)
		}
		var io [4]byte
		g.io.Read(off, io[:])
		if !bytes.Equal(io[:], le32(want)) {
			t.Errorf("port %#x is % x, want %#x", off, io, want)
		}
	}
	for _, off := range []uint64{ioWindow, 0x1ffc, 0x3000, 0x4000 - 4} {
		if got := g.read(off); got != 0 {
			t.Errorf("offset %#x is %#x, want 0", off, got)
		}
	}
	var rest [8]byte
	g.m.mmio[queueBase].Read(0x1000, rest[:])
	if rest != [8]byte{} {
		t.Errorf("the queue window reads % x", rest)
	}
}

// TestAccessWidths reads and writes registers in sizes that drivers do not use.
func TestAccessWidths(t *testing.T) {
	g := newGuest(t, nullDisk())
	word := le32(g.read(0xb0))
	for off := range uint64(4) {
		for n := uint64(1); off+n <= 4; n++ {
			p := make([]byte, n)
			g.regs.Read(0xb0+off, p)
			if !bytes.Equal(p, word[off:off+n]) {
				t.Errorf("%d bytes at %#x: % x, want % x", n, 0xb0+off, p, word[off:off+n])
			}
		}
	}
	p := make([]byte, 8)
	g.regs.Read(0xb0, p)
	if !bytes.Equal(p, append(word, 0, 0, 0, 0)) {
		t.Errorf("8 bytes: % x", p)
	}
	before := g.c.Stats().BadAccesses
	for off, n := range map[uint64]int{0x34: 1, 0x36: 2, 0x35: 4, 0x32: 4, 0x44: 4, 0x1000: 4} {
		g.regs.Write(off, make([]byte, n))
	}
	if m := g.read(0x34); m != 0xffffffff {
		t.Errorf("mask is %#x: a part of it was written", m)
	}
	if n := g.c.Stats().BadAccesses - before; n != 6 {
		t.Errorf("%d bad accesses counted, want 6", n)
	}
	g.regs.Write(0x30, append(le32(0xffffffff), le32(0xfffffffa)...))
	if m := g.read(0x34); m != 0xfffffffa {
		t.Errorf("mask is %#x after a write of 8 bytes", m)
	}
}

// TestAnyRegisterInAnyState writes anything anywhere, from two vCPUs, while
// commands are under way. The controller recovers by a reset of the bus.
func TestAnyRegisterInAnyState(t *testing.T) {
	g := running(t, nullDisk(), 1008)
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	addr := uint32(g.put(x))
	offsets := []uint64{0x20, 0x30, 0x34, 0x40, 0x40, 0x40, 0xa0, 0xb0, 0xf8, 0xfc}
	var vcpus sync.WaitGroup
	for seed := range uint64(2) {
		vcpus.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 9))
			for i := range 3000 {
				off := offsets[rng.IntN(len(offsets))]
				v := rng.Uint32() >> rng.IntN(32)
				switch {
				case off == 0x40:
					v = addr | 1
				case i%50 == 0:
					for _, v := range unlockSequence {
						g.regs.Write(0xfc, le32(v))
					}
					off, v = 0xf8, diagReset
				}
				g.regs.Write(off, le32(v))
				g.regs.Read(off, make([]byte, 4))
			}
		})
	}
	vcpus.Wait()
	g.c.Reset()
	if g.state() != mfi.StateReady {
		t.Fatalf("state %v after a reset", g.state())
	}
	g.alive()
}

// watcher keeps what an Observer is told.
type watcher struct {
	mu      sync.Mutex
	fetched []FrameFetched
	done    []FrameDone
	lost    []string
	states  []mfi.State
}

func (w *watcher) FrameFetched(f FrameFetched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f.Frame = bytes.Clone(f.Frame)
	w.fetched = append(w.fetched, f)
}

func (w *watcher) FrameDone(d FrameDone) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.Frame, d.Sense = bytes.Clone(d.Frame), bytes.Clone(d.Sense)
	w.done = append(w.done, d)
}

func (w *watcher) FrameHeld(f FrameFetched) { w.lose(fmt.Sprintf("%#x is held", f.Addr)) }

func (w *watcher) FrameLost(addr uint64, reason string) { w.lose(fmt.Sprintf("%#x %s", addr, reason)) }

func (w *watcher) lose(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = append(w.lost, text)
}

func (w *watcher) StateChanged(word uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states = append(w.states, mfi.State(word)&mfi.StateMask)
}

func TestObserver(t *testing.T) {
	var w watcher
	cfg := nullDisk()
	cfg.Observer = &w
	g := newGuest(t, cfg)
	g.dcmd(mfi.OpLDGetList, 1032)
	g.scsi(mfi.CmdLDSCSIIO, 0, 0, 0xff, 0, 0, 0, 0, 0)
	if err := g.c.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(w.fetched) != 2 || len(w.done) != 2 {
		t.Fatalf("%d frames fetched and %d done, want 2", len(w.fetched), len(w.done))
	}
	list, bad := w.done[0], w.done[1]
	if list.Addr != w.fetched[0].Addr || list.Posted.IsZero() || list.Frame.Opcode() != mfi.OpLDGetList || list.Status != mfi.StatusOK || !list.Polled {
		t.Errorf("first frame %+v", list)
	}
	if bad.Frame.CDB()[0] != 0xff || bad.Status != mfi.StatusSCSIDoneWithError || bad.SCSIStatus != 2 || len(bad.Sense) == 0 {
		t.Errorf("second frame %+v", bad)
	}
}
