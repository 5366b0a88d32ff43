package qcow2

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// newDataImage returns an image of 1 MiB with an external data file, its first
// half written, and that file.
func newDataImage(t *testing.T, raw bool) (f, data *memFile) {
	t.Helper()
	f, data = new(memFile), new(memFile)
	if err := Create(f, CreateOptions{Size: mib, DataFile: "data", Data: data, DataFileRaw: raw}); err != nil {
		t.Fatal(err)
	}
	im := openData(t, f, data)
	if err := im.WriteV(pattern(0x5a, 512*kib), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return f.reopened(), data.reopened()
}

func openData(t *testing.T, f, data *memFile) *Image {
	t.Helper()
	im, err := Open(f, Options{DataFile: func(string) (File, error) { return data, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// TestHostileDataFileEntries uses images with an external data file and entries
// that it can't have: an error, nothing is written, check tells.
func TestHostileDataFileEntries(t *testing.T) {
	read := func(im *Image) error { return im.ReadV(pattern(0, 64*kib), 64*kib) }
	write := func(im *Image) error { return im.WriteV(pattern(1, 4*kib), 64*kib) }
	zero := func(im *Image) error { return im.WriteZeroes(64*kib, 64*kib, true) }
	for name, tt := range map[string]struct {
		entry uint64
		text  string
	}{
		"another cluster":       {atL2 | entryCopied, "is not the guest's, 0x10000"},
		"cluster 0":             {entryCopied, "is not the guest's, 0x10000"},
		"zeroes at another":     {atL2 | entryCopied | entryZero, "is not the guest's, 0x10000"},
		"not COPIED, elsewhere": {atL2, "is not the guest's, 0x10000"},
		"unaligned":             {0x10200 | entryCopied, "unaligned"},
		"compressed":            {entryCompressed | atL2, "compressed cluster entry"},
	} {
		f, data := newDataImage(t, false)
		f.put64(atL2+8, tt.entry)
		before := slices.Clone(data.data)
		for _, do := range []func(*Image) error{read, write, zero} {
			im := openData(t, f.reopened(), data.reopened())
			err := do(im)
			if tt.entry&entryZero != 0 && err == nil {
				continue // reads as zeroes, wherever that is
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s: %v, want %q", name, err, tt.text)
			}
			if !slices.Equal(im.data.(*memFile).data, before) {
				t.Errorf("%s: the data file was written to", name)
			}
		}
		im := openData(t, f.reopened(), data.reopened())
		if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions == 0 {
			t.Errorf("%s: check: %+v, %v", name, res, err)
		}
	}
}

// TestDataFileRepair sets COPIED flags that are missing: without, offset 0 would
// be no data at all.
func TestDataFileRepair(t *testing.T) {
	f, data := newDataImage(t, false)
	f.put64(atL2+16, f.get64(atL2+16)&^entryCopied)
	im := openData(t, f, data)
	if res, err := im.Check(CheckOptions{Repair: RepairAll}); err != nil || res.CorruptionsFixed != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() || res.AllocatedClusters != 8 || res.FragmentedClusters != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	want := make([]byte, mib)
	copy(want, pattern(0x5a, 512*kib)[0])
	if err := compareWith(im, want); err != nil {
		t.Error(err)
	}
}

// TestDataFileRefusals tries what images with an external data file can't do.
func TestDataFileRefusals(t *testing.T) {
	f, data := newDataImage(t, false)
	im := openData(t, f, data)
	if err := im.WriteCompressed(make([]byte, 64*kib), 0); !errors.Is(err, ErrUnsupported) {
		t.Errorf("compressed write: %v", err)
	}
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("snapshot: %v", err)
	}
	if err := im.Close(); err != nil || !data.closed {
		t.Fatalf("%v, closed: %v", err, data.closed)
	}
	failure := errors.New("no")
	_, err := Open(f.reopened(), Options{DataFile: func(name string) (File, error) { return nil, failure }})
	if !errors.Is(err, failure) || !strings.Contains(err.Error(), `"data"`) {
		t.Errorf("open without the file: %v", err)
	}
	im, err = Open(f.reopened(), Options{ReadOnly: true, NoDataFile: true})
	if err != nil {
		t.Fatal(err)
	}
	if info := im.Info(); info.DataFile != "data" || !info.HasDataFile || info.RawData {
		t.Errorf("%+v", info)
	}
	if err := im.ReadV(pattern(0, 512), 0); !errors.Is(err, ErrDataFile) {
		t.Errorf("read: %v", err)
	}
	if err := im.ReadV(pattern(0, 512), mib-512); err != nil {
		t.Errorf("read of what was never written: %v", err)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		t.Errorf("check: %+v, %v", res, err)
	}
}

// TestRawDataFile writes, zeroes and discards: the mapping stays, the file reads
// as the disk. The bit stays, too, unless there is a backing file, whose data
// the file lacks.
func TestRawDataFile(t *testing.T) {
	f, data := newDataImage(t, true)
	im := openData(t, f, data)
	want := make([]byte, mib)
	copy(want, pattern(0x5a, 512*kib)[0])
	table := slices.Clone(f.data[atL2 : atL2+512])
	for _, op := range []operation{
		{"zero", 100, 1000, 0}, {"unmap", 64 * kib, 100 * kib, 0}, {"discard", 256 * kib, 128 * kib, 0}, {"write", 70 * kib, 10 * kib, 3},
	} {
		if err := op.run(im, seeded(t)); err != nil {
			t.Fatal(err)
		}
		op.apply(im, want)
		if !slices.Equal(data.data, want) {
			t.Fatalf("%v: the file is not as the disk", op)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.data[atL2:atL2+512], table) {
		t.Error("the mapping changed")
	}
	f = f.reopened()
	if im = openData(t, f, data.reopened()); !im.Info().RawData || f.get64(hdrAutoclear) != autoclearRawData {
		t.Error("the bit is gone")
	}
	f = f.reopened()
	f.put64(8, 0x800)
	f.put32(16, 4)
	copy(f.data[0x800:], "base")
	im, err := Open(f, Options{NoBacking: true, DataFile: func(string) (File, error) { return data.reopened(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	if im.Info().RawData || f.get64(hdrAutoclear) != 0 {
		t.Error("with a backing file the bit is still there")
	}
}

// TestDiscardInDataFileWaits discards a cluster while a write to it waits: what
// is written after the discard stays.
func TestDiscardInDataFileWaits(t *testing.T) {
	f, data := newDataImage(t, false)
	slow := &slowHoles{memFile: data, held: make(chan struct{}), release: make(chan struct{})}
	im, err := Open(f, Options{DataFile: func(string) (File, error) { return slow, nil }})
	if err != nil {
		t.Fatal(err)
	}
	discarded, written := make(chan error), make(chan error)
	go func() { discarded <- im.Discard(64*kib, 64*kib) }()
	<-slow.held
	// Elsewhere nobody waits.
	if err := im.WriteV(pattern(1, 4*kib), 600*kib); err != nil {
		t.Fatal(err)
	}
	go func() { written <- im.WriteZeroes(64*kib, 128*kib, false) }()
	go func() { written <- im.WriteV(pattern(2, 4*kib), 700*kib) }()
	close(slow.release)
	if err := errors.Join(<-discarded, <-written, <-written); err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(3, 4*kib), 64*kib); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	got := pattern(0, 8*kib)
	if err := im.ReadV(got, 64*kib); err != nil || got[0][0] != 3 || got[0][4*kib] != 0 {
		t.Errorf("%d, %d, %v", got[0][0], got[0][4*kib], err)
	}
}

// slowHoles stops the first hole until the test lets it go on.
type slowHoles struct {
	*memFile
	held, release chan struct{}
}

func (s *slowHoles) PunchHole(off, n int64) error {
	if s.held != nil {
		s.held <- struct{}{}
		s.held = nil
		<-s.release
	}
	return s.memFile.PunchHole(off, n)
}

// TestDataFilesOfQEMU works on images that qemu-img made, with its data file as
// the referee for raw ones.
func TestDataFilesOfQEMU(t *testing.T) {
	for _, options := range []string{"data_file=data", "data_file=data,data_file_raw=on,cluster_size=4k", "data_file=data,cluster_size=512,preallocation=metadata"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "disk", "3M")
			l.run("qemu-io", "-d", "unmap", "-f", "qcow2", "-c", "write -P 1 100k 900k", "-c", "write -z 200k 100k", "-c", "write -zu 400k 100k", "-c", "discard 600k 128k", "disk")
			l.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "disk", "raw")
			model := l.read("raw")
			for range scale(2, 8) {
				im := l.open("disk", Options{})
				if err := compareWith(im, model); err != nil {
					t.Fatal(err)
				}
				l.scribble(im, model, rng, 60)
				l.close(im)
				l.check("disk")
				l.equals("disk", model)
				if strings.Contains(options, "raw=on") {
					if err := os.WriteFile(l.path("want"), model, 0o644); err != nil {
						t.Fatal(err)
					}
					l.sameFile("data", "want")
				}
				l.run("qemu-io", "-f", "qcow2", "-c", "write -P 9 1M 70000", "disk")
				copy(model[mib:], pattern(9, 70000)[0])
			}
		})
	}
}

// TestAmendDataFile gives an image another external data file, none by name, and lets the
// file be other than the disk.
func TestAmendDataFile(t *testing.T) {
	f, data := newDataImage(t, true)
	opened := ""
	o := Options{DataFile: func(name string) (File, error) { opened = name; return data, nil }}
	im, err := Open(f, o)
	if err != nil {
		t.Fatal(err)
	}
	name := "elsewhere"
	if err := im.Amend(AmendOptions{DataFile: &name, NotRaw: true}); err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(1, 64*kib), 0); err != nil {
		t.Errorf("a write after that: %v", err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if im, err = Open(f.reopened(), o); err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if info := im.Info(); opened != name || info.DataFile != name || info.RawData || !info.HasDataFile {
		t.Errorf("opened %q; %+v", opened, info)
	}
	plain, err := Open(newImage(t, CreateOptions{}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := plain.Amend(AmendOptions{DataFile: &name}); err == nil {
		t.Error("an image without external data file has one now")
	}
}
