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

// newExtended returns an image of 1 MiB with subclusters of 2 KiB: one of the
// first cluster is written, and all of the second.
func newExtended(t testing.TB) *memFile {
	t.Helper()
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: mib, ExtendedL2: true}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(im.WriteV(pattern(0x5a, 100), 5*2*kib), im.WriteV(pattern(0x5b, 64*kib), 64*kib), im.Close()); err != nil {
		t.Fatal(err)
	}
	return f.reopened()
}

// TestSubclusterBits follows the entry of a cluster through writes, zeroes and
// discards.
func TestSubclusterBits(t *testing.T) {
	const sub = 2 * kib
	im, err := Open(newExtended(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	entry := func(off int64) l2Entry {
		p, i, err := im.writablePage(off)
		if err != nil {
			t.Fatal(err)
		}
		defer im.mu.Unlock()
		return im.g.entry(p.buf, i)
	}
	host := entry(0).word
	if host != atData|entryCopied || entry(0).bitmap != 1<<5 || entry(64*kib).bitmap != 0xffffffff {
		t.Fatalf("%#x, %#x", entry(0), entry(64*kib))
	}
	for _, tt := range []struct {
		op     operation
		word   uint64
		bitmap uint64
	}{
		{operation{"write", 9*sub + 100, sub, 1}, host, bitmapOf(1<<5|3<<9, 0)},
		{operation{"zero", 5 * sub, sub, 0}, host, bitmapOf(3<<9, 1<<5)},
		{operation{"unmap", 9 * sub, sub, 0}, host, bitmapOf(1<<10, 1<<5|1<<9)},
		{operation{"unmap", 20 * sub, 100, 0}, host, bitmapOf(1<<10, 1<<5|1<<9|1<<20)}, // nothing else there
		{operation{"unmap", 10 * sub, 100, 0}, host, bitmapOf(1<<10, 1<<5|1<<9|1<<20)}, // by writing
		{operation{"write", 5 * sub, 100, 2}, host, bitmapOf(1<<5|1<<10, 1<<9|1<<20)},
		{operation{"discard", 0, 32 * kib, 0}, host, bitmapOf(1<<5|1<<10, 1<<9|1<<20)}, // no whole cluster
		{operation{"zero", 0, 64 * kib, 0}, host, bitmapZeroes},
		{operation{"write", 0, 100, 3}, host, bitmapOf(1, 0xfffffffe)},
		{operation{"zero", 62 * kib, 4 * kib, 0}, host, bitmapOf(1, 0xfffffffe)},
		{operation{"discard", 0, 64 * kib, 0}, 0, bitmapZeroes},
		{operation{"write", 31 * sub, sub, 4}, host, bitmapOf(1<<31, 0x7fffffff)},
		{operation{"unmap", 0, 64 * kib, 0}, 0, bitmapZeroes},
	} {
		if err := tt.op.run(im, seeded(t)); err != nil {
			t.Fatalf("%v: %v", tt.op, err)
		}
		for range 2 { // after that, what was given back is free
			if err := im.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if e := entry(0); e != (l2Entry{tt.word, tt.bitmap}) {
			t.Errorf("%v: %#x, want %#x", tt.op, e, l2Entry{tt.word, tt.bitmap})
		}
	}
	if e := entry(64 * kib); e.bitmap != bitmapOf(0xfffffffe, 1) {
		t.Errorf("the next cluster: %#x", e)
	}
}

// TestHostileSubclusters uses entries whose bitmaps contradict them: an error,
// nothing is written, and no more writes are taken.
func TestHostileSubclusters(t *testing.T) {
	const second = atL2 + 16 // entry of the second cluster
	f := newExtended(t)
	for name, tt := range map[string]struct {
		edit func(*memFile)
		text string
	}{
		"allocated and zero":          {func(f *memFile) { f.put64(second+8, bitmapOf(1, 1)) }, "allocated and zero at once"},
		"all of both":                 {func(f *memFile) { f.put64(second+8, ^uint64(0)) }, "allocated and zero at once"},
		"allocated without a cluster": {func(f *memFile) { f.put64(second, 0) }, "allocated without a cluster"},
		"only the last":               {func(f *memFile) { f.put64(second, 0); f.put64(second+8, 1<<31) }, "allocated without a cluster"},
		"unaligned":                   {func(f *memFile) { f.put64(second, 0x60200|entryCopied) }, "unaligned"},
		"the L2 table":                {func(f *memFile) { f.put64(second, atL2|entryCopied); f.put64(second+8, 0) }, "an active L2 table"},
	} {
		for kind, do := range map[string]func(*Image) error{
			"read":     func(im *Image) error { return im.ReadV(pattern(0, 100), 70*kib) },
			"read all": func(im *Image) error { return im.ReadV(pattern(0, mib), 0) },
			"write":    func(im *Image) error { return im.WriteV(pattern(1, 100), 70*kib) },
			"zero":     func(im *Image) error { return im.WriteZeroes(70*kib, 4*kib, true) },
			"discard":  func(im *Image) error { return im.Discard(64*kib, 64*kib) },
			"compress": func(im *Image) error { return im.WriteCompressed(make([]byte, 64*kib), 64*kib) },
		} {
			f := f.reopened()
			tt.edit(f)
			im, err := Open(f, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if name == "the L2 table" && strings.HasPrefix(kind, "read") {
				continue // reads as nothing
			}
			before := slices.Clone(f.data[512:])
			if err := do(im); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s, %s: %v, want %q", name, kind, err, tt.text)
			}
			if !slices.Equal(f.data[512:], before) {
				t.Errorf("%s, %s: the file was written to", name, kind)
			}
			if err := im.WriteV(pattern(1, 100), 512*kib); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s, %s: a later write: %v", name, kind, err)
			}
		}
	}
}

// TestCheckBitmaps damages entries with subclusters: check counts as QEMU does.
func TestCheckBitmaps(t *testing.T) {
	const second = atL2 + 16
	for _, tt := range []struct {
		name      string
		edit      func(*memFile)
		corrupt   int64
		fixed     bool
		ourselves bool
	}{
		{name: "nothing", edit: func(*memFile) {}},
		{name: "allocated and zero", corrupt: 1, edit: func(f *memFile) { f.put64(second+8, bitmapOf(3, 2)) }},
		{name: "allocated without a cluster", corrupt: 1, edit: func(f *memFile) { f.put64(atL2+32+8, 1) }},
		{name: "zero flag", corrupt: 1, ourselves: true, edit: func(f *memFile) { f.put64(second, f.get64(second)|entryZero) }},
		{name: "data unaligned", corrupt: 2, edit: func(f *memFile) { f.put64(second, 0x60200|entryCopied) }},
		{name: "no data unaligned", corrupt: 2, fixed: true, edit: func(f *memFile) { f.put64(second, 0x60200|entryCopied); f.put64(second+8, 0) }},
		{name: "compressed with bitmap", corrupt: 1, edit: func(f *memFile) { f.put64(second, entryCompressed|0x60000) }},
		{name: "COPIED missing", corrupt: 1, fixed: true, edit: func(f *memFile) { f.put64(second, f.get64(second)&^entryCopied) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newExtended(t)
			tt.edit(f)
			l := newLab(t)
			if err := os.WriteFile(l.path("disk"), f.data, 0o644); err != nil {
				t.Fatal(err)
			}
			im, err := Open(f, Options{ForRepair: true})
			if err != nil {
				t.Fatal(err)
			}
			res, err := im.Check(CheckOptions{})
			if err != nil || res.Corruptions != tt.corrupt {
				t.Errorf("%+v, %v", res, err)
			}
			if theirs := l.qemuCheck("disk"); !tt.ourselves && (theirs.Corruptions != res.Corruptions || theirs.Leaks != res.Leaks) {
				t.Errorf("we found %+v, qemu-img %+v", res, theirs)
			}
			if _, err := im.Check(CheckOptions{Repair: RepairAll}); err != nil {
				t.Fatal(err)
			}
			again, err := im.Check(CheckOptions{})
			if err != nil || again.Clean() != (tt.fixed || tt.corrupt == 0) {
				t.Errorf("after the repair: %+v, %v", again, err)
			}
			if got := make([]byte, 1); tt.name == "no data unaligned" && (im.ReadV([][]byte{got}, 64*kib) != nil || got[0] != 0) {
				t.Error("the repaired cluster is not zero")
			}
		})
	}
}

// TestRepairKeepsTheBackingFilesSubclusters repairs a cluster without data, whose
// offset is not one of a cluster: what of it is not zeroes is still the backing file's.
// That of one with data stays in use, wherever in its clusters it may be.
func TestRepairKeepsTheBackingFilesSubclusters(t *testing.T) {
	const sub = 2 << 10
	open := func() (*memFile, *Image) {
		f, base := new(memFile), &memFile{data: pattern(0xba, 128*kib)[0]}
		if err := Create(f, CreateOptions{Size: 128 * kib, ExtendedL2: true, BackingFile: "base", BackingFormat: "raw"}); err != nil {
			t.Fatal(err)
		}
		im, err := Open(f, Options{Backing: func(string, string) (Backing, error) { return meteredBacking{&meter{memFile: base}}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.WriteV(pattern(1, sub), 2*sub); err != nil {
			t.Fatal(err)
		}
		return f, im
	}
	damage := func(f *memFile, im *Image) {
		if err := im.Flush(); err != nil {
			t.Fatal(err)
		}
		at := int64(f.get64(int64(im.hdr.l1Offset)) & entryOffset)
		f.put64(at, f.get64(at)+512)
		im.l2.reset()
	}
	f, im := open()
	if err := im.WriteZeroes(2*sub, sub, false); err != nil {
		t.Fatal(err)
	}
	damage(f, im)
	res, err := im.Check(CheckOptions{Repair: RepairAll})
	if err != nil || res.Corruptions != 0 || res.CorruptionsFixed == 0 {
		t.Errorf("no data: %+v, %v", res, err)
	}
	got := make([]byte, 64*kib)
	if err := im.ReadV([][]byte{got}, 0); err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if zero := i/sub == 2; zero && b != 0 || !zero && b != 0xba {
			t.Fatalf("byte %d is %#x after the repair", i, b)
		}
	}
	f, im = open()
	damage(f, im)
	at := int64(f.get64(int64(im.hdr.l1Offset)) & entryOffset)
	cluster := int64(f.get64(at)&entryOffset) >> im.g.clusterBits
	if _, err := im.Check(CheckOptions{Repair: RepairAll}); err != nil {
		t.Fatal(err)
	}
	if p, i, err := im.refPage(cluster); err != nil || loadRefcount(p.buf, i, im.g.refcountOrder) == 0 {
		t.Errorf("the repair freed a cluster that data may lie in (%v)", err)
	}
}

// meter counts the bytes that move to and from a file.
type meter struct {
	*memFile
	read, written int64
}

func (m *meter) ReadV(bufs [][]byte, off int64) error {
	m.read += vecLen(bufs)
	return m.memFile.ReadV(bufs, off)
}

func (m *meter) WriteV(bufs [][]byte, off int64) error {
	m.written += vecLen(bufs)
	return m.memFile.WriteV(bufs, off)
}

// TestCopyOnWriteReadsWhatItMust counts the bytes of the backing file and of the
// image that a write to a cluster that is not the image's own moves.
func TestCopyOnWriteReadsWhatItMust(t *testing.T) {
	const cs, sub = 64 * kib, 2 * kib
	for _, tt := range []struct {
		name         string
		extended     bool
		prepare      func(*Image) error // from then on the cluster is shared with a snapshot
		off, n       int64
		backing, own int64 // bytes read
		written      int64
	}{
		{name: "first write", off: 4 * kib, n: 4 * kib, backing: cs - 4*kib, written: cs},
		{name: "whole cluster", off: 0, n: cs, written: cs},
		{name: "from the start", off: 0, n: 4 * kib, backing: cs - 4*kib, written: cs},
		{name: "two clusters", off: cs - kib, n: 2 * kib, backing: 2 * (cs - kib), written: 2 * cs},
		{name: "over zeroes, in a cluster never used", off: 4 * kib, n: 4 * kib, written: 4 * kib,
			prepare: func(im *Image) error { return im.WriteZeroes(0, cs, true) }},
		{name: "over shared data", off: 4 * kib, n: 4 * kib, own: cs - 4*kib, written: cs,
			prepare: func(im *Image) error { return im.WriteV(pattern(1, cs), 0) }},
		{name: "whole shared cluster", off: 0, n: cs, written: cs,
			prepare: func(im *Image) error { return im.WriteV(pattern(1, cs), 0) }},
		{name: "a subcluster", extended: true, off: sub, n: sub, written: sub},
		{name: "two subclusters", extended: true, off: sub, n: 2 * sub, written: 2 * sub},
		{name: "part of a subcluster", extended: true, off: sub + 512, n: 512, backing: sub - 512, written: sub},
		{name: "parts of two subclusters", extended: true, off: 2*sub - 512, n: kib, backing: 2 * (sub - 512), written: 2 * sub},
		{name: "over zero subclusters, in a cluster never used", extended: true, off: sub + 512, n: 512, written: 512,
			prepare: func(im *Image) error { return im.WriteZeroes(0, cs, true) }},
		{name: "beside a shared subcluster", extended: true, off: sub, n: sub, own: sub, written: 2 * sub,
			prepare: func(im *Image) error { return im.WriteV(pattern(1, sub), 0) }},
		{name: "over a shared subcluster", extended: true, off: sub, n: 512, own: sub - 512, written: sub,
			prepare: func(im *Image) error { return im.WriteV(pattern(1, sub), sub) }},
		{name: "beside one's own subcluster", extended: true, off: 3*sub + 512, n: 512, backing: sub - 512, written: sub,
			prepare: func(im *Image) error { return nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &meter{memFile: new(memFile)}
			base := &meter{memFile: &memFile{data: pattern(0xba, mib)[0]}}
			if err := Create(f, CreateOptions{Size: mib, ExtendedL2: tt.extended, BackingFile: "base", BackingFormat: "raw"}); err != nil {
				t.Fatal(err)
			}
			im, err := Open(f, Options{Backing: func(string, string) (Backing, error) { return meteredBacking{base}, nil }})
			if err != nil {
				t.Fatal(err)
			}
			if tt.prepare != nil {
				if err := tt.prepare(im); err != nil {
					t.Fatal(err)
				}
				if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
					t.Fatal(err)
				}
			}
			// The L2 table is there, and the image's own, before it counts.
			if err := im.WriteV(pattern(1, 512), mib-512); err != nil {
				t.Fatal(err)
			}
			f.read, f.written, base.read = 0, 0, 0
			if err := im.WriteV(pattern(2, tt.n), tt.off); err != nil {
				t.Fatal(err)
			}
			if base.read != tt.backing || f.read != tt.own || f.written != tt.written {
				t.Errorf("read %d of the backing file and %d of the image, wrote %d; want %d, %d and %d",
					base.read, f.read, f.written, tt.backing, tt.own, tt.written)
			}
		})
	}
}

// meteredBacking is a meter as a backing disk.
type meteredBacking struct{ *meter }

func (b meteredBacking) Size() int64 { return mib }

// TestSubclustersWithQEMU has qemu-io and this package write to one image in
// turn, with a backing file and a snapshot under it.
func TestSubclustersWithQEMU(t *testing.T) {
	for _, cluster := range []string{"16k", "64k"} {
		t.Run(cluster, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			base := pattern(0xba, 3*mib)[0]
			if err := os.WriteFile(l.path("base"), base, 0o644); err != nil {
				t.Fatal(err)
			}
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size="+cluster, "-b", "base", "-F", "raw", "disk", "5M")
			model := make([]byte, 5*mib)
			copy(model, base)
			for round := range scale(3, 12) {
				cmds := []string{"-f", "qcow2", "-d", "unmap"}
				for i := range 15 {
					off := rng.Int64N(9000) * 512
					n := min(512*(1+rng.Int64N(240)), 5*mib-off)
					b := byte(i + 1)
					switch rng.IntN(3) {
					case 0:
						cmds, b = append(cmds, "-c", fmt.Sprintf("write -z %d %d", off, n)), 0
					case 1:
						cmds, b = append(cmds, "-c", fmt.Sprintf("write -zu %d %d", off, n)), 0
					default:
						cmds = append(cmds, "-c", fmt.Sprintf("write -P %d %d %d", b, off, n))
					}
					copy(model[off:], pattern(b, n)[0])
				}
				l.run("qemu-io", append(cmds, "disk")...)
				if round == 1 {
					l.run("qemu-img", "snapshot", "-c", "s", "disk")
				}
				im := l.open("disk", Options{})
				if err := compareWith(im, model); err != nil {
					t.Fatal(err)
				}
				if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
					t.Fatalf("check: %+v, %v", res, err)
				}
				l.scribble(im, model, rng, 40)
				l.close(im)
				l.check("disk")
				l.equals("disk", model)
			}
		})
	}
}

// TestLayoutIdentity does the same random operations as qemu-io, each in a
// session of its own: the files are equal but for what free clusters and
// unallocated subclusters hold.
func TestLayoutIdentity(t *testing.T) {
	for _, tt := range []struct {
		options string
		o       CreateOptions
	}{
		{"cluster_size=2k,refcount_bits=8", CreateOptions{ClusterSize: 2 * kib, RefcountBits: 8}},
		{"cluster_size=4k", CreateOptions{ClusterSize: 4 * kib}},
		{"cluster_size=64k,compat=0.10", CreateOptions{Version: 2}},
		{"extended_l2=on,cluster_size=16k", CreateOptions{ClusterSize: 16 * kib, ExtendedL2: true}},
		{"data_file=data.theirs,cluster_size=4k", CreateOptions{ClusterSize: 4 * kib, DataFile: "data"}},
	} {
		t.Run(tt.options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			tt.o.Size = mib
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", tt.options, "theirs", "1M")
			l.create("ours", tt.o)
			// Every L2 table is there: QEMU would make one for a discard of nothing.
			im := l.open("ours", Options{})
			cmds := []string{"-f", "qcow2"}
			for off := int64(0); off < mib; off += 1 << im.g.l1Shift {
				cmds = append(cmds, "-c", fmt.Sprintf("write -P 7 %d 512", off))
				if err := im.WriteV(pattern(7, 512), off); err != nil {
					t.Fatal(err)
				}
			}
			l.close(im)
			l.run("qemu-io", append(cmds, "theirs")...)
			for step := range 25 {
				op := identityStep(rng, tt.o)
				cmd := map[string]string{"write": "write -P 7", "zero": "write -z", "unmap": "write -zu", "discard": "discard"}[op.kind]
				l.run("qemu-io", "-f", "qcow2", "-d", "unmap", "-c", fmt.Sprintf("%s %d %d", cmd, op.off, op.n), "theirs")
				im = l.open("ours", Options{})
				op.fill = 7
				if err := op.run(im, rng); err != nil {
					t.Fatal(err)
				}
				l.close(im)
				if err := l.sameLayout("ours", "theirs"); err != nil {
					t.Fatalf("step %d, %v: %v", step, op, err)
				}
			}
		})
	}
}

// identityStep is an operation on whole units of what zeroes are kept in, or a
// write of anything.
func identityStep(rng *rand.Rand, o CreateOptions) operation {
	unit := max(o.ClusterSize, 512)
	if o.ClusterSize == 0 {
		unit = 64 * kib
	}
	op := operation{kind: []string{"write", "write", "write", "zero", "unmap", "discard"}[rng.IntN(6)]}
	switch {
	case op.kind == "write":
		unit = 512
	case o.ExtendedL2 && op.kind != "discard":
		unit /= subclusters
	}
	op.off = rng.Int64N(o.Size/unit) * unit
	op.n = min(o.Size-op.off, (1+rng.Int64N(max(1, 100*kib/unit)))*unit)
	return op
}

// sameLayout compares header, refcounts and L1 and L2 tables of two images.
func (l *lab) sameLayout(ours, theirs string) error {
	a, err := l.metadata(ours)
	if err != nil {
		return err
	}
	b, err := l.metadata(theirs)
	if err != nil {
		return err
	}
	for what := range b {
		if i := firstDifference(a[what], b[what][:min(len(a[what]), len(b[what]))]); len(a[what]) != len(b[what]) || i >= 0 {
			return fmt.Errorf("%s differ: %d bytes, theirs %d, at %#x", what, len(a[what]), len(b[what]), i)
		}
	}
	if x, y := len(l.read(ours)), len(l.read(theirs)); x != y {
		return fmt.Errorf("%d bytes, theirs has %d", x, y)
	}
	return nil
}

// metadata returns the tables of an image, by name.
func (l *lab) metadata(name string) (map[string][]byte, error) {
	im := l.open(name, Options{ReadOnly: true})
	defer l.close(im)
	m := map[string][]byte{"L1 tables": marshalTable(im.l1), "refcount tables": marshalTable(im.refTable)}
	b := make([]byte, im.g.clusterSize)
	for i, e := range im.l1 {
		if table := int64(e & entryOffset); table != 0 {
			if err := readFull(im.f, b, table); err != nil {
				return nil, err
			}
			m[fmt.Sprint("L2 tables ", i)] = slices.Clone(b)
		}
	}
	for i, e := range im.refTable {
		if block := int64(e & refTableOffset); block != 0 {
			if err := readFull(im.f, b, block); err != nil {
				return nil, err
			}
			m[fmt.Sprint("refcount blocks ", i)] = slices.Clone(b)
		}
	}
	return m, nil
}
