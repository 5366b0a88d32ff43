package qcow2

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
)

// squeezable returns n bytes that depend on fill only. Every fourth fill can't
// be compressed; the others shrink to a third, to two thirds, and to nothing.
func squeezable(fill byte, n int64) []byte {
	p := pattern(fill, n)[0]
	rng := rand.New(rand.NewPCG(uint64(fill), 1))
	for i := range p {
		if i%512 < [...]int{512, 170, 340, 0}[fill%4] {
			p[i] = byte(rng.Uint32())
		}
	}
	return p
}

// entry returns the L2 entry of the guest cluster at off.
func (d *disk) entry(off int64) uint64 {
	d.t.Helper()
	d.im.mu.Lock()
	defer d.im.mu.Unlock()
	m, miss, err := d.im.lookup(off, 1)
	if err != nil || miss != 0 {
		d.t.Fatalf("lookup of %#x: miss %#x, %v", off, miss, err)
	}
	return m.entry
}

// writeCompressed writes compressed clusters and updates the model.
func (d *disk) writeCompressed(fill byte, off, n int64) {
	d.t.Helper()
	op := operation{"compress", off, n, fill}
	if err := op.run(d.im, nil); err != nil {
		d.t.Fatalf("%v: %v", op, err)
	}
	op.apply(d.im, d.model)
}

func newCompressed(t *testing.T, o CreateOptions) *disk {
	t.Helper()
	return newDisk(t, config{o: o}, rand.New(rand.NewPCG(1, 2)))
}

// TestPacking follows where compressed clusters go: behind each other, over the
// end of a host cluster into the next, and to a new one when that is taken.
func TestPacking(t *testing.T) {
	for _, c := range []Compression{CompressionZlib, CompressionZstd} {
		t.Run(c.String(), func(t *testing.T) {
			d := newCompressed(t, CreateOptions{Size: mib, ClusterSize: 4096, Compression: c})
			place := func(off int64) (first, last int64) {
				at, n, err := d.im.g.compressed(d.entry(off))
				if err != nil || d.entry(off)&entryCompressed == 0 || d.entry(off)&entryCopied != 0 {
					t.Fatalf("entry %#x of %#x: %v", d.entry(off), off, err)
				}
				return at, at + n
			}
			for i := range int64(6) {
				d.writeCompressed(2, i*4096, 4096) // two thirds each
			}
			for i := int64(1); i < 6; i++ {
				_, end := place((i - 1) * 4096)
				at, _ := place(i * 4096)
				if at > end || at <= end-sectorSize {
					t.Errorf("cluster %d is at %#x, the one before ends in the sector up to %#x", i, at, end)
				}
			}
			if err := d.im.WriteV(pattern(9, 4096), 512*kib); err != nil { // takes the next host cluster
				t.Fatal(err)
			}
			copy(d.model[512*kib:], pattern(9, 4096)[0])
			_, end := place(5 * 4096)
			d.writeCompressed(2, 6*4096, 4096)
			d.writeCompressed(2, 7*4096, 4096)
			at6, _ := place(6 * 4096)
			at7, _ := place(7 * 4096)
			if room := -end & 4095; room < 3000 && at6&4095 != 0 && at7&4095 != 0 {
				t.Errorf("clusters at %#x and %#x, after one that ends at %#x", at6, at7, end)
			}
			d.compare()
			d.reopen()
			d.compare()
			d.writeCompressed(3, 0, mib)
			if used := int64(len(d.f.data)); used > 64*kib+6*4096 {
				t.Errorf("256 clusters of constant bytes: the file has %d bytes", used)
			}
			d.reopen()
			d.compare()
		})
	}
}

// TestPackingLeavesFreedCluster frees the host cluster that the next compressed
// data would go to and has a plain write take it: it is out of bounds then.
func TestPackingLeavesFreedCluster(t *testing.T) {
	d := newCompressed(t, CreateOptions{Size: mib})
	do := func(op operation) {
		t.Helper()
		if err := op.run(d.im, rand.New(rand.NewPCG(1, 1))); err != nil {
			t.Fatalf("%v: %v", op, err)
		}
		op.apply(d.im, d.model)
	}
	do(operation{"compress", 0, 64 * kib, 3})
	packed := int64(d.entry(0)&entryOffset) &^ (64*kib - 1)
	do(operation{"write", 0, 64 * kib, 5}) // moves the data elsewhere, and punches no hole
	for i := int64(1); int64(d.entry(640*kib)&entryOffset) != packed; i++ {
		if i == 10 {
			t.Fatal("nobody takes the host cluster that was freed")
		}
		do(operation{"flush", 0, 0, 0})
		do(operation{"write", 640 * kib, 64 * kib, 6})
		if int64(d.entry(640*kib)&entryOffset) != packed {
			do(operation{"discard", 640 * kib, 64 * kib, 0})
		}
	}
	do(operation{"compress", 64 * kib, 64 * kib, 7})
	if at, _, err := d.im.g.compressed(d.entry(64 * kib)); err != nil || at&^(64*kib-1) == packed {
		t.Errorf("compressed data at %#x, in the cluster that another guest cluster owns", at)
	}
	d.compare()
	d.reopen()
	d.compare()
}

// punchFile calls a function before it punches a hole.
type punchFile struct {
	*memFile
	before func(off, n int64)
}

func (p *punchFile) PunchHole(off, n int64) error {
	if p.before != nil {
		p.before(off, n)
	}
	return p.memFile.PunchHole(off, n)
}

// TestPackingBesideHole writes compressed data while a hole is punched for the
// host cluster that it would go to.
func TestPackingBesideHole(t *testing.T) {
	f := &punchFile{memFile: new(memFile)}
	if err := Create(f, CreateOptions{Size: mib}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := squeezable(7, 64*kib)
	if err := im.WriteCompressed(want, 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Discard(0, 64*kib); err != nil {
		t.Fatal(err)
	}
	punched := 0
	f.before = func(int64, int64) {
		punched++
		if err := im.WriteCompressed(want, 128*kib); err != nil {
			t.Error(err)
		}
	}
	for range 4 {
		if err := im.WriteV(pattern(1, 512), 512*kib); err != nil {
			t.Fatal(err)
		}
		if err := im.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if punched == 0 {
		t.Fatal("no hole was punched")
	}
	got := make([]byte, 64*kib)
	if err := im.ReadV([][]byte{got}, 128*kib); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the hole took what was written beside it: %v", err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		t.Errorf("check: %+v, %v", res, err)
	}
}

// TestPackingDuringReclaim writes compressed clusters from several goroutines
// while others discard them, so that the host clusters empty and fill again.
func TestPackingDuringReclaim(t *testing.T) {
	d := newCompressed(t, CreateOptions{Size: mib, ClusterSize: 4096})
	var wg sync.WaitGroup
	for w := range int64(8) {
		wg.Go(func() {
			for i := range int64(100) {
				off, fill := (w*32+i%32)*4096, byte(4*i+1+w%3)
				if err := d.im.WriteCompressed(squeezable(fill, 4096), off); err != nil {
					t.Error(err)
					return
				}
				got := make([]byte, 4096)
				if err := d.im.ReadV([][]byte{got}, off); err != nil || !bytes.Equal(got, squeezable(fill, 4096)) {
					t.Errorf("worker %d, step %d: not what was written (%v)", w, i, err)
					return
				}
				if i%3 != 0 {
					if err := d.im.Discard(off, 4096); err != nil {
						t.Error(err)
					}
				}
				if i%5 == 0 {
					if err := d.im.Flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	d.mustBeClean()
}

// TestNarrowRefcounts packs as many clusters into one as its refcount can say.
func TestNarrowRefcounts(t *testing.T) {
	for _, bits := range []int{1, 2} {
		d := newCompressed(t, CreateOptions{Size: mib, RefcountBits: bits})
		d.writeCompressed(3, 0, 16*64*kib)
		host := make(map[int64]int)
		for i := range int64(16) {
			at, _, err := d.im.g.compressed(d.entry(i * 64 * kib))
			if err != nil {
				t.Fatal(err)
			}
			host[at>>16]++
		}
		for c, n := range host {
			if n > 1<<bits-1 {
				t.Errorf("%d bits: %d clusters in host cluster %d", bits, n, c)
			}
		}
		d.reopen()
		d.compare()
	}
}

// TestIncompressible writes what does not shrink: plainly.
func TestIncompressible(t *testing.T) {
	for _, c := range []Compression{CompressionZlib, CompressionZstd} {
		d := newCompressed(t, CreateOptions{Size: 256*kib + 512, Compression: c})
		d.writeCompressed(4, 0, 256*kib+512)
		for _, off := range []int64{0, 192 * kib} {
			if e := d.entry(off); e&entryCompressed != 0 || e&entryCopied == 0 {
				t.Errorf("%v: random data has entry %#x", c, e)
			}
		}
		if e := d.entry(256 * kib); e&entryCompressed == 0 {
			t.Errorf("%v: the last cluster is nearly all zeroes, and has entry %#x", c, e)
		}
		d.reopen()
		d.compare()
	}
}

// TestCompressedReplaces writes compressed clusters where there is something
// already, of each kind, and plain data over compressed clusters.
func TestCompressedReplaces(t *testing.T) {
	d := newCompressed(t, CreateOptions{Size: mib, ClusterSize: 4096})
	for _, op := range []operation{
		{"write", 0, 64 * kib, 1}, {"zero", 64 * kib, 64 * kib, 0}, {"write", 128 * kib, 64 * kib, 1}, {"zero", 128 * kib, 64 * kib, 0},
		{"compress", 192 * kib, 64 * kib, 6}, {"compress", 0, 320 * kib, 7}, {"write", 10, 5000, 3}, {"zero", 64*kib + 1, 9000, 0},
		{"compress", 4096, 8192, 4}, // does not shrink
	} {
		if err := op.run(d.im, rand.New(rand.NewPCG(1, 1))); err != nil {
			t.Fatalf("%v: %v", op, err)
		}
		op.apply(d.im, d.model)
		d.compare()
	}
	d.reopen()
	d.compare()
}

// TestCompressedRefused has ranges that are not whole clusters, and images that
// can't be written.
func TestCompressedRefused(t *testing.T) {
	d := newCompressed(t, CreateOptions{Size: 100*kib + 512})
	for _, tt := range []struct {
		off, n int64
		want   error
	}{
		{512, 64 * kib, ErrAlignment}, {0, 512, ErrAlignment}, {0, 100 * kib, ErrAlignment}, {64 * kib, 512, ErrAlignment},
		{64 * kib, 64 * kib, ErrRange}, {-64 * kib, 64 * kib, ErrRange}, {128 * kib, 0, ErrRange},
		{64 * kib, 36*kib + 512, nil}, {0, 0, nil}, {0, 100*kib + 512, nil},
	} {
		if err := d.im.WriteCompressed(make([]byte, tt.n), tt.off); !errors.Is(err, tt.want) {
			t.Errorf("%d bytes at %d: %v, want %v", tt.n, tt.off, err, tt.want)
		}
	}
	if err := d.im.Close(); err != nil {
		t.Fatal(err)
	}
	im, err := Open(d.f.reopened(), Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteCompressed(make([]byte, 64*kib), 0); !errors.Is(err, ErrReadOnly) {
		t.Errorf("read-only image: %v", err)
	}
}

// TestNewCompressedEntry holds the entries of compressed clusters against what
// readers make of them, up to the last place that an entry can name.
func TestNewCompressedEntry(t *testing.T) {
	for bits := uint(minClusterBits); bits <= maxClusterBits; bits++ {
		g := newGeometry(&header{version: 3, clusterBits: uint32(bits), refcountOrder: 4})
		limit := min(int64(1)<<(70-bits), maxHostOffset+1)
		for _, off := range []int64{1 << 21, 1<<21 + 1, 1<<21 + 511, limit - 2*g.clusterSize} {
			for _, n := range []int64{1, 2, g.clusterSize - 1} {
				e, ok := g.compressedEntry(off, n)
				if !ok {
					t.Fatalf("2^%d: no entry for %#x+%#x", bits, off, n)
				}
				at, have, err := g.compressed(e)
				if err != nil || at != off || have < n || have >= n+sectorSize {
					t.Errorf("2^%d: %#x+%#x reads as %#x+%#x, %v", bits, off, n, at, have, err)
				}
			}
		}
		if e, ok := g.compressedEntry(limit, 10); ok {
			t.Errorf("2^%d: entry %#x for offset %#x", bits, e, limit)
		}
	}
}

// TestQEMUReadsCompressed has qemu-img check and compare images of compressed
// clusters that several goroutines wrote.
func TestQEMUReadsCompressed(t *testing.T) {
	for _, o := range []CreateOptions{
		{ClusterSize: 512}, {ClusterSize: 4096, RefcountBits: 2}, {Version: 2}, {ClusterSize: 2 * mib}, {},
		{ClusterSize: 512, Compression: CompressionZstd}, {Compression: CompressionZstd}, {ClusterSize: 2 * mib, Compression: CompressionZstd},
	} {
		// Large clusters need several of them, small ones a few MiB.
		o.Size = int64(scale(1, 5))*mib + 512
		if o.ClusterSize == 2*mib {
			o.Size = int64(scale(4, 5))*mib + 512
		}
		t.Run(config{o: o}.String(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			f, err := OpenFile(l.path("disk"), os.O_RDWR|os.O_CREATE)
			if err != nil {
				t.Fatal(err)
			}
			if err := Create(f, o); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			im := l.open("disk", Options{})
			model := make([]byte, o.Size)
			piece := max(o.ClusterSize, 512*kib)
			for off := int64(0); off < o.Size; off += 64 * kib {
				copy(model[off:], squeezable(byte(off>>16), 64*kib))
			}
			var wg sync.WaitGroup
			for off := int64(0); off < o.Size; off += piece {
				wg.Go(func() {
					if err := im.WriteCompressed(model[off:min(off+piece, o.Size)], off); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if err := compareWith(im, model); err != nil {
				t.Fatal(err)
			}
			l.close(im)
			l.check("disk")
			l.equals("disk", model)
			if info := l.run("qemu-img", "info", "disk"); o.Version != 2 && !strings.Contains(info, "compression type: "+o.Compression.String()) {
				t.Error(info)
			}
			l.scribbleAgain("disk", model)
		})
	}
}

// scribbleAgain writes on an image at random and has qemu-img judge it.
func (l *lab) scribbleAgain(name string, model []byte) {
	l.t.Helper()
	im := l.open(name, Options{})
	l.scribble(im, model, seeded(l.t), 60)
	l.close(im)
	l.check(name)
	l.equals(name, model)
}

// TestCompressAhead compresses what is written later, in pieces and in another order
// than they are in; some clusters don't shrink, and one is cut off.
func TestCompressAhead(t *testing.T) {
	for _, c := range []Compression{CompressionZlib, CompressionZstd} {
		f := new(memFile)
		size := int64(5*64*kib + 512)
		if err := Create(f, CreateOptions{Size: size, Compression: c}); err != nil {
			t.Fatal(err)
		}
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, size)
		for i := range int64(5) {
			copy(want[i*64*kib:], squeezable(byte(i+3), 64*kib)) // the second does not shrink
		}
		copy(want[5*64*kib:], squeezable(1, 512))
		var first, second Ahead
		for range 2 { // what is in there before does not matter
			first.Reset()
			im.Compress(&first, want[3*64*kib:])
		}
		im.Compress(&second, want[:64*kib])
		im.Compress(&second, want[64*kib:3*64*kib])
		err = im.WriteCompressedAhead(&second, want[:64*kib], 0)
		err = errors.Join(err, im.WriteCompressedAhead(&second, want[64*kib:3*64*kib], 64*kib))
		err = errors.Join(err, im.WriteCompressedAhead(&first, want[3*64*kib:], 3*64*kib))
		got := make([]byte, size)
		if err = errors.Join(err, im.ReadV([][]byte{got}, 0)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: others were written, %v", c, err)
		}
		res, err := im.Check(CheckOptions{})
		if err != nil || res.Corruptions+res.Leaks != 0 || res.CompressedClusters != 5 {
			t.Errorf("%v: %+v, %v", c, res, err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAheadTakesMemoryOnce: the memory of what is compressed ahead is that of what is given at a
// time, and is used again.
func TestAheadTakesMemoryOnce(t *testing.T) {
	im, err := Open(newImage(t, CreateOptions{Size: 1 << 20, ClusterSize: 64 << 10}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var a Ahead
	p := bytes.Repeat([]byte("compressible data"), 64<<10)[:4*64<<10]
	im.Compress(&a, p)
	if got := cap(a.buf); got != 4*64<<10 {
		t.Errorf("%d bytes for four clusters of 64 KiB", got)
	}
	first := &a.buf[0]
	a.Reset()
	im.Compress(&a, p[:64<<10])
	im.Compress(&a, p[64<<10:])
	if &a.buf[0] != first {
		t.Error("other memory for the second four")
	}
	im.Compress(&a, p)
	if len(a.ends) != 8 {
		t.Errorf("%d clusters, not 8", len(a.ends))
	}
	for range a.ends {
		if data, ok := a.take(); !ok || len(data) == 0 {
			t.Errorf("cluster %d has %d bytes", a.next, len(data))
		}
	}
}
