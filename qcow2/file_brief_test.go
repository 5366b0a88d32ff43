package qcow2

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// briefFile is a file of 16 pages on a file system whose writes are brief.
func briefFile(t *testing.T) *OSFile {
	t.Helper()
	f, err := OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	page := pageMask + 1
	if err := f.WriteV([][]byte{bytes.Repeat([]byte{0x55}, int(16*page))}, 0); err != nil {
		t.Fatal(err)
	}
	f.TryWriteV([][]byte{make([]byte, page)}, 0)
	if !f.brief.allowed.Load() {
		t.Skip("the file system of temporary files is neither ext4 nor tmpfs, or tells whether a write would wait")
	}
	return f
}

// tryNow tries a write whatever was slow before: the host may be busy.
func (f *OSFile) tryNow(bufs [][]byte, off int64) bool {
	f.brief.closed.Store(0)
	return f.TryWriteV(bufs, off)
}

// Parts of pages that are on the disk only would be read first.
func TestBriefWritesReadNothing(t *testing.T) {
	f := briefFile(t)
	page := pageMask + 1
	drop := func() {
		t.Helper()
		if err := errors.Join(f.Sync(), unix.Fadvise(f.fd, 0, 0, unix.FADV_DONTNEED)); err != nil {
			t.Fatal(err)
		}
	}
	drop()
	if f.readable(8*page + 1) {
		t.Skip("the file system keeps what it was told to drop")
	}
	want := bytes.Repeat([]byte{0x55}, int(10*page))
	p := bytes.Repeat([]byte{0xaa}, int(page))
	write := func(bufs [][]byte, off int64) (done bool) {
		if done = f.tryNow(bufs, off); done {
			copy(want[off:], slices.Concat(bufs...))
		}
		return done
	}
	for _, off := range []int64{8*page + 512, 7*page + 512} { // its end, too
		// To ask for a page has the host read it: now and then it is there before the
		// write is tried.
		tries := 0
		for drop(); write([][]byte{p}, off); drop() {
			if tries++; tries == 20 {
				t.Fatalf("writes of parts of pages at %d are done", off)
			}
		}
	}
	if !write([][]byte{p[:1000], p[1000:]}, 8*page) {
		t.Error("a write of a whole page was not done")
	}
	if !write([][]byte{p[:512]}, 8*page+512) {
		t.Error("a write of part of a page in the cache was not done")
	}
	got := make([]byte, len(want))
	if err := f.ReadV([][]byte{got}, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[page:], want[page:]) { // the first was for finding out
		t.Error("the data differs")
	}
}

// What was tried is made durable by the next Sync, as what was written.
func TestBriefWritesAreSynced(t *testing.T) {
	f := briefFile(t)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if !f.tryNow([][]byte{make([]byte, pageMask+1)}, 0) || f.synced.Load() == f.writes.Load() {
		t.Errorf("after a write %d of %d writes are durable", f.synced.Load(), f.writes.Load())
	}
}

// Who may wait with the file's lock keeps others from trying.
func TestBriefWritesWaitForNobody(t *testing.T) {
	f := briefFile(t)
	p := [][]byte{make([]byte, pageMask+1)}
	f.brief.enter()
	if f.tryNow(p, 0) {
		t.Error("done beside another write")
	}
	f.brief.leave()
	for name, change := range map[string]func() error{
		"write":    func() error { return f.WriteV(p, 0) },
		"sync":     f.syncNow,
		"truncate": func() error { return f.Truncate(1 << 20) },
		"punch":    func() error { return f.PunchHole(0, 1<<20) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if !f.tryNow(p, 0) {
			t.Errorf("not done after a %s", name)
		}
	}
}

// A write that took long keeps others from being tried, for a hundred times as long.
func TestBriefWritesSpendLittleTimeWaiting(t *testing.T) {
	var b brief
	b.allowed.Store(true)
	const ms = time.Millisecond
	for _, c := range []struct {
		took, at time.Duration
		closed   time.Duration // till then
	}{
		{ms / 2, 1000 * ms, 0},
		{20 * ms, 2000 * ms, 4000 * ms},
		{ms / 2, 2000 * ms, 4000 * ms}, // one that was under way
		{ms, 5000 * ms, 5100 * ms},
	} {
		b.took(c.took, c.at)
		if c.closed > 0 && b.open(c.closed-1) || !b.open(max(c.closed, c.at)) {
			t.Errorf("after %v, at %v: open just before %v is %v, and from then on %v", c.took, c.at, c.closed, b.open(c.closed-1), b.open(c.closed))
		}
	}
}

func TestBriefWritesDoNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	f := briefFile(t)
	list := [][]byte{make([]byte, 512)}
	if n := testing.AllocsPerRun(100, func() { f.tryNow(list, 512) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
