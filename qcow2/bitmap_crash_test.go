package qcow2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// bitmapSession is a session that writes a disk with bitmaps "kept", "old" and
// "off", removes, clears and adds some, and closes the image.
type bitmapSession struct {
	ops    []operation
	before map[string]*granules // what they hold before it
	after  map[string]*granules // and in the end
}

func newBitmapSession(t testing.TB, cluster int64, rng *rand.Rand) (bitmapSession, *disk) {
	t.Helper()
	c := config{o: CreateOptions{Size: 64*cluster + 512, ClusterSize: cluster}}
	d := newDisk(t, c, rng)
	s := bitmapSession{before: map[string]*granules{}, after: map[string]*granules{}}
	for _, name := range []string{"kept", "old", "off"} {
		if err := d.im.AddBitmap(name, BitmapOptions{Granularity: 512, Disabled: name == "off"}); err != nil {
			t.Fatal(err)
		}
		s.before[name] = newGranules(c.o.Size, 512)
	}
	op := operation{"write", cluster, 3 * cluster, 7}
	if err := op.run(d.im, rng); err != nil {
		t.Fatal(err)
	}
	op.apply(d.im, d.model)
	s.before["kept"].mark(op.off, op.n)
	s.before["old"].mark(op.off, op.n)
	d.reopen()
	if err := d.im.Close(); err != nil {
		t.Fatal(err)
	}
	d.f = d.f.reopened()

	s.ops = []operation{{"write", 0, 100, 1}, {"flush", 0, 0, 0}, {"zero", 9 * cluster, 2 * cluster, 0}, {"discard", 2 * cluster, cluster, 0}}
	s.after["kept"], s.after["off"] = newGranules(c.o.Size, 512), s.before["off"]
	copy(s.after["kept"].set, s.before["kept"].set)
	s.after["new"] = newGranules(c.o.Size, 1024)
	for i, op := range s.ops {
		s.after["kept"].mark(op.off, op.n)
		if i > 1 {
			s.after["new"].mark(op.off, op.n)
		}
	}
	return s, d
}

// run does the session on d.f, which d.im becomes.
func (s *bitmapSession) run(d *disk, note func(string, int)) error {
	im, err := Open(d.f, d.opts)
	if err != nil {
		return err
	}
	d.im = im
	for i, op := range s.ops {
		note("begin", i)
		switch i {
		case 1:
			err = im.RemoveBitmap("old")
		case 2:
			err = im.AddBitmap("new", BitmapOptions{Granularity: 1024})
		}
		if err == nil {
			err = op.run(im, rand.New(rand.NewPCG(1, 1)))
		}
		if err != nil {
			return errors.Join(err, im.Close())
		}
		note("end", i)
	}
	return im.Close()
}

// counting calls judge with the contents of each bitmap of an image that counts.
func counting(data []byte, o Options, judge func(name string, dirty [][2]int64) bool) error {
	o.ReadOnly = true
	im, err := Open(&memFile{data: slices.Clone(data)}, o)
	if err != nil {
		return err
	}
	list, err := im.Bitmaps()
	if err != nil {
		return err
	}
	for _, b := range list {
		if b.Inconsistent {
			continue
		}
		var got [][2]int64
		if err := im.DirtyRanges(b.Name, func(off, n int64) bool { got = append(got, [2]int64{off, n}); return true }); err != nil {
			return err
		}
		if !judge(b.Name, got) {
			return fmt.Errorf("bitmap %+v counts as right and has %v", b, got)
		}
	}
	return nil
}

// judge looks at the bitmaps of an image after a session that was cut off: one
// whose contents count has those of before a first write, or the last.
func (s *bitmapSession) judge(data []byte, o Options, begun bool) error {
	return counting(data, o, func(name string, got [][2]int64) bool {
		if m := s.after[name]; m != nil && slices.Equal(got, m.ranges()) {
			return true
		}
		m := s.before[name]
		return m != nil && !begun && slices.Equal(got, m.ranges())
	})
}

// complete is judge for a session in which something failed: a bitmap that
// counts has all that was written by the operations that ended.
func (s *bitmapSession) complete(data []byte, o Options, ended int) error {
	return counting(data, o, func(name string, got [][2]int64) bool {
		dirty := newGranules(s.before["kept"].size, 512)
		for _, r := range got {
			dirty.mark(r[0], r[1])
		}
		want := newGranules(dirty.size, 512)
		if name == "kept" {
			copy(want.set, s.before[name].set)
		}
		for i, op := range s.ops[:ended] {
			if name == "kept" || name == "new" && i > 1 {
				want.mark(op.off, op.n)
			}
		}
		for i := range want.set {
			if want.set[i] && !dirty.set[i] {
				return false
			}
		}
		return true
	})
}

// TestCrashWithBitmaps stops the machine at every moment of a session on a disk
// with bitmaps. Whatever is left: the image is consistent, and no bitmap lacks
// what was written.
func TestCrashWithBitmaps(t *testing.T) {
	for _, cluster := range []int64{512, 4096} {
		t.Run(fmt.Sprint(cluster), func(t *testing.T) {
			rng := seeded(t)
			s, d := newBitmapSession(t, cluster, rng)
			h := history{base: slices.Clone(d.f.data), before: slices.Clone(d.model), ops: s.ops}
			d.f.record, d.f.noPunch = true, true
			if err := s.run(d, func(word string, i int) { d.f.mark(fmt.Sprint(word, " ", i)) }); err != nil {
				t.Fatal(err)
			}
			h.log = d.f.log
			most, states := scale(5, 8), 0
			if raceDetector {
				most = 1
			}
			for n := range len(h.log) + 1 {
				_, begun := h.progress(n)
				for _, keep := range subsets(h.log[:n], most, rng) {
					states++
					data := crash(h.base, h.log, n, keep)
					err := s.judge(data, d.opts, begun > 0)
					if err == nil {
						err = h.survives(n, data, d.opts)
					}
					if err != nil {
						t.Fatalf("crash after %d of %v: %v", n, h.log, err)
					}
				}
			}
			t.Logf("%d crash states", states)
			last := crash(h.base, h.log, len(h.log), inOrder)
			im, err := Open(&memFile{data: last}, Options{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			for name, m := range s.after {
				if got := dirtyRanges(t, im, name); !slices.Equal(got, m.ranges()) {
					t.Errorf("%s in the end: %v, want %v", name, got, m.ranges())
				}
			}
		})
	}
}

// TestBitmapsWithFailingIO fails the n-th operation of such a session on the
// file, for every n: there is an error, the image stays consistent, and no
// bitmap that counts lacks what was written.
func TestBitmapsWithFailingIO(t *testing.T) {
	s, start := newBitmapSession(t, 4096, seeded(t))
	for n := 1; ; n++ {
		d := *start
		d.f = start.f.reopened()
		d.f.failAfter(n)
		ended := 0
		err := s.run(&d, func(word string, i int) {
			if word == "end" {
				ended = i + 1
			}
		})
		if !d.f.failed {
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d operations", n-1)
			break
		}
		if e := s.complete(d.f.data, d.opts, ended); e != nil {
			t.Fatalf("operation %d failed with %v: %v", n, err, e)
		}
		if e := consistent(d.f.reopened(), d.opts); e != nil {
			t.Fatalf("operation %d failed with %v: %v", n, err, e)
		}
	}
}
