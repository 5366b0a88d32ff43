package qcow2

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// benchImage returns an image on the host's file system, its first part
// written.
func benchImage(tb testing.TB, size, written int64) *Image {
	tb.Helper()
	f := osFile(tb, "bench.qcow2")
	if err := Create(f, CreateOptions{Size: size}); err != nil {
		tb.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := im.Close(); err != nil {
			tb.Error(err)
		}
	})
	for off := int64(0); off < written; off += mib {
		if err := im.WriteV(pattern(1, mib), off); err != nil {
			tb.Fatal(err)
		}
	}
	if err := im.Flush(); err != nil {
		tb.Fatal(err)
	}
	return im
}

// TestNoAllocations holds the hot paths to no garbage: reads and overwrites of
// what is mapped, in one piece or in many, and a flush after each.
func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	im := benchImage(t, 64*mib, 4*mib)
	one := pattern(2, 4*kib)
	var many [][]byte
	for range 16 {
		many = append(many, pattern(3, 4*kib)...)
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, do := range map[string]func(){
		"read":           func() { must(im.ReadV(one, 8*kib)) },
		"read vector":    func() { must(im.ReadV(many, 60*kib)) },
		"read nothing":   func() { must(im.ReadV(many, 60*mib)) },
		"write":          func() { must(im.WriteV(one, 8*kib)) },
		"write vector":   func() { must(im.WriteV(many, 60*kib)) },
		"write, flush":   func() { must(im.WriteV(one, 8*kib)); must(im.Flush()) },
		"zero the zeros": func() { must(im.WriteZeroes(60*mib+1, 100, true)) },
	} {
		do()
		if n := testing.AllocsPerRun(100, do); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// parallel runs do b.N times on several goroutines.
func parallel(b *testing.B, workers int, do func(i int64) error) {
	b.ReportAllocs()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// spread turns a counter into block numbers below n that look random.
func spread(i, n int64) int64 { return int64(uint64(i)*0x9e3779b97f4a7c15>>20) % n }

func benchWorkers(b *testing.B, run func(b *testing.B, workers int)) {
	for _, workers := range []int{1, 32} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) { run(b, workers) })
	}
}

func BenchmarkReadHit(b *testing.B) {
	benchWorkers(b, func(b *testing.B, workers int) {
		im := benchImage(b, gib, 256*mib)
		bufs := sync.Pool{New: func() any { p := pattern(0, 4*kib); return &p }}
		parallel(b, workers, func(i int64) error {
			p := bufs.Get().(*[][]byte)
			defer bufs.Put(p)
			return im.ReadV(*p, spread(i, 256*mib/4/kib)*4*kib)
		})
	})
}

func BenchmarkWriteHit(b *testing.B) {
	data := pattern(7, 4*kib)
	benchWorkers(b, func(b *testing.B, workers int) {
		im := benchImage(b, gib, 256*mib)
		parallel(b, workers, func(i int64) error {
			return im.WriteV(data, spread(i, 256*mib/4/kib)*4*kib)
		})
	})
}

// BenchmarkWriteHitDurable is what a write-through cache policy costs.
func BenchmarkWriteHitDurable(b *testing.B) {
	data := pattern(7, 4*kib)
	benchWorkers(b, func(b *testing.B, workers int) {
		im := benchImage(b, gib, 256*mib)
		parallel(b, workers, func(i int64) error {
			if err := im.WriteV(data, spread(i, 256*mib/4/kib)*4*kib); err != nil {
				return err
			}
			return im.Flush()
		})
	})
}

func BenchmarkWriteNew(b *testing.B) {
	data := pattern(7, 4*kib)
	benchWorkers(b, func(b *testing.B, workers int) {
		im := benchImage(b, 16*tib, 0)
		parallel(b, workers, func(i int64) error { return im.WriteV(data, i*64*kib) })
	})
}

func BenchmarkWriteNewDurable(b *testing.B) {
	data := pattern(7, 4*kib)
	benchWorkers(b, func(b *testing.B, workers int) {
		im := benchImage(b, 16*tib, 0)
		parallel(b, workers, func(i int64) error {
			if err := im.WriteV(data, i*64*kib); err != nil {
				return err
			}
			return im.Flush()
		})
	})
}

// overlay returns an image over others, each with the first written bytes.
func overlay(b *testing.B, size, written int64, depth int) *Image {
	b.Helper()
	im := benchImage(b, size, written)
	for range depth - 1 {
		f := osFile(b, "overlay.qcow2")
		if err := Create(f, CreateOptions{Size: size, BackingFile: "below", BackingFormat: "qcow2"}); err != nil {
			b.Fatal(err)
		}
		below := keptOpen{im}
		top, err := Open(f, Options{Backing: func(string, string) (Backing, error) { return below, nil }})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := top.Close(); err != nil {
				b.Error(err)
			}
		})
		im = top
	}
	return im
}

// keptOpen is a backing file that others close.
type keptOpen struct{ *Image }

func (keptOpen) Close() error { return nil }

// BenchmarkReadMiss reads where the mapping is never in the cache.
func BenchmarkReadMiss(b *testing.B) {
	benchWorkers(b, func(b *testing.B, workers int) {
		im := benchImage(b, 64*gib, 0)
		for off := int64(0); off < 64*gib; off += 32 * mib { // one cluster of each page
			if err := im.WriteV(pattern(1, 512), off); err != nil {
				b.Fatal(err)
			}
		}
		if err := im.Flush(); err != nil {
			b.Fatal(err)
		}
		im.mu.Lock()
		for im.l2.limit = minCachePages; im.l2.units > im.l2.limit*pageUnits; {
			im.l2.shrink()
		}
		im.mu.Unlock()
		bufs := sync.Pool{New: func() any { p := pattern(0, 4*kib); return &p }}
		parallel(b, workers, func(i int64) error {
			p := bufs.Get().(*[][]byte)
			defer bufs.Put(p)
			return im.ReadV(*p, i%2048*32*mib)
		})
	})
}

func BenchmarkReadZero(b *testing.B) {
	benchWorkers(b, func(b *testing.B, workers int) {
		im := benchImage(b, gib, 0)
		if err := im.WriteZeroes(0, gib, true); err != nil {
			b.Fatal(err)
		}
		bufs := sync.Pool{New: func() any { p := pattern(0, 4*kib); return &p }}
		parallel(b, workers, func(i int64) error {
			p := bufs.Get().(*[][]byte)
			defer bufs.Put(p)
			return im.ReadV(*p, spread(i, gib/4/kib)*4*kib)
		})
	})
}

func BenchmarkReadChain(b *testing.B) {
	benchWorkers(b, func(b *testing.B, workers int) {
		im := overlay(b, gib, 64*mib, 3)
		bufs := sync.Pool{New: func() any { p := pattern(0, 4*kib); return &p }}
		parallel(b, workers, func(i int64) error {
			p := bufs.Get().(*[][]byte)
			defer bufs.Put(p)
			return im.ReadV(*p, spread(i, 64*mib/4/kib)*4*kib)
		})
	})
}

// BenchmarkWriteCOW writes 4 KiB to clusters whose rest comes from a backing
// file of 256 MiB, and then, if it gets that far, has none.
func BenchmarkWriteCOW(b *testing.B) {
	benchWorkers(b, func(b *testing.B, workers int) {
		im := overlay(b, 16*tib, 256*mib, 2)
		data := pattern(7, 4*kib)
		parallel(b, workers, func(i int64) error { return im.WriteV(data, i*64*kib+8*kib) })
	})
}

// BenchmarkWriteSnapshotCOW writes 4 KiB to clusters that a snapshot shares;
// every 1024 writes there is a new one.
func BenchmarkWriteSnapshotCOW(b *testing.B) {
	benchWorkers(b, func(b *testing.B, workers int) {
		const clusters = 1024
		im := benchImage(b, gib, clusters*64*kib)
		data := pattern(7, 4*kib)
		parallel(b, workers, func(i int64) error {
			if i%clusters == 0 {
				if i > 0 {
					if err := im.DeleteSnapshot("s"); err != nil {
						return err
					}
				}
				_, err := im.CreateSnapshot(SnapshotOptions{Name: "s"})
				return err
			}
			return im.WriteV(data, i%clusters*64*kib+8*kib)
		})
	})
}
