package qcow2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// amendment is a change, and what an image must be for it.
type amendment struct {
	name    string
	o       AmendOptions
	changes func(Info) bool // it is done
}

func amendments(version, width int) []amendment {
	yes := true
	size := int64(33 * kib)
	list := []amendment{
		{"size", AmendOptions{Size: &size}, func(i Info) bool { return i.Size == size }},
		{"version 3", AmendOptions{Version: 3}, func(i Info) bool { return i.Version == 3 }},
		{"wide", AmendOptions{Version: 3, RefcountBits: 64}, func(i Info) bool { return i.RefcountBits == 64 }},
		{"medium", AmendOptions{Version: 3, RefcountBits: 8}, func(i Info) bool { return i.RefcountBits == 8 }},
		{"lazy", AmendOptions{Version: 3, LazyRefcounts: &yes}, func(i Info) bool { return i.LazyRefcounts }},
		{"version 2", AmendOptions{Version: 2, RefcountBits: 16}, func(i Info) bool { return i.Version == 2 }},
	}
	return slices.DeleteFunc(list, func(a amendment) bool { return a.o.RefcountBits == width })
}

// snapshotted makes a disk with snapshots, zero clusters in all of them.
func snapshotted(t *testing.T, c config, rng *rand.Rand) (*disk, *world) {
	t.Helper()
	d := newDisk(t, c, rng)
	w := &world{disk: d.model}
	cs := c.o.ClusterSize
	for i := range 24 {
		op := randomOperation(rng, c.o.Size, cs)
		if op.kind == "compress" && (c.o.Compression == CompressionZstd || c.o.RefcountBits < 16) {
			op.kind = "zero"
		}
		if (i == 8 || i == 16) && c.o.RefcountBits > 2 {
			op = rootOperation("snapshot", byte(i))
		}
		if i == 6 || i == 15 || i == 20 {
			off := rng.Int64N(c.o.Size) &^ (cs - 1)
			op = operation{"zero", off, min(cs, c.o.Size-off), 0}
		}
		if err := w.do(d.im, op, rng); err != nil {
			t.Fatalf("%v: %v", op, err)
		}
		w.apply(d.im, op)
	}
	d.reopen()
	return d, w
}

// TestAmend changes images with snapshots, with a crash at every write: the disk
// and each snapshot hold what they held.
func TestAmend(t *testing.T) {
	for i, c := range soloConfigs() {
		c.o.Size = min(c.o.Size, 60*kib)
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			states := 0
			for _, a := range amendments(c.o.Version, c.o.RefcountBits) {
				rng := rand.New(rand.NewPCG(seed, uint64(i)))
				d, w := snapshotted(t, c, rng)
				if a.o.Size != nil && c.o.Version == 2 {
					continue // with snapshots
				}
				if a.o.Version == 2 && c.o.ExtendedL2 {
					if err := d.im.Amend(a.o); err == nil {
						t.Error("version 2 with subclusters")
					}
					continue
				}
				base := slices.Clone(d.f.data)
				d.f.record = true
				if err := d.im.Amend(a.o); err != nil {
					t.Fatalf("%s: %v", a.name, err)
				}
				if info := d.im.Info(); !a.changes(info) {
					t.Errorf("%s: %+v", a.name, info)
				}
				after := w.clone()
				if a.o.Size != nil {
					after.apply(d.im, resizeOperation(*a.o.Size))
				}
				if err := compareWith(d.im, after.disk); err != nil {
					t.Fatalf("%s: %v", a.name, err)
				}
				d.mustBeClean()
				if err := d.im.Close(); err != nil {
					t.Fatal(err)
				}
				stride, most := scale(3, 1), 2
				if raceDetector {
					stride, most = 13, 0
				}
				for n := 0; n <= len(d.f.log); n += stride {
					for _, keep := range subsets(d.f.log[:n], most, rng) {
						states++
						if err := unharmed(crash(base, d.f.log, n, keep), d.opts, w, &after); err != nil {
							t.Fatalf("%s: crash after %d of %v: %v", a.name, n, d.f.log, err)
						}
					}
				}
			}
			t.Logf("%d crash states", states)
		})
	}
}

// unharmed checks that an image is one of two worlds, and can be written.
func unharmed(data []byte, o Options, before, after *world) error {
	im, err := Open(&memFile{data: data}, o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions+res.CheckErrors != 0 {
		return fmt.Errorf("check: %+v, %w", res, err)
	}
	w := before
	if im.Size() != int64(len(before.disk)) {
		w = after
	}
	if err := compareWith(im, w.disk); err != nil {
		return err
	}
	if err := im.WriteV(pattern(0xee, im.Size()), 0); err != nil {
		return err
	}
	if err := w.snapshotsHold(im); err != nil {
		return err
	}
	return im.Close()
}

// TestAmendFailures lets the n-th file operation of a change fail: nothing is
// lost, and the next attempt succeeds.
func TestAmendFailures(t *testing.T) {
	for i, c := range soloConfigs() {
		if c.o.ClusterSize > 1024 {
			continue
		}
		c.o.Size = 20 * kib
		for _, a := range amendments(c.o.Version, c.o.RefcountBits) {
			if a.o.Size != nil && c.o.Version == 2 {
				continue
			}
			t.Run(c.String()+","+a.name, func(t *testing.T) {
				t.Parallel()
				stride := 1
				if raceDetector {
					stride = 7
				}
				for n := 1; ; n += stride {
					rng := rand.New(rand.NewPCG(uint64(i), 3))
					d, w := snapshotted(t, c, rng)
					d.f.failAfter(n)
					failed := d.im.Amend(a.o)
					done := !d.f.failed
					d.f.failAfter(0)
					after := w.clone()
					if a.o.Size != nil {
						after.apply(d.im, resizeOperation(*a.o.Size))
					}
					if err := unharmed(d.f.reopened().data, d.opts, w, &after); err != nil {
						t.Fatalf("failure %d, opened again: %v", n, err)
					}
					if failed != nil && d.im.corrupt.Load() {
						t.Fatalf("failure %d: the image can't be written any more: %v", n, failed)
					}
					if failed != nil {
						if err := d.im.Amend(a.o); err != nil {
							t.Fatalf("failure %d, next attempt: %v", n, err)
						}
					}
					if info := d.im.Info(); !a.changes(info) {
						t.Fatalf("failure %d: %+v", n, info)
					}
					if err := d.im.Close(); err != nil {
						t.Fatal(err)
					}
					if err := unharmed(d.f.reopened().data, d.opts, &after, &after); err != nil {
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

// TestAmendWithQEMU lets this package and qemu-img amend one image with
// snapshots in turn; both find in it what was there.
func TestAmendWithQEMU(t *testing.T) {
	l := newLab(t)
	rng := seeded(t)
	if err := os.WriteFile(l.path("base"), pattern(0xba, mib)[0], 0o644); err != nil {
		t.Fatal(err)
	}
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", "base", "-F", "raw", "disk", "2M")
	w := world{disk: make([]byte, 2*mib)}
	copy(w.disk, pattern(0xba, mib)[0])
	for round := range 6 {
		im := l.open("disk", Options{})
		l.scribble(im, w.disk, rng, 30)
		if round < 2 {
			op := rootOperation("snapshot", byte(round))
			if err := w.do(im, op, rng); err != nil {
				t.Fatal(err)
			}
			w.apply(im, op)
			l.scribble(im, w.disk, rng, 10)
		}
		// Back and forth, each step by the one and then by the other.
		o := []AmendOptions{{Version: 2, RefcountBits: 16}, {Version: 3}, {RefcountBits: 32}}[round%3]
		theirs := []string{"compat=1.1", "refcount_bits=64", "refcount_bits=16,lazy_refcounts=on"}[round%3]
		if err := im.Amend(o); err != nil {
			t.Fatal(err)
		}
		l.close(im)
		verify := func(who string) {
			t.Helper()
			l.check("disk")
			l.equals("disk", w.disk)
			l.holdsSnapshots("disk", &w)
			im := l.open("disk", Options{})
			defer l.close(im)
			if err := compareWith(im, w.disk); err != nil {
				t.Fatalf("amended by %s: %v", who, err)
			}
			if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
				t.Fatalf("amended by %s: %+v, %v", who, res, err)
			}
		}
		verify("us")
		l.run("qemu-img", "amend", "-q", "-f", "qcow2", "-o", theirs, "disk")
		verify("qemu-img")
	}
}

// TestAmendRefused tries what an image can't become.
func TestAmendRefused(t *testing.T) {
	open := func(o CreateOptions) *Image {
		t.Helper()
		f := new(memFile)
		o.Size = mib
		if err := Create(f, o); err != nil {
			t.Fatal(err)
		}
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.WriteV(pattern(1, 64*kib), 0); err != nil {
			t.Fatal(err)
		}
		return im
	}
	refused := func(im *Image, o AmendOptions, want string) {
		t.Helper()
		if err := im.Amend(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
		if err := im.WriteV(pattern(2, 64*kib), 0); err != nil {
			t.Errorf("%+v: a write after that: %v", o, err)
		}
	}
	yes := true
	im := open(CreateOptions{})
	refused(im, AmendOptions{Version: 4}, "2 or 3")
	refused(im, AmendOptions{RefcountBits: 12}, "power of two")
	refused(im, AmendOptions{Version: 2, RefcountBits: 8}, "version 2 has 16")
	refused(im, AmendOptions{Version: 2, LazyRefcounts: &yes}, "need version 3")
	refused(open(CreateOptions{RefcountBits: 32}), AmendOptions{Version: 2}, "requires refcount_bits=16")
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	refused(im, AmendOptions{RefcountBits: 1}, "has a refcount of 2")
	if err := im.Resize(2 * mib); err != nil {
		t.Fatal(err)
	}
	refused(im, AmendOptions{Version: 2}, "prevent downgrade")
	zstd := open(CreateOptions{Compression: CompressionZstd})
	if err := zstd.Amend(AmendOptions{Version: 2}); err != nil {
		t.Errorf("without compressed clusters: %v", err)
	}
	zstd = open(CreateOptions{Compression: CompressionZstd})
	if err := zstd.WriteCompressed(squeezable(1, 64*kib), 128*kib); err != nil {
		t.Fatal(err)
	}
	refused(zstd, AmendOptions{Version: 2}, "zstd compression")
	zstd.readOnly = true
	if err := zstd.Amend(AmendOptions{Version: 2}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("read-only: %v", err)
	}
}

// TestAmendProgressOfTwoSteps is told of both, the second as large as it turns out, and of each entry
// of the refcount table three times over.
func TestAmendProgressOfTwoSteps(t *testing.T) {
	im, err := Open(newImage(t, CreateOptions{Size: 1 << 30, Version: 2}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	var got []string
	progress := func(done, total int64) { got = append(got, fmt.Sprintf("%d/%d", done, total)) }
	amend := func(o AmendOptions, want string) {
		t.Helper()
		got, o.Progress = nil, progress
		if err := im.Amend(o); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%.300v ... (%d), %v, want %.300s ...", got, len(got), err, want)
		}
	}
	const entries = 64 << 10 / 8
	passes := func(from, total int) (s string) {
		for pass := range 3 {
			for i := range entries + 1 {
				s += fmt.Sprintf(" %d/%d", from+pass*entries+i, total)
			}
		}
		return s
	}
	amend(AmendOptions{Version: 3, RefcountBits: 8}, "0/4 1/4 2/4"+passes(2, 2+3*entries))
	amend(AmendOptions{Version: 3}, "")
	amend(AmendOptions{Version: 2, RefcountBits: 16}, passes(0, 6*entries)[1:]+fmt.Sprintf(" %d/%[2]d %[2]d/%[2]d", 3*entries+1, 3*entries+2))
}

// TestAmendProgress is told of every L1 entry, of the disk and of snapshots, in order.
func TestAmendProgress(t *testing.T) {
	im, err := Open(newImage(t, CreateOptions{Size: 4 << 30}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if err := im.WriteZeroes(1<<30, 64*kib, true); err != nil {
		t.Fatal(err)
	}
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	err = im.Amend(AmendOptions{Version: 2, Progress: func(done, total int64) {
		if done != last+1 || total != 16 {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
	}})
	if err != nil || last != 16 {
		t.Errorf("%v, %d of 16", err, last)
	}
}
