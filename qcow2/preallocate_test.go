package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// create makes an image in the lab, and its external data file.
func (l *lab) create(name string, o CreateOptions) {
	l.t.Helper()
	f, err := OpenFile(l.path(name), os.O_RDWR|os.O_CREATE)
	if err != nil {
		l.t.Fatal(err)
	}
	if o.DataFile != "" {
		data, err := OpenFile(l.path(o.DataFile), os.O_RDWR|os.O_CREATE)
		if err != nil {
			l.t.Fatal(err)
		}
		defer data.Close()
		o.Data = data
	}
	if err := errors.Join(Create(f, o), f.Close()); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) read(name string) []byte {
	l.t.Helper()
	data, err := os.ReadFile(l.path(name))
	if err != nil {
		l.t.Fatal(err)
	}
	return data
}

// sameFile compares two files byte by byte.
func (l *lab) sameFile(ours, theirs string) {
	l.t.Helper()
	a, b := l.read(ours), l.read(theirs)
	if i := firstDifference(a, b[:min(len(a), len(b))]); len(a) != len(b) || i >= 0 {
		l.t.Errorf("%s has %d bytes, %s %d; first difference at %#x", ours, len(a), theirs, len(b), i)
	}
}

// TestCreateAsQEMU creates images with preallocation and external data files as
// qemu-img does: the files are equal byte for byte, and as large on the host.
func TestCreateAsQEMU(t *testing.T) {
	const metadata, falloc, full = PreallocateMetadata, PreallocateFalloc, PreallocateFull
	tests := []struct {
		options string
		o       CreateOptions
	}{
		{"preallocation=metadata", CreateOptions{Size: 20*mib + 512, Preallocation: metadata}},
		{"preallocation=metadata,cluster_size=512", CreateOptions{Size: 3 * mib, ClusterSize: 512, Preallocation: metadata}},
		{"preallocation=metadata,cluster_size=1k,refcount_bits=64", CreateOptions{Size: 12 * mib, ClusterSize: kib, RefcountBits: 64, Preallocation: metadata}},
		{"preallocation=metadata,cluster_size=2M", CreateOptions{Size: 20 * mib, ClusterSize: 2 * mib, Preallocation: metadata}},
		{"preallocation=metadata,compat=0.10", CreateOptions{Size: 20 * mib, Version: 2, Preallocation: metadata}},
		{"preallocation=falloc", CreateOptions{Size: 20*mib + 512, Preallocation: falloc}},
		{"preallocation=falloc,cluster_size=512", CreateOptions{Size: 3 * mib, ClusterSize: 512, Preallocation: falloc}},
		{"preallocation=falloc,cluster_size=512,refcount_bits=64", CreateOptions{Size: 10 * mib, ClusterSize: 512, RefcountBits: 64, Preallocation: falloc}},
		{"preallocation=full", CreateOptions{Size: 20 * mib, Preallocation: full}},
		{"preallocation=full,cluster_size=4k,refcount_bits=1", CreateOptions{Size: 20 * mib, ClusterSize: 4 * kib, RefcountBits: 1, Preallocation: full}},
		{"preallocation=full,compat=0.10", CreateOptions{Size: 20 * mib, Version: 2, Preallocation: full}},
		{"extended_l2=on,preallocation=metadata", CreateOptions{Size: 20 * mib, ExtendedL2: true, Preallocation: metadata}},
		{"extended_l2=on,preallocation=falloc,cluster_size=16k", CreateOptions{Size: 40 * mib, ClusterSize: 16 * kib, ExtendedL2: true, Preallocation: falloc}},
		{"extended_l2=on,cluster_size=2M", CreateOptions{Size: 40 * mib, ClusterSize: 2 * mib, ExtendedL2: true}},
		{"data_file=data,data_file_raw=on,extended_l2=on", CreateOptions{Size: 20 * mib, DataFileRaw: true, ExtendedL2: true}},
		{"data_file=data", CreateOptions{Size: 20*mib + 512}},
		{"data_file=data,preallocation=metadata", CreateOptions{Size: 20 * mib, Preallocation: metadata}},
		{"data_file=data,preallocation=falloc,cluster_size=4k", CreateOptions{Size: 20 * mib, ClusterSize: 4 * kib, Preallocation: falloc}},
		{"data_file=data,preallocation=full", CreateOptions{Size: 20 * mib, Preallocation: full}},
		{"data_file=data,data_file_raw=on", CreateOptions{Size: 20 * mib, DataFileRaw: true}},
		{"data_file=data,data_file_raw=on,preallocation=full,cluster_size=512", CreateOptions{Size: 3 * mib, ClusterSize: 512, DataFileRaw: true, Preallocation: full}},
	}
	for _, tt := range tests {
		t.Run(tt.options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			blocks := func(name string) int64 {
				l.run("sync", name) // file systems differ in when they count, too
				out := l.run("stat", "-c", "%b", name)
				var n int64
				fmt.Sscan(out, &n)
				return n
			}
			same := func(ours, theirs string) {
				l.sameFile(ours, theirs)
				const slack = 64 << 10 / 512 // file systems differ in when they allocate
				if a, b := blocks(ours), blocks(theirs); a > b+slack || a < b-slack {
					t.Errorf("%s takes %d sectors of the host, %s %d", ours, a, theirs, b)
				}
			}
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", tt.options, "theirs", fmt.Sprint(tt.o.Size))
			if strings.Contains(tt.options, "data_file=") {
				if err := os.Rename(l.path("data"), l.path("data.theirs")); err != nil {
					t.Fatal(err)
				}
				tt.o.DataFile = "data"
			}
			l.create("ours", tt.o)
			l.check("ours")
			same("ours", "theirs")
			if tt.o.DataFile != "" {
				same("data", "data.theirs")
			}
		})
	}
}

// TestPreallocatedDisk writes to disks with preallocation: they were zeroes.
func TestPreallocatedDisk(t *testing.T) {
	for _, mode := range []Preallocation{PreallocateMetadata, PreallocateFalloc, PreallocateFull} {
		t.Run(mode.String(), func(t *testing.T) {
			c := config{o: CreateOptions{Size: 2 * mib, ClusterSize: 4 * kib, Preallocation: mode}}
			rng := seeded(t)
			d := newDisk(t, c, rng)
			d.compare()
			for range 100 {
				op := randomOperation(rng, c.o.Size, c.o.ClusterSize)
				if err := op.run(d.im, rng); err != nil {
					t.Fatalf("%v: %v", op, err)
				}
				op.apply(d.im, d.model)
			}
			d.reopen()
			d.compare()
		})
	}
}

// TestPreallocateGrowth preallocates behind the end of a disk in use, in a file
// whose free clusters are full of what was there before. The new part is zeroes,
// also when every file operation on the way fails in turn.
func TestPreallocateGrowth(t *testing.T) {
	rng := seeded(t)
	const was, size = 300*kib + 512, 2 * mib
	for _, c := range []CreateOptions{{ClusterSize: 512, RefcountBits: 64}, {ClusterSize: 4 * kib}, {ClusterSize: 64 * kib}} {
		c.Size = was
		d := newDisk(t, config{o: c}, nil)
		d.f.noPunch = true
		for _, op := range []operation{{"write", 0, was, 0xff}, {"flush", 0, 0, 0}, {"discard", 0, was - 40*kib, 0}} {
			if err := op.run(d.im, rng); err != nil {
				t.Fatal(err)
			}
			op.apply(d.im, d.model)
		}
		d.reopen()
		if err := d.im.Close(); err != nil {
			t.Fatal(err)
		}
		d.model = append(d.model, make([]byte, size-was)...)
		for _, mode := range []Preallocation{PreallocateMetadata, PreallocateFalloc, PreallocateFull} {
			t.Run(fmt.Sprintf("cluster=%d,%v", c.ClusterSize, mode), func(t *testing.T) {
				t.Parallel()
				step := 1
				if raceDetector {
					step = 17
				}
				for n := 1; ; n += step {
					g := &disk{t: t, f: d.f.reopened(), model: d.model}
					g.open()
					g.f.failAfter(n)
					err := g.im.grow(size, mode)
					failed := g.f.failed
					g.f.failAfter(0)
					if failed != (err != nil) {
						t.Fatalf("failure %d: %v", n, err)
					}
					if failed {
						if err := g.im.grow(size, mode); err != nil {
							t.Fatalf("failure %d: the next attempt fails, too: %v", n, err)
						}
					}
					g.compare()
					g.reopen()
					g.compare()
					if res, err := g.im.Check(CheckOptions{}); err != nil || res.AllocatedClusters < (size-was)/c.ClusterSize {
						t.Fatalf("%+v, %v", res, err)
					}
					if !failed {
						t.Logf("%d failures", n-1)
						return
					}
				}
			})
		}
	}
}

// TestPreallocateCrash stops the machine while a disk grows by preallocated
// clusters: the image is consistent, and holds what it held.
func TestPreallocateCrash(t *testing.T) {
	for _, mode := range []Preallocation{PreallocateMetadata, PreallocateFalloc} {
		rng := seeded(t)
		d := newDisk(t, config{o: CreateOptions{Size: 20 * kib, ClusterSize: 512, RefcountBits: 64}}, rng)
		d.f.noPunch = true
		if err := d.im.WriteV(pattern(0xff, 20*kib), 0); err != nil {
			t.Fatal(err)
		}
		if err := d.im.Discard(0, 10*kib); err != nil {
			t.Fatal(err)
		}
		copy(d.model[10*kib:], pattern(0xff, 10*kib)[0])
		d.reopen()
		base := slices.Clone(d.f.data)
		d.f.record = true
		if err := d.im.grow(300*kib, mode); err != nil {
			t.Fatal(err)
		}
		if err := d.im.Close(); err != nil {
			t.Fatal(err)
		}
		states := 0
		stride := scale(3, 1)
		for n := 0; n <= len(d.f.log); n += stride {
			for s := range 3 {
				keep := inOrder
				if s > 0 {
					keep = randomly(rng)
				}
				f := &memFile{data: crash(base, d.f.log, n, keep)}
				if err := consistent(f, Options{}); err != nil {
					t.Fatalf("%v, crash after %d of %v: %v", mode, n, d.f.log, err)
				}
				im, err := Open(f, Options{})
				if err != nil {
					t.Fatal(err)
				}
				want := append(slices.Clone(d.model), make([]byte, im.Size()-20*kib)...)
				if err := compareWith(im, want); err != nil {
					t.Fatalf("%v, crash after %d of %v: %v", mode, n, d.f.log, err)
				}
				states++
			}
		}
		t.Logf("%v: %d crash states", mode, states)
	}
}

// TestPreallocateOptions refuses what can't be.
func TestPreallocateOptions(t *testing.T) {
	for text, o := range map[string]CreateOptions{
		"hides the backing file":           {Preallocation: PreallocateMetadata, BackingFile: "b", BackingFormat: "raw"},
		"unknown preallocation 4":          {Preallocation: 4},
		"needs version 3":                  {Version: 2, DataFile: "d", Data: new(memFile)},
		"must be given together":           {DataFile: "d"},
		"needs an external data file":      {DataFileRaw: true},
		"raw external data excludes":       {DataFile: "d", Data: new(memFile), DataFileRaw: true, BackingFile: "b", BackingFormat: "raw"},
		"external data file \"\": its nam": {Data: new(memFile)},
	} {
		o.Size = mib
		f := &memFile{data: []byte("precious")}
		if err := Create(f, o); err == nil || !strings.Contains(err.Error(), text) || string(f.data) != "precious" {
			t.Errorf("%v; want %q", err, text)
		}
	}
}

// TestPreallocateOverBacking grows a disk over a backing file that is longer, which must
// not show through: what is added has storage of its own all the same.
func TestPreallocateOverBacking(t *testing.T) {
	const was, size = mib, 4 * mib
	for _, extended := range []bool{false, true} {
		for _, mode := range []Preallocation{PreallocateMetadata, PreallocateFalloc, PreallocateFull} {
			t.Run(fmt.Sprintf("extended=%v,%v", extended, mode), func(t *testing.T) {
				f := new(memFile)
				base := &memFile{data: pattern(0xba, 8*mib)[0]}
				if err := Create(f, CreateOptions{Size: was, ExtendedL2: extended, BackingFile: "base", BackingFormat: "raw"}); err != nil {
					t.Fatal(err)
				}
				o := Options{Backing: func(string, string) (Backing, error) { return meteredBacking{&meter{memFile: base.reopened()}}, nil }}
				im, err := Open(f, o)
				if err != nil {
					t.Fatal(err)
				}
				if err := im.ResizeWith(size, ResizeOptions{Preallocation: mode}); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					for e, err := range Extents(im, was, size-was) {
						if err != nil || e.Host < 0 || e.Depth != 0 || !e.Data && !e.Zero {
							t.Errorf("%+v, %v", e, err)
						}
					}
					got := make([]byte, size)
					if err := im.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got[:was], pattern(0xba, was)[0]) || !bytes.Equal(got[was:], make([]byte, size-was)) {
						t.Errorf("other contents than before, or not zeroes (%v)", err)
					}
					if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
						t.Errorf("%+v, %v", res, err)
					}
					if err := im.Close(); err != nil {
						t.Fatal(err)
					}
					f = f.reopened()
					if im, err = Open(f, o); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

// TestGrowthReservesRestOfCluster grows a disk inside its last cluster, which is mapped but
// has no storage there: with falloc and full, writes to what is added find it.
func TestGrowthReservesRestOfCluster(t *testing.T) {
	for _, mode := range []Preallocation{PreallocateFalloc, PreallocateFull} {
		l := newLab(t)
		l.create("disk", CreateOptions{Size: 96 * kib, Preallocation: PreallocateMetadata})
		im := l.open("disk", Options{})
		f := im.f.(*OSFile)
		storage := func() int64 {
			t.Helper()
			if err := im.Flush(); err != nil {
				t.Fatal(err)
			}
			n, err := f.Allocated()
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if err := im.ResizeWith(112*kib, ResizeOptions{Preallocation: mode}); err != nil {
			t.Fatal(err)
		}
		before := storage()
		if err := im.WriteV(pattern(1, 16*kib), 96*kib); err != nil {
			t.Fatal(err)
		}
		if after := storage(); after != before {
			t.Errorf("%v: a write to what was added takes storage: %d bytes, %d before", mode, after, before)
		}
		l.close(im)
		l.check("disk")
	}
}

// TestGrowthNeedsNoNewRefcounts preallocates what a disk gains behind its clusters where
// there are refcounts for it already.
func TestGrowthNeedsNoNewRefcounts(t *testing.T) {
	l := newLab(t)
	l.create("disk", CreateOptions{Size: 64 * kib})
	im := l.open("disk", Options{})
	if err := im.ResizeWith(128*kib, ResizeOptions{Preallocation: PreallocateFull}); err != nil {
		t.Fatal(err)
	}
	l.close(im)
	l.check("disk")
	// The header, the refcount table and a block of it, the L1 table, an L2 table, and the data.
	if n, want := int64(len(l.read("disk"))), int64(6*64*kib); n != want {
		t.Errorf("the file has %d bytes, want %d", n, want)
	}
}
