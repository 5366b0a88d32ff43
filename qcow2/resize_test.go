package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
)

// TestRandomResizes holds images whose size changes, with snapshots of other
// sizes, against a plain model.
func TestRandomResizes(t *testing.T) {
	steps := scale(200, 4000)
	if raceDetector {
		steps = scale(60, 1000)
	}
	for i, c := range configs() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			c.o.Size = min(c.o.Size, 512*kib)
			d := newDisk(t, c, rng)
			d.opts.L2CacheSize, d.opts.RefcountCacheSize = 1, 1
			d.reopen()
			w := world{disk: d.model}
			for step := range steps {
				op := w.resizeStep(rng, c.o, 5, 2*c.o.Size)
				if op.kind == "snapshot" && (c.o.RefcountBits <= 2 || c.o.DataFile != "") {
					continue
				}
				switch err := w.do(d.im, op, rng); {
				case op.kind == "snapshot" && c.o.RefcountBits < 16 && errors.Is(err, ErrTooLarge):
				case err != nil:
					t.Fatalf("step %d, %v: %v", step, op, err)
				default:
					w.apply(d.im, op)
				}
				if op.onSnapshots() {
					d.mustBeClean()
					if err := w.sameSnapshots(d.im); err != nil {
						t.Fatalf("step %d, %v: %v", step, op, err)
					}
				}
				if op.onSnapshots() || step%10 == 9 {
					if err := compareWith(d.im, w.disk); err != nil {
						t.Fatalf("step %d, %v: %v", step, op, err)
					}
				}
				if step%50 == 49 {
					d.reopen()
				}
			}
			if err := w.snapshotsHold(d.im); err != nil {
				t.Fatal(err)
			}
			d.reopen()
		})
	}
}

// TestCrashResize stops the machine at every write of runs that make the disk
// larger and smaller: it has the old size with its data, or the new one.
func TestCrashResize(t *testing.T) {
	for i, c := range configs() {
		c.o.Size = min(c.o.Size, 80*kib)
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			d := newDisk(t, c, rng)
			d.f.noPunch = i%2 == 0
			w := world{disk: d.model}
			cs := c.o.ClusterSize
			write := func() operation { return randomOperation(rng, 2*sectorSize, cs) }
			ops := []operation{
				write(), resizeOperation(cs + sectorSize), write(), resizeOperation(70 * kib), write(),
				resizeOperation(5 * sectorSize), write(), resizeOperation(90 * kib),
			}
			prepare := []operation{{"write", 0, c.o.Size, 3}, {"zero", c.o.Size / 2, 3 * sectorSize, 0}}
			if c.o.Version == 3 && c.o.RefcountBits > 2 && c.o.DataFile == "" {
				prepare = append(prepare, rootOperation("snapshot", 1), operation{"write", 10 * kib, 30 * kib, 4})
			}
			for _, op := range prepare {
				if err := w.do(d.im, op, rng); err != nil {
					t.Fatal(err)
				}
				w.apply(d.im, op)
			}
			d.reopen()
			h := d.recordWorld(&w, rng, ops)
			stride, most := scale(3, 1), 2
			if raceDetector {
				stride, most = 11, 0
			}
			states := 0
			for n := 0; n <= len(h.log); n += stride {
				for _, keep := range subsets(h.log[:n], most, rng) {
					states++
					data, o := h.crashed(n, keep, d.opts)
					if err := h.survives(n, data, o); err != nil {
						t.Fatalf("crash after %d of %v, operations %v: %v", n, h.log, h.ops, err)
					}
				}
			}
			t.Logf("%d crash states", states)
		})
	}
}

// TestResizeFailures lets the n-th file operation of a resize fail, for n from 1
// until none is left: the disk is as before, and the next attempt succeeds.
func TestResizeFailures(t *testing.T) {
	for i, c := range configs() {
		if c.o.ClusterSize > 4096 && i%3 != 0 {
			continue
		}
		c.o.Size = min(c.o.Size, 64*kib)
		for _, size := range []int64{100 * kib, 9 * kib} {
			t.Run(fmt.Sprintf("%v,to %d", c, size), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(uint64(i), 0))
				stride := 1
				if raceDetector {
					stride = 7
				}
				for n := 1; ; n += stride {
					d := newDisk(t, c, rng)
					fill := operation{"write", 0, c.o.Size, 3}
					if err := fill.run(d.im, rng); err != nil {
						t.Fatal(err)
					}
					fill.apply(d.im, d.model)
					d.reopen()
					d.f.failAfter(n)
					err := d.im.Resize(size)
					done := !d.f.failed
					d.f.failAfter(0)
					if done && err != nil {
						t.Fatal(err)
					}
					if was := d.im.Size(); was != size && was != c.o.Size {
						t.Fatalf("failure %d: a disk of %d bytes", n, was)
					} else if err := compareWith(d.im, slices.Concat(d.model, make([]byte, size))[:was]); err != nil {
						t.Fatalf("failure %d: %v", n, err)
					}
					if err := d.im.Resize(size); err != nil {
						t.Fatalf("failure %d: next attempt: %v", n, err)
					}
					w := world{disk: d.model}
					w.apply(d.im, resizeOperation(size))
					if err := compareWith(d.im, w.disk); err != nil {
						t.Fatalf("failure %d: %v", n, err)
					}
					if err := d.im.Close(); err != nil {
						t.Fatalf("failure %d: %v", n, err)
					}
					if err := consistent(d.f.reopened(), d.opts); err != nil {
						t.Fatalf("failure %d: %v", n, err)
					}
					if done {
						return
					}
				}
			})
		}
	}
}

// TestResizeWithQEMU lets this package and qemu-img change the size of one image
// in turn.
func TestResizeWithQEMU(t *testing.T) {
	for _, options := range []string{"cluster_size=512", "cluster_size=64k", "compat=0.10", "cluster_size=4k,refcount_bits=1", "cluster_size=2M"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			base := pattern(0xba, 3*mib)[0]
			if err := os.WriteFile(l.path("base"), base, 0o644); err != nil {
				t.Fatal(err)
			}
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", "base", "-F", "raw", "disk", "2M")
			w := world{disk: slices.Clone(base[:2*mib])}
			for step := range 6 {
				size := (1 + rng.Int64N(4*mib/sectorSize)) * sectorSize
				// A grown version 2 image can't hide its backing file in QEMU.
				if step%2 == 0 && options != "compat=0.10" {
					l.run("qemu-img", "resize", "-q", "--shrink", "-f", "qcow2", "disk", fmt.Sprint(size))
				}
				im := l.open("disk", Options{})
				if err := im.Resize(size); err != nil {
					t.Fatal(err)
				}
				was := int64(len(w.disk))
				w.apply(im, resizeOperation(size))
				if step%2 == 0 && was < size {
					// QEMU leaves what a cut cluster held before.
					end := min(size, im.g.roundUp(was))
					if err := im.WriteZeroes(was, end-was, false); err != nil {
						t.Fatal(err)
					}
				}
				l.scribble(im, w.disk, rng, 20)
				l.close(im)
				l.check("disk")
				l.equals("disk", w.disk)
			}
		})
	}
}

// TestGrowthHidesBackingFile makes an overlay larger whose backing file is
// longer than it was: what is new reads as zeroes.
func TestGrowthHidesBackingFile(t *testing.T) {
	for _, version := range []int{2, 3} {
		f := new(memFile)
		if err := Create(f, CreateOptions{Version: version, Size: 100 * kib, BackingFile: "base", BackingFormat: "raw"}); err != nil {
			t.Fatal(err)
		}
		base := memBacking(pattern(0xba, mib)[0])
		open := func(string, string) (Backing, error) { return base, nil }
		im, err := Open(f, Options{Backing: open})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.Resize(2 * mib); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 2*mib)
		copy(want, base[:100*kib])
		if err := compareWith(im, want); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// TestCutDataStaysCut makes a disk smaller within a cluster and larger again.
func TestCutDataStaysCut(t *testing.T) {
	im, err := Open(newImage(t, CreateOptions{}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	size := im.Size()
	want := make([]byte, size)
	if err := im.ReadV([][]byte{want}, 0); err != nil {
		t.Fatal(err)
	}
	cut := 128*kib + 3*int64(sectorSize)
	if want[cut] == 0 {
		t.Fatal("nothing there to cut")
	}
	for _, n := range []int64{cut, size} {
		if err := im.Resize(n); err != nil {
			t.Fatal(err)
		}
	}
	clear(want[cut:])
	if err := compareWith(im, want); err != nil {
		t.Error(err)
	}
}

// TestShrinkGivesStorageBack cuts most of a full disk: the file shrinks with it.
func TestShrinkGivesStorageBack(t *testing.T) {
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: 64 * mib}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(1, 64*mib), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Resize(mib); err != nil {
		t.Fatal(err)
	}
	if n, _ := f.Size(); n > 2*mib {
		t.Errorf("the file still has %d bytes", n)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		t.Errorf("check: %+v, %v", res, err)
	}
	if err := im.Resize(0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if err := consistent(f.reopened(), Options{}); err != nil {
		t.Error(err)
	}
}

// TestShrinkDropsIdleRefBlocks leaves no refcount block that counts nothing.
func TestShrinkDropsIdleRefBlocks(t *testing.T) {
	for _, bits := range []int{1, 16, 64} {
		f := new(memFile)
		if err := Create(f, CreateOptions{Size: 4 * mib, ClusterSize: 512, RefcountBits: bits}); err != nil {
			t.Fatal(err)
		}
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.WriteV(pattern(1, 4*mib), 0); err != nil {
			t.Fatal(err)
		}
		if err := im.Resize(200 * kib); err != nil {
			t.Fatal(err)
		}
		if idle, err := im.idleRefBlock(); err != nil || idle {
			t.Errorf("%d bits: an idle block is left, %v", bits, err)
		}
		got := make([]byte, 200*kib)
		if err := im.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got, pattern(1, 200*kib)[0]) {
			t.Errorf("%d bits: other data, %v", bits, err)
		}
		if err := errors.Join(im.WriteV(pattern(2, 100*kib), 0), im.Close()); err != nil {
			t.Fatal(err)
		}
		if err := consistent(f.reopened(), Options{}); err != nil {
			t.Error(err)
		}
	}
}

// TestResizePreallocated makes disks larger with all that they gain in place, as
// qemu-img does.
func TestResizePreallocated(t *testing.T) {
	for _, mode := range []Preallocation{PreallocateMetadata, PreallocateFalloc, PreallocateFull} {
		l := newLab(t)
		l.run("qemu-img", "create", "-q", "-f", "qcow2", "ours", "1000k")
		l.run("qemu-io", "-f", "qcow2", "-c", "write -P 1 900k 100k", "ours")
		l.run("cp", "ours", "theirs")
		l.run("qemu-img", "resize", "-q", "-f", "qcow2", "--preallocation", mode.String(), "theirs", "5M")
		im := l.open("ours", Options{})
		if err := im.ResizeWith(5*mib, ResizeOptions{Preallocation: mode}); err != nil {
			t.Fatal(err)
		}
		if err := im.ResizeWith(mib, ResizeOptions{Preallocation: mode}); err == nil {
			t.Error("a smaller disk is preallocated")
		}
		l.close(im)
		l.check("ours")
		want := make([]byte, 5*mib)
		copy(want[900*kib:], pattern(1, 100*kib)[0])
		l.equals("ours", want)
		missing := func(list []Extent) (n int64) {
			for _, e := range list {
				if e.Host < 0 {
					n += e.Length
				}
			}
			return n
		}
		if ours, theirs := missing(l.mapWithQEMU("ours")), missing(l.mapWithQEMU("theirs")); ours != theirs {
			t.Errorf("%v: %d bytes have no place, with qemu-img %d", mode, ours, theirs)
		}
	}
}

// TestResizeRefused tries sizes that can't be.
func TestResizeRefused(t *testing.T) {
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: mib, ClusterSize: 512, Version: 2}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.Resize(mib + 100); err == nil {
		t.Error("a size that is no multiple of 512 is taken")
	}
	if err := im.Resize(-512); err == nil {
		t.Error("a negative size is taken")
	}
	if err := im.Resize(1 << 40); !errors.Is(err, ErrTooLarge) {
		t.Errorf("1 TiB in clusters of 512 bytes: %v, want %v", err, ErrTooLarge)
	}
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if err := im.Resize(2 * mib); !errors.Is(err, ErrUnsupported) {
		t.Errorf("version 2 with a snapshot: %v, want %v", err, ErrUnsupported)
	}
	im, err = Open(f.reopened(), Options{ReadOnly: true})
	if err == nil {
		err = im.Resize(2 * mib)
	}
	if !errors.Is(err, ErrReadOnly) {
		t.Errorf("read-only: %v, want %v", err, ErrReadOnly)
	}
}

// TestResizeUnderLoad changes the size of a disk while writers keep to its first
// part: they lose nothing, and whoever listens hears of each new size.
func TestResizeUnderLoad(t *testing.T) {
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: mib, ClusterSize: 4096}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var heard []int64
	im.OnResize(func(size int64) { heard = append(heard, size) })
	stop := make(chan struct{})
	var wg sync.WaitGroup
	last := make([]byte, 4)
	for i := range last {
		wg.Go(func() {
			for v := byte(1); ; v++ {
				if err := im.WriteV(pattern(v, 64*kib), int64(i)*64*kib); err != nil {
					t.Error(err)
					return
				}
				last[i] = v
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	sizes := []int64{8 * mib, 256 * kib, 3 * mib, 256*kib + 512, 64 * mib}
	for _, n := range sizes {
		if err := im.Resize(n); err != nil {
			t.Error(err)
		}
	}
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
		t.Error(err)
	}
	if err := im.Resize(mib); err != nil {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
	want := make([]byte, mib)
	for i, v := range last {
		copy(want[int64(i)*64*kib:], pattern(v, 64*kib)[0])
	}
	if err := compareWith(im, want); err != nil {
		t.Error(err)
	}
	if err := im.ApplySnapshot("s"); err != nil {
		t.Error(err)
	}
	if want := append(sizes, mib, 64*mib); !slices.Equal(heard, want) {
		t.Errorf("heard of sizes %d, want %d", heard, want)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if err := consistent(f.reopened(), Options{}); err != nil {
		t.Error(err)
	}
}
