package qcow2

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

func lazyConfig() config {
	return config{o: CreateOptions{Size: mib, ClusterSize: 4096, LazyRefcounts: true}}
}

// dirtyOnDisk reports whether the dirty bit is set in the file.
func (m *memFile) dirtyOnDisk() bool { return m.get64(hdrIncompat)&incompatDirty != 0 }

// TestLazyRefcounts follows the dirty bit through a session, and what becomes of
// refcounts meanwhile.
func TestLazyRefcounts(t *testing.T) {
	d := newDisk(t, lazyConfig(), rand.New(rand.NewPCG(1, 2)))
	write := func(off int64) {
		t.Helper()
		if err := d.im.WriteV(pattern(7, 4096), off); err != nil {
			t.Fatal(err)
		}
		copy(d.model[off:], pattern(7, 4096)[0])
		if err := d.im.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if d.f.dirtyOnDisk() {
		t.Error("dirty before the first write")
	}
	write(0)
	if !d.f.dirtyOnDisk() || !d.im.Info().Dirty {
		t.Error("not dirty after a write")
	}
	refs := slices.Clone(d.f.data[2*4096 : 3*4096])
	write(40960)
	if !slices.Equal(refs, d.f.data[2*4096:3*4096]) {
		t.Error("refcounts were written")
	}
	crashed := d.f.reopened()

	// What needs accurate refcounts gets them, and the bit goes.
	if _, err := d.im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if err := consistent(d.f.reopened(), Options{ReadOnly: true}); err != nil {
		t.Error(err)
	}
	write(81920)
	if !d.f.dirtyOnDisk() {
		t.Error("not dirty after a write behind a snapshot")
	}
	d.mustBeClean()
	if d.f.dirtyOnDisk() {
		t.Error("dirty after a check")
	}
	write(122880)
	d.reopen()
	if d.f.dirtyOnDisk() {
		t.Error("dirty after the image was closed")
	}
	if !d.im.Info().LazyRefcounts {
		t.Error("lazy refcounts are off")
	}
	d.compare()

	// As a crash left it: an error to those who only look, nothing to writers.
	im, err := Open(crashed, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions == 0 || !im.Info().Dirty {
		t.Errorf("check of what a crash left: %+v, %v", res, err)
	}
	if im, err = Open(crashed, Options{}); err != nil {
		t.Fatal(err)
	}
	if crashed.dirtyOnDisk() {
		t.Error("dirty after the repair")
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		t.Errorf("check after the repair: %+v, %v", res, err)
	}
	if err := im.WriteV(pattern(9, 100), 200*kib); err != nil {
		t.Error(err)
	}
	if err := im.Flush(); err != nil || !crashed.dirtyOnDisk() {
		t.Errorf("not dirty after a write behind the repair, %v", err)
	}
}

// TestLazyRefcountsCloseFails lets each file operation of Close fail: what is
// not marked dirty then has all its refcounts.
func TestLazyRefcountsCloseFails(t *testing.T) {
	for n := 1; ; n++ {
		d := newDisk(t, lazyConfig(), rand.New(rand.NewPCG(1, 2)))
		for i := range int64(8) {
			if err := d.im.WriteV(pattern(7, 4096), i*100*kib); err != nil {
				t.Fatal(err)
			}
			copy(d.model[i*100*kib:], pattern(7, 4096)[0])
			if err := d.im.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		d.f.failAfter(n)
		err := d.im.Close()
		if !d.f.failed {
			if n < 4 || err != nil {
				t.Fatalf("%d operations, %v", n-1, err)
			}
			return
		}
		if err == nil {
			t.Errorf("failure %d: closed all the same", n)
		}
		f := d.f.reopened()
		if !f.dirtyOnDisk() {
			if err := consistent(f.reopened(), Options{ReadOnly: true}); err != nil {
				t.Errorf("failure %d: not dirty, but %v", n, err)
			}
		}
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := compareWith(im, d.model); err != nil {
			t.Errorf("failure %d: %v", n, err)
		}
		if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions != 0 {
			t.Errorf("failure %d: %+v, %v", n, res, err)
		}
	}
}

// noRefBlocks is a file whose third cluster can't be written.
type noRefBlocks struct{ *memFile }

func (f noRefBlocks) WriteV(bufs [][]byte, off int64) error {
	if off/4096 == 2 {
		return errInjected
	}
	return f.memFile.WriteV(bufs, off)
}

// TestLazyRefcountsStayDirty closes an image whose refcounts can't be written:
// it stays marked.
func TestLazyRefcountsStayDirty(t *testing.T) {
	d := newDisk(t, lazyConfig(), rand.New(rand.NewPCG(1, 2)))
	im, err := Open(noRefBlocks{d.f}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(7, 4096), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); !errors.Is(err, errInjected) {
		t.Errorf("close: %v", err)
	}
	if !d.f.dirtyOnDisk() {
		t.Error("the image is not dirty, though its refcounts are not there")
	}
	if err := consistent(d.f.reopened(), Options{}); err != nil {
		t.Error(err)
	}
}

// TestLazyRefcountsManyWrites grows the file until refcount blocks and the
// refcount table have to follow, in one session.
func TestLazyRefcountsManyWrites(t *testing.T) {
	c := config{o: CreateOptions{Size: 2 * mib, ClusterSize: 512, RefcountBits: 64, LazyRefcounts: true}}
	d := newDisk(t, c, rand.New(rand.NewPCG(1, 2)))
	for off := int64(0); off < 2*mib; off += 64 * kib {
		if err := d.im.WriteV(pattern(byte(off>>16), 64*kib), off); err != nil {
			t.Fatal(err)
		}
		copy(d.model[off:], pattern(byte(off>>16), 64*kib)[0])
		if off%(256*kib) == 0 {
			if err := d.im.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := consistent(d.f.reopened(), Options{}); err != nil {
				t.Fatalf("a crash at %#x: %v", off, err)
			}
		}
	}
	d.compare()
	d.reopen()
	d.compare()
}

// TestLazyRefcountsKeepFlag looks for the dirty bit behind every other change
// of the header.
func TestLazyRefcountsKeepFlag(t *testing.T) {
	for name, change := range map[string]func(*Image) error{
		"resize":   func(im *Image) error { return im.Resize(3 * mib) },
		"snapshot": func(im *Image) error { _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); return err },
		"amend":    func(im *Image) error { off := false; return im.Amend(AmendOptions{LazyRefcounts: &off}) },
		"to v2":    func(im *Image) error { return im.Amend(AmendOptions{Version: 2}) },
		"flush":    func(im *Image) error { return im.Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, lazyConfig(), rand.New(rand.NewPCG(1, 2)))
			for i := range int64(2) {
				if err := d.im.WriteV(pattern(7, 4096), 81920*i); err != nil {
					t.Fatal(err)
				}
				if err := d.im.Flush(); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					if err := change(d.im); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := consistent(d.f.reopened(), Options{}); err != nil {
				t.Errorf("a crash: %v", err)
			}
			if err := d.im.Close(); err != nil {
				t.Fatal(err)
			}
			f := d.f.reopened()
			if f.data[7] == 3 && f.dirtyOnDisk() {
				t.Error("dirty after closing")
			}
			if err := consistent(f, Options{ReadOnly: true}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestQEMURepairsOurDirty has qemu-img see, and repair, what we left behind with
// lazy refcounts.
func TestQEMURepairsOurDirty(t *testing.T) {
	d := newDisk(t, lazyConfig(), rand.New(rand.NewPCG(1, 2)))
	if err := d.im.WriteV(pattern(7, 100*kib), 4000); err != nil {
		t.Fatal(err)
	}
	copy(d.model[4000:], pattern(7, 100*kib)[0])
	if err := d.im.Flush(); err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	l.put("disk", d.f.data)
	l.run("qemu-io", "-f", "qcow2", "-c", "write -P 7 4000 512", "disk")
	l.check("disk")
	l.equals("disk", d.model)
}

// TestLazyRefcountsOption is lazy, or not, whatever the image says, as long as it is open so.
func TestLazyRefcountsOption(t *testing.T) {
	for _, c := range []struct{ image, option bool }{{false, true}, {true, false}} {
		f := newImage(t, CreateOptions{LazyRefcounts: c.image})
		im, err := Open(f, Options{LazyRefcounts: &c.option})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(im.WriteV(pattern(1, 64*kib), 768*kib), im.Flush()); err != nil {
			t.Fatal(err)
		}
		left, err := Open(f.reopened(), Options{ReadOnly: true}) // as a crash would leave it
		if err != nil {
			t.Fatal(err)
		}
		if left.Info().Dirty != c.option {
			t.Errorf("%+v: dirty %v", c, left.Info().Dirty)
		}
		if err := errors.Join(left.Close(), im.Close()); err != nil {
			t.Fatal(err)
		}
		said := 0
		f.put64(hdrIncompat, incompatDirty)
		im, err = Open(f.reopened(), Options{Repairing: func(string) { said++ }})
		if err != nil || im.Info().Dirty || im.Info().LazyRefcounts != c.image || said != 0 {
			t.Errorf("%+v: %v, %+v, %d lines", c, err, im.Info(), said)
		}
		if err := im.Close(); err != nil {
			t.Error(err)
		}
	}
	on := true
	if _, err := Open(newImage(t, CreateOptions{Version: 2}), Options{LazyRefcounts: &on}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("version 2: %v", err)
	}
}
