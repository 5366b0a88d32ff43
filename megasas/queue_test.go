package megasas

import (
	"sync"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// What was given is taken once, and an end comes whether the worker waits, or is
// about to, or is busy.
func TestFirstTakesWhatItWasGiven(t *testing.T) {
	for range 300 {
		var f first
		taken := make(chan uint64, 100)
		go func() {
			for p := f.take(); p.epoch != 0; p = f.take() {
				taken <- p.addr
			}
			close(taken)
		}()
		var mu sync.Mutex
		given := make(map[uint64]bool)
		var givers sync.WaitGroup
		for i := range 4 {
			givers.Go(func() {
				for n := range 20 {
					if addr := uint64(i<<8 | n); f.give(post{addr: addr, epoch: 1}) {
						mu.Lock()
						given[addr] = true
						mu.Unlock()
					}
				}
			})
		}
		givers.Wait()
		f.end()
		for addr := range taken {
			if !given[addr] {
				t.Fatalf("%#x was taken twice, or never given", addr)
			}
			delete(given, addr)
		}
		if len(given) > 0 {
			t.Fatalf("%d frames were given and not taken", len(given))
		}
	}
}

// A frame that waits for the disk must not keep others: the first worker is busy
// with it, so they are the others'.
func TestFramesPassTheFirstWorker(t *testing.T) {
	g, stuck, _, release := stuck(t)
	for range 10 {
		if _, s := g.dcmd(mfi.OpCtrlGetInfo, 2048); s != mfi.StatusOK {
			t.Fatal(s)
		}
	}
	if s := g.status(stuck); s != mfi.StatusPending {
		t.Errorf("the read: %v", s)
	}
	release()
	g.collect(1)
}
