package qcow2

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// spliceable returns an image of 1 MiB in clusters of 64 KiB whose first two have
// data, in a file that can be spliced from, and the file.
func spliceable(t *testing.T, o Options) (*Image, *OSFile) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := OpenFile(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(f, CreateOptions{Size: mib}); err != nil {
		t.Fatal(err)
	}
	p := newTestPipe(t)
	if moved, _ := f.Splice(p.w, 0, 4096); moved == 0 {
		t.Skip("nothing can be spliced from files here")
	}
	p.take(t, 4096)
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV(pattern(0x55, 128*kib), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err = OpenFile(path, os.O_RDWR); err != nil {
		t.Fatal(err)
	}
	if im, err = Open(f, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	inMemory(t, im)
	return im, f
}

// inMemory brings the tables of an image into memory.
func inMemory(t *testing.T, im *Image) {
	t.Helper()
	if err := im.ReadV(pattern(0, 512), 0); err != nil {
		t.Fatal(err)
	}
}

// testPipe is a pipe with room for 1 MiB.
type testPipe struct{ r, w int }

func newTestPipe(t *testing.T) testPipe {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ends[0]); unix.Close(ends[1]) })
	if _, err := unix.FcntlInt(uintptr(ends[1]), unix.F_SETPIPE_SZ, int(mib)); err != nil {
		t.Skipf("no pipe of 1 MiB: %v", err)
	}
	return testPipe{ends[0], ends[1]}
}

// take takes n bytes out.
func (p testPipe) take(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	for got := 0; got < n; {
		k, err := unix.Read(p.r, b[got:])
		if err != nil || k == 0 {
			t.Fatalf("%d of %d bytes in the pipe: %v", got, n, err)
		}
		got += k
	}
	return b
}

// TestSplice splices what the image has as it is, and nothing else.
func TestSplice(t *testing.T) {
	im, _ := spliceable(t, Options{})
	p := newTestPipe(t)
	want := pattern(0x55, 128*kib)[0]
	for _, r := range []struct{ off, n int64 }{{0, 64 * kib}, {0, 128 * kib}, {60 * kib, 8 * kib}, {512, 1024}} {
		moved, held := im.Splice(p.w, r.off, r.n)
		if moved != r.n || held == nil {
			t.Fatalf("%d bytes at %d: %d were spliced", r.n, r.off, moved)
		}
		if got := p.take(t, int(r.n)); !bytes.Equal(got, want[r.off:][:r.n]) {
			t.Errorf("%d bytes at %d: others", r.n, r.off)
		}
		held.Release()
	}
	refused := func(what string, im *Image, off, n int64) {
		t.Helper()
		if moved, held := im.Splice(p.w, off, n); moved != 0 || held != nil {
			t.Errorf("%s: %d bytes were spliced", what, moved)
		}
	}
	refused("what was never written", im, 256*kib, 64*kib)
	refused("a part of it", im, 64*kib, 128*kib)
	refused("beyond the end", im, mib-4*kib, 8*kib)
	if err := im.WriteCompressed(squeezable(1, 64*kib), 128*kib); err != nil {
		t.Fatal(err)
	}
	refused("a compressed cluster", im, 128*kib, 64*kib)
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	refused("what a snapshot has, too", im, 0, 64*kib)
	kept, _ := spliceable(t, Options{PassDiscard: PassNone})
	refused("clusters whose holes are not punched", kept, 0, 64*kib)
}

// TestSplicedClustersAreNotUsedAgain gives a cluster up while its bytes are in a pipe:
// what is written then goes elsewhere until they are released, and does not show in
// them after that.
func TestSplicedClustersAreNotUsedAgain(t *testing.T) {
	im, f := spliceable(t, Options{})
	p := newTestPipe(t)
	host := func(off int64) int64 {
		t.Helper()
		e, err := im.Status(off, 1)
		if err != nil {
			t.Fatal(err)
		}
		return e.Host
	}
	was := host(0)
	moved, held := im.Splice(p.w, 0, 64*kib)
	if moved != 64*kib {
		t.Fatalf("%d bytes were spliced", moved)
	}
	if err := im.Discard(0, 64*kib); err != nil {
		t.Fatal(err)
	}
	// rewrite fills a cluster after all that was given up has come back.
	rewrite := func(off int64) {
		t.Helper()
		for range 4 {
			if err := im.Flush(); err != nil {
				t.Fatal(err)
			}
			im.changed(&request{}) // a flush with nothing to do does nothing
		}
		if err := im.WriteV(pattern(0xee, 64*kib), off); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(256 * kib)
	if host(256*kib) == was {
		t.Fatal("the cluster was used again")
	}
	held.Release()
	rewrite(320 * kib)
	if host(320*kib) != was {
		t.Errorf("the cluster at %#x did not come back", was)
	}
	if got := p.take(t, int(64*kib)); bytes.IndexByte(got, 0xee) >= 0 {
		t.Error("the pipe has what was written elsewhere")
	}
	if moved, _ := f.Splice(p.w, was, 4096); moved != 4096 || p.take(t, 4096)[0] != 0xee {
		t.Error("the file has not what was written")
	}
}

// unpunchable is a file whose holes can't be punched.
type unpunchable struct{ *OSFile }

func (unpunchable) PunchHole(int64, int64) error { return unix.EIO }

// TestSplicedClustersThatKeepTheirPages are lost until the next repair: others may have
// their pages.
func TestSplicedClustersThatKeepTheirPages(t *testing.T) {
	im, f := spliceable(t, Options{})
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(f.Path(), os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if im, err = Open(unpunchable{f}, Options{}); err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	inMemory(t, im)
	p := newTestPipe(t)
	moved, held := im.Splice(p.w, 0, 64*kib)
	if moved != 64*kib {
		t.Fatalf("%d bytes were spliced", moved)
	}
	held.Release()
	if err := im.Discard(0, 64*kib); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := im.Flush(); err != nil {
			t.Fatal(err)
		}
		im.changed(&request{})
	}
	res, err := im.Check(CheckOptions{})
	if err != nil || res.Corruptions != 0 || res.Leaks != 1 {
		t.Errorf("%d corruptions and %d leaks, %v; want one leak", res.Corruptions, res.Leaks, err)
	}
}

// TestSpliceDoesNotAllocate has no garbage for each transfer.
func TestSpliceDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	im, _ := spliceable(t, Options{})
	p := newTestPipe(t)
	buf := make([]byte, 64*kib)
	n := testing.AllocsPerRun(100, func() {
		moved, held := im.Splice(p.w, 0, 64*kib)
		if moved != 64*kib {
			t.Fatalf("%d bytes were spliced", moved)
		}
		for got := 0; got < len(buf); {
			k, err := unix.Read(p.r, buf)
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
		held.Release()
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}
