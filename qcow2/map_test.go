package qcow2

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
)

// qemuExtent is an entry of what qemu-img map prints.
type qemuExtent struct {
	Start, Length       int64
	Depth               int
	Present, Zero, Data bool
	Offset              *int64
}

// mapWithQEMU returns the extents that qemu-img finds in an image.
func (l *lab) mapWithQEMU(name string) []Extent {
	l.t.Helper()
	var theirs []qemuExtent
	out := l.run("qemu-img", "map", "-f", "qcow2", "--output=json", name)
	if err := json.Unmarshal([]byte(out), &theirs); err != nil {
		l.t.Fatal(err)
	}
	var list []Extent
	for _, e := range theirs {
		host := int64(-1)
		if e.Offset != nil {
			host = *e.Offset
		}
		list = append(list, Extent{Offset: e.Start, Length: e.Length, Depth: e.Depth, Present: e.Present, Zero: e.Zero, Data: e.Data, Host: host})
	}
	return list
}

// extents returns the extents that we find, as qemu-img tells them apart.
func (l *lab) extents(d Mapper, size int64) []Extent {
	l.t.Helper()
	var list []Extent
	for e, err := range Extents(d, 0, size) {
		if err != nil {
			l.t.Fatal(err)
		}
		e.Compressed = false // qemu-img 7.2 does not say
		if n := len(list); n > 0 && list[n-1].join(&e) {
			continue
		}
		list = append(list, e)
	}
	return list
}

// fileBacking is a raw file under an image that knows its holes.
type fileBacking struct {
	*OSFile
	size int64
}

func (b fileBacking) Size() int64 { return b.size }
func (b fileBacking) Status(off, n int64) (Extent, error) {
	hole, n, err := b.Hole(off, n)
	return Extent{Offset: off, Length: n, Present: true, Data: !hole, Zero: hole, Host: off}, err
}

// openMapped opens an image with backing files that know where their bytes are.
func (l *lab) openMapped(name string) *Image {
	l.t.Helper()
	f, err := OpenFile(l.path(name), os.O_RDONLY)
	if err != nil {
		l.t.Fatal(err)
	}
	im, err := Open(f, Options{ReadOnly: true, Backing: func(name, format string) (Backing, error) {
		if format != "raw" {
			return l.openMapped(name), nil
		}
		f, err := OpenFile(l.path(name), os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		size, err := f.Size()
		return fileBacking{f, size}, err
	}})
	if err != nil {
		l.t.Fatal(err)
	}
	return im
}

func (l *lab) sameMap(name string) {
	l.t.Helper()
	im := l.openMapped(name)
	defer l.close(im)
	if ours, theirs := l.extents(im, im.Size()), l.mapWithQEMU(name); !slices.Equal(ours, theirs) {
		l.t.Fatalf("%s: we find %+v\nqemu-img %+v", name, ours, theirs)
	}
}

// TestMapAsQEMU maps images that were written at random: chains with ends at
// different places, holes, compressed and preallocated clusters.
func TestMapAsQEMU(t *testing.T) {
	for _, options := range []string{"cluster_size=512", "cluster_size=64k", "compat=0.10", "cluster_size=4k", "cluster_size=2M"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			base, err := OpenFile(l.path("base"), os.O_RDWR|os.O_CREATE)
			if err != nil {
				t.Fatal(err)
			}
			if err := base.Truncate(3 * mib); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				if err := base.WriteV(pattern(7, 64*kib), rng.Int64N(40)*64*kib); err != nil {
					t.Fatal(err)
				}
			}
			if err := base.Close(); err != nil {
				t.Fatal(err)
			}
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "low", "4M")
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", "low", "-F", "qcow2", "mid", "2M")
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", "mid", "-F", "qcow2", "top", "5M")
			for range 3 {
				for _, name := range []string{"low", "mid", "top"} {
					im := l.open(name, Options{})
					l.scribble(im, make([]byte, im.Size()), rng, 10)
					l.close(im)
				}
				for _, name := range []string{"low", "mid", "top"} {
					l.sameMap(name)
				}
			}
		})
	}
}

// TestMapPreallocated maps disks whose clusters are mostly holes in the file.
func TestMapPreallocated(t *testing.T) {
	for _, options := range []string{"preallocation=metadata", "preallocation=falloc", "preallocation=full", "preallocation=metadata,cluster_size=4k"} {
		l := newLab(t)
		l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "disk", "20M")
		l.run("qemu-io", "-f", "qcow2", "-c", "write -P 1 1M 200k", "-c", "write -P 2 5M 64k", "disk")
		l.sameMap("disk")
	}
}

// TestAllocated asks for the storage of parts of a disk.
func TestAllocated(t *testing.T) {
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: 4 * mib}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(1, mib), mib); err != nil {
		t.Fatal(err)
	}
	if err := im.WriteZeroes(mib, 64*kib, false); err != nil { // keeps its place
		t.Fatal(err)
	}
	if err := im.WriteZeroes(2*mib-64*kib, 128*kib, true); err != nil {
		t.Fatal(err)
	}
	var got string
	for off := int64(0); off < im.Size(); {
		a, n, err := im.Allocated(off, im.Size()-off)
		if err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprintf("%v %d,", a, n/kib)
		off += n
	}
	if want := "false 1024,true 64,true 896,false 128,false 1984,"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestStatusDoesNotAllocate asks for the state of a disk over and over, as a
// server does for its clients.
func TestStatusDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	im, err := Open(newImage(t, CreateOptions{}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	status := func() {
		if _, err := im.Status(128*kib, im.Size()-128*kib); err != nil {
			t.Fatal(err)
		}
	}
	status()
	if n := testing.AllocsPerRun(1000, status); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

// TestMapOfHugeEmptyDisk maps 2 TiB without looking at each cluster.
func TestMapOfHugeEmptyDisk(t *testing.T) {
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: 2 << 40}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(1, 512), 1<<40); err != nil {
		t.Fatal(err)
	}
	before := f.reads
	n := 0
	for _, err := range Extents(im, 0, im.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if reads := f.reads - before; n != 3 || reads > 20 {
		t.Errorf("%d extents, %d reads of the file", n, reads)
	}
}
