package qcow2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestConcurrent has many goroutines work on regions of their own that share
// clusters and L2 tables, with flushes and checks in between.
func TestConcurrent(t *testing.T) {
	for i, c := range allConfigs() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			const workers = 16
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			d := newDisk(t, c, rand.New(rand.NewPCG(seed, uint64(i))))
			d.opts.L2CacheSize = 1
			d.reopen()
			share := c.o.Size / workers
			var wg sync.WaitGroup
			for w := range int64(workers) {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(seed, uint64(i*1000)+uint64(w)))
					if err := d.work(rng, w*share, share, c.o.ClusterSize, 150); err != nil {
						t.Errorf("worker %d: %v", w, err)
					}
				})
			}
			wg.Wait()
			d.compare()
			d.mustBeClean()
			if err := d.im.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// work does random operations inside [base, base+size) and verifies what it
// reads there.
func (d *disk) work(rng *rand.Rand, base, size, cluster int64, steps int) error {
	for step := range steps {
		op := randomOperation(rng, size, cluster)
		op.off += base
		op.n = min(op.n, base+size-op.off)
		if err := op.run(d.im, rng); err != nil {
			return fmt.Errorf("step %d, %v: %w", step, op, err)
		}
		op.apply(d.im, d.model)
		if step%50 == 17 {
			if res, err := d.im.Check(CheckOptions{}); err != nil || !res.Clean() {
				return fmt.Errorf("step %d: check: %+v, %w", step, res, err)
			}
		}
		if step%10 != 9 {
			continue
		}
		got := make([]byte, size)
		if err := d.im.ReadV([][]byte{got}, base); err != nil {
			return err
		}
		if i := firstDifference(got, d.model[base:base+size]); i >= 0 {
			return fmt.Errorf("step %d: byte %#x is %#02x, want %#02x", step, base+int64(i), got[i], d.model[base+int64(i)])
		}
	}
	return nil
}

// gateFile stops writes at chosen offsets until the test lets them go on.
type gateFile struct {
	*memFile
	mu   sync.Mutex
	hold func(off int64) (wait <-chan struct{}) // guarded by mu
	held chan struct{}                          // receives when a write is stopped
}

func (g *gateFile) WriteV(bufs [][]byte, off int64) error {
	g.mu.Lock()
	var wait <-chan struct{}
	if g.hold != nil {
		wait = g.hold(off)
	}
	g.mu.Unlock()
	if wait != nil {
		g.held <- struct{}{}
		<-wait
	}
	return g.memFile.WriteV(bufs, off)
}

func (g *gateFile) setHold(hold func(int64) <-chan struct{}) {
	g.mu.Lock()
	g.hold = hold
	g.mu.Unlock()
}

// newGated returns a 1 MiB image with 64 KiB clusters on a gateFile.
func newGated(t *testing.T) (*gateFile, *Image) {
	t.Helper()
	f := &gateFile{memFile: new(memFile), held: make(chan struct{})}
	if err := Create(f, CreateOptions{Size: mib}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f, im
}

// once returns a hold function that stops the first write at or after min, and
// the channel to close to let it go.
func once(min int64) (func(int64) <-chan struct{}, chan struct{}) {
	release := make(chan struct{})
	var stopped atomic.Bool
	return func(off int64) <-chan struct{} {
		if off >= min && !stopped.Swap(true) {
			return release
		}
		return nil
	}, release
}

// TestAllocationBlocksOnlyItsCluster stops a write that allocates in the middle:
// other clusters can be written, flushed and read, and a second write to the
// same cluster waits for the first.
func TestAllocationBlocksOnlyItsCluster(t *testing.T) {
	f, im := newGated(t)
	hold, release := once(5 * 64 * kib)
	f.setHold(hold)
	first, second := make(chan error), make(chan error)
	go func() { first <- im.WriteV(pattern(1, 4*kib), 0) }()
	<-f.held
	go func() { second <- im.WriteV(pattern(2, 4*kib), 4*kib) }()

	if err := im.WriteV(pattern(3, 64*kib), 64*kib); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := im.ReadV(pattern(9, 64*kib), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.WriteZeroes(128*kib, 64*kib, true); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-first:
		t.Fatalf("the write that is held returned: %v", err)
	case err := <-second:
		t.Fatalf("a write to a cluster in flight returned: %v", err)
	default:
	}
	close(release)
	if err := errors.Join(<-first, <-second); err != nil {
		t.Fatal(err)
	}
	got := pattern(9, 12*kib)
	if err := im.ReadV(got, 0); err != nil {
		t.Fatal(err)
	}
	for i, b := range got[0] {
		if want := []byte{1, 2, 0}[i/(4<<10)]; b != want {
			t.Fatalf("byte %#x is %d, want %d", i, b, want)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFreedClusterWaitsForRequests stops an overwrite in place, discards the
// cluster under it, and fills the disk: the host cluster must not be handed out
// while the overwrite may still hit it.
func TestFreedClusterWaitsForRequests(t *testing.T) {
	f, im := newGated(t)
	if err := im.WriteV(pattern(1, 64*kib), 0); err != nil {
		t.Fatal(err)
	}
	hold, release := once(5 * 64 * kib)
	f.setHold(hold)
	late := make(chan error)
	go func() { late <- im.WriteV(pattern(2, 64*kib), 0) }()
	<-f.held
	if err := im.Discard(0, 64*kib); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := im.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	for off := 64 * kib; off < mib; off += 64 * kib {
		if err := im.WriteV(pattern(3, 64*kib), off); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if err := <-late; err != nil {
		t.Fatal(err)
	}
	got := pattern(9, mib-64*kib)
	if err := im.ReadV(got, 64*kib); err != nil {
		t.Fatal(err)
	}
	for i, b := range got[0] {
		if b != 3 {
			t.Fatalf("byte %#x is %d, want 3: an overwrite hit a cluster that was given to somebody else", i, b)
		}
	}
	res, err := im.Check(CheckOptions{})
	if err != nil || !res.Clean() {
		t.Fatalf("check: %+v, %v", res, err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCloseWaitsForRequests closes an image while a write is running: the write
// succeeds, and requests that come later are refused.
func TestCloseWaitsForRequests(t *testing.T) {
	f, im := newGated(t)
	hold, release := once(5 * 64 * kib)
	f.setHold(hold)
	write, closed := make(chan error), make(chan error)
	go func() { write <- im.WriteV(pattern(1, 64*kib), 0) }()
	<-f.held
	go func() { closed <- im.Close() }()
	for !im.epochs.isClosed() {
		runtime.Gosched()
	}
	if err := im.ReadV(pattern(0, 512), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("read while closing: %v, want %v", err, ErrClosed)
	}
	close(release)
	if err := errors.Join(<-write, <-closed); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"flush": im.Flush(), "discard": im.Discard(0, 0), "close": im.Close(), "write": im.WriteV(nil, 0),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after close: %v, want %v", what, err, ErrClosed)
		}
	}
	again, err := Open(f.reopened(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := pattern(0, 64*kib)
	if err := again.ReadV(got, 0); err != nil || got[0][0] != 1 {
		t.Fatalf("the write was lost: %v, %v", got[0][0], err)
	}
}

// TestFlushesJoin counts the syncs that writers with a flush after each write
// cost together.
func TestFlushesJoin(t *testing.T) {
	f, im := newGated(t)
	if err := im.WriteV(pattern(1, mib), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	before := f.syncs
	if err := im.Flush(); err != nil || f.syncs != before {
		t.Fatalf("a flush with nothing to do: %d syncs, %v", f.syncs-before, err)
	}
	if err := im.WriteV(pattern(2, 4*kib), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil || f.syncs != before+1 {
		t.Fatalf("a flush after an overwrite in place: %d syncs (want 1), %v", f.syncs-before, err)
	}
	if err := im.Discard(0, 64*kib); err != nil {
		t.Fatal(err)
	}
	before = f.syncs
	if err := im.Flush(); err != nil || f.syncs != before+1 {
		t.Fatalf("a flush after a discard: %d syncs (want 1), %v", f.syncs-before, err)
	}
	if err := im.WriteV(pattern(2, 64*kib), 0); err != nil {
		t.Fatal(err)
	}
	before = f.syncs
	if err := im.Flush(); err != nil || f.syncs != before+2 {
		t.Fatalf("a flush after an allocation: %d syncs (want 2), %v", f.syncs-before, err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}
