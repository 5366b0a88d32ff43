package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
)

// TestRefcountTableGrows fills images whose first refcount table counts 2 MiB
// only, so that it moves several times, with every file operation failing in
// turn in the smaller one.
func TestRefcountTableGrows(t *testing.T) {
	o := CreateOptions{Size: 8 * mib, ClusterSize: 512, RefcountBits: 64}
	t.Run("random", func(t *testing.T) {
		d := newDisk(t, config{o: o}, nil)
		rng := seeded(t)
		for range 300 {
			op := operation{"write", rng.Int64N(o.Size - 64*kib), 1 + rng.Int64N(64*kib), byte(1 + rng.IntN(255))}
			if rng.IntN(4) == 0 {
				op.kind = "discard"
			}
			if err := op.run(d.im, rng); err != nil {
				t.Fatalf("%v: %v", op, err)
			}
			op.apply(d.im, d.model)
		}
		d.reopen()
		d.compare()
		if d.im.hdr.refClusters < 2 {
			t.Error("the refcount table did not grow")
		}
	})
	t.Run("failures", func(t *testing.T) {
		const first = 1900 * kib
		o.Size = first + 12*32*kib
		full := newDisk(t, config{o: o}, nil)
		if err := full.im.WriteV(pattern(1, first), 0); err != nil {
			t.Fatal(err)
		}
		if err := full.im.Close(); err != nil {
			t.Fatal(err)
		}
		stride := everyNth(3)
		for n := 1 + rand.IntN(stride); ; n += stride {
			f := full.f.reopened()
			im, err := Open(f, Options{})
			if err != nil {
				t.Fatal(err)
			}
			f.failAfter(n)
			failed := 0
			for off := first; off < o.Size; off += 32 * kib {
				if im.WriteV(pattern(2, 32*kib), off) != nil {
					failed++
				}
				if im.Flush() != nil {
					failed++
				}
			}
			f.failAfter(0)
			for off := first; off < o.Size; off += 32 * kib {
				if err := im.WriteV(pattern(3, 32*kib), off); err != nil {
					t.Fatalf("failure %d: the next write fails, too: %v", n, err)
				}
			}
			if err := im.Close(); err != nil {
				t.Fatalf("failure %d: %v", n, err)
			}
			if im.hdr.refClusters < 2 {
				t.Fatal("the refcount table did not grow")
			}
			if err := consistent(f.reopened(), Options{}); err != nil {
				t.Fatalf("failure %d: %v", n, err)
			}
			if failed == 0 {
				t.Logf("%d failures", n-1)
				return
			}
		}
	})
}

// TestNoSpace runs out of space in the middle of writes: they say so, and what
// was written before is there.
func TestNoSpace(t *testing.T) {
	f := &limitedFile{}
	if err := Create(f, CreateOptions{Size: 64 * mib}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	off, failed := int64(0), error(nil)
	for ; failed == nil; off += 100 * kib {
		failed = im.WriteV(pattern(byte(off>>10)|1, 100*kib), off)
	}
	if err := im.Discard(0, 64*kib); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the cluster is free after that
		if err := im.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.WriteV(pattern(9, 64*kib), 32*mib); err != nil {
		t.Errorf("a write into space that was given back: %v", err)
	}
	got := pattern(0, 1)
	for at := 100 * kib; at < off-200*kib; at += 100 * kib {
		if err := im.ReadV(got, at); err != nil || got[0][0] != byte(at>>10)|1 {
			t.Fatalf("at %#x: %d, %v", at, got[0][0], err)
		}
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		t.Errorf("check: %+v, %v", res, err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestGrowthLayout fills images as qemu-io does, past the ends of refcount
// blocks: the files are equal byte for byte.
func TestGrowthLayout(t *testing.T) {
	for _, tt := range []struct{ cluster, bits, step, total int64 }{
		{512, 16, 4 * kib, 600 * kib},
		{512, 32, 30 * kib, 900 * kib},
		{4 * kib, 64, 60 * kib, 5 * mib},
	} {
		t.Run(fmt.Sprintf("cluster=%d,bits=%d,step=%d", tt.cluster, tt.bits, tt.step), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", fmt.Sprintf("cluster_size=%d,refcount_bits=%d", tt.cluster, tt.bits), "theirs", "16M")
			f, err := OpenFile(l.path("ours"), os.O_RDWR|os.O_CREATE)
			if err != nil {
				t.Fatal(err)
			}
			err = errors.Join(Create(f, CreateOptions{Size: 16 * mib, ClusterSize: tt.cluster, RefcountBits: int(tt.bits)}), f.Close())
			if err != nil {
				t.Fatal(err)
			}
			im := l.open("ours", Options{})
			var script bytes.Buffer
			for off := int64(0); off < tt.total; off += tt.step {
				fmt.Fprintf(&script, "write -P 1 %d %d\n", off, tt.step)
				if err := im.WriteV(pattern(1, tt.step), off); err != nil {
					t.Fatal(err)
				}
			}
			l.close(im)
			cmd := exec.Command("qemu-io", "-t", "writeback", "-f", "qcow2", l.path("theirs"))
			cmd.Stdin = &script
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("qemu-io: %v\n%s", err, out)
			}
			ours, err1 := os.ReadFile(l.path("ours"))
			theirs, err2 := os.ReadFile(l.path("theirs"))
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			if i := firstDifference(ours, theirs[:min(len(ours), len(theirs))]); len(ours) != len(theirs) || i >= 0 {
				t.Errorf("%d bytes, theirs %d; first difference at %#x", len(ours), len(theirs), i)
			}
		})
	}
}
