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
