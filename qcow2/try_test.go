package qcow2

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TryReadV implements Trier; the file is in memory.
func (m *memFile) TryReadV(bufs [][]byte, off int64) bool { return m.ReadV(bufs, off) == nil }

// TryWriteV implements Trier. What fails has been done in part.
func (m *memFile) TryWriteV(bufs [][]byte, off int64) bool { return m.WriteV(bufs, off) == nil }

// waitingFile is a File that would always have to wait.
type waitingFile struct{ File }

// tryImage is an image of 1 MiB whose first two clusters have data.
func tryImage(t *testing.T, o CreateOptions) (*Image, *memFile) {
	t.Helper()
	d := newDisk(t, config{o: o}, rand.New(rand.NewPCG(1, 2)))
	t.Cleanup(func() { d.im.Close() })
	if err := d.im.WriteV(pattern(0x55, 2*d.im.g.clusterSize), 0); err != nil {
		t.Fatal(err)
	}
	return d.im, d.f
}

func TestTryReadsWhatIsMapped(t *testing.T) {
	im, _ := tryImage(t, CreateOptions{Size: 1 << 20})
	cluster := im.g.clusterSize
	if err := im.WriteCompressed(squeezable(3, cluster), 4*cluster); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		off, n int64
		done   bool
		want   byte
	}{
		{"data", 512, 4096, true, 0x55},
		{"a hole", 3 * cluster, 4096, true, 0},
		{"compressed data", 4 * cluster, 512, false, 0},
		{"data and compressed data", 3*cluster + 512, cluster, false, 0},
		{"beyond the end", 1 << 20, 512, false, 0},
	} {
		got := bytes.Repeat([]byte{0xee}, int(c.n))
		if done := im.TryReadV([][]byte{got[:512], got[512:]}, c.off); done != c.done {
			t.Errorf("%s: done is %v", c.name, done)
		} else if done && !bytes.Equal(got, bytes.Repeat([]byte{c.want}, int(c.n))) {
			t.Errorf("%s: % x..., want %#x", c.name, got[:8], c.want)
		}
	}
	before := make([]byte, cluster+4096)
	if !im.TryReadV([][]byte{before}, 2*cluster-4096) { // data, then a hole
		t.Error("data and a hole: not done")
	}
}

// What would have to wait is left alone: for tables, for a lock, for a pause.
func TestTryDoesNotWait(t *testing.T) {
	im, f := tryImage(t, CreateOptions{Size: 1 << 20})
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4096)
	tries := func() bool { return im.TryReadV([][]byte{p}, 0) || im.TryWriteV([][]byte{p}, 0) }

	im.mu.Lock()
	if tries() {
		t.Error("done while the mapping is being changed")
	}
	im.mu.Unlock()

	if err := im.epochs.pause(false); err != nil {
		t.Fatal(err)
	}
	if tries() {
		t.Error("done while the image is paused")
	}
	im.epochs.resume()

	im.mu.Lock()
	im.l2.reset()
	im.mu.Unlock()
	reads := f.reads
	if tries() || f.reads != reads {
		t.Errorf("done without the table, or by %d reads", f.reads-reads)
	}
	if err := im.ReadV([][]byte{p}, 0); err != nil {
		t.Fatal(err)
	}
	if !im.TryReadV([][]byte{p}, 0) {
		t.Error("not done with the table in the cache")
	}

	im.data = waitingFile{im.f}
	if tries() {
		t.Error("done by a file that can't say whether it would wait")
	}
}

func TestTryWritesInPlaceOnly(t *testing.T) {
	im, f := tryImage(t, CreateOptions{Size: 1 << 20})
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "before"}); err != nil {
		t.Fatal(err)
	}
	p := bytes.Repeat([]byte{0xaa}, 512)
	if im.TryWriteV([][]byte{p}, 0) {
		t.Error("a cluster that a snapshot shares was overwritten")
	}
	if err := im.WriteV([][]byte{p}, 0); err != nil {
		t.Fatal(err)
	}
	if im.TryWriteV([][]byte{p}, 3*im.g.clusterSize) {
		t.Error("a hole was written to")
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	syncs := f.syncs
	if !im.TryWriteV([][]byte{p}, 512) {
		t.Fatal("data was not overwritten")
	}
	if err := im.Flush(); err != nil || f.syncs == syncs {
		t.Errorf("the write was not made durable by a Flush: %d syncs, %v", f.syncs-syncs, err)
	}
}

func TestTryHasItsMarksInBitmaps(t *testing.T) {
	im, _ := tryImage(t, CreateOptions{Size: 1 << 20})
	if err := im.AddBitmap("backup", BitmapOptions{}); err != nil {
		t.Fatal(err)
	}
	if !im.TryWriteV([][]byte{make([]byte, 512)}, 0) {
		t.Fatal("not done")
	}
	if dirty, _, err := im.DirtyStatus("backup", 0, 1); err != nil || !dirty {
		t.Errorf("dirty is %v, %v", dirty, err)
	}
}

func TestTryLeavesEncryptedDataAlone(t *testing.T) {
	im, _ := tryImage(t, CreateOptions{Size: 1 << 20, Encryption: &Encryption{Method: EncryptionAES, Secret: []byte("x")}})
	p := make([]byte, 512)
	if im.TryReadV([][]byte{p}, 0) || im.TryWriteV([][]byte{p}, 0) {
		t.Error("done")
	}
}

// The backing file may be able to tell, or not.
func TestTryReadsTheBackingFile(t *testing.T) {
	base, _ := tryImage(t, CreateOptions{Size: 1 << 20})
	for name, b := range map[string]Backing{"an image": base, "one that would wait": memBacking(make([]byte, 1<<20))} {
		f := new(memFile)
		if err := Create(f, CreateOptions{Size: 2 << 20, BackingFile: "base", BackingFormat: "qcow2"}); err != nil {
			t.Fatal(err)
		}
		im, err := Open(f, Options{Backing: func(string, string) (Backing, error) { return b, nil }})
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 512)
		if done := im.TryReadV([][]byte{p}, 0); done != (b == Backing(base)) || done && p[0] != 0x55 {
			t.Errorf("%s: done is %v, and the data %#x", name, done, p[0])
		}
		if !im.TryReadV([][]byte{p}, 1<<20) || p[0] != 0 {
			t.Errorf("%s: not done beyond its end", name)
		}
	}
}

func TestOSFileTries(t *testing.T) {
	f, err := OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{1}).Read(data)
	if err := f.WriteV([][]byte{data}, 0); err != nil {
		t.Fatal(err)
	}
	a, b := make([]byte, 1000), make([]byte, 3096)
	if !f.TryReadV([][]byte{a, b}, 4096) {
		if f.readWaits.Load() {
			t.Skip("this file system has no reads that do not wait")
		}
		t.Error("what was just written is not in the page cache")
	}
	if !bytes.Equal(append(a, b...), data[4096:8192]) {
		t.Error("the data differs")
	}
	if f.TryReadV([][]byte{make([]byte, 4096)}, 62<<10) {
		t.Error("a read past the end of the file was done")
	}
	copy(data[512:], b[:512])
	f.TryWriteV([][]byte{b[:512]}, 512) // shows whether the file system can tell
	if done := f.tryNow([][]byte{b[:512]}, 512); done == (f.writeWaits.Load() && !f.brief.allowed.Load()) {
		t.Errorf("a write to the page cache: done is %v, on a file system that can't tell %v, and of a kind that need not %v",
			done, f.writeWaits.Load(), f.brief.allowed.Load())
	}
}

func TestTriesDoNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	im, _ := tryImage(t, CreateOptions{Size: 1 << 20})
	list := [][]byte{make([]byte, 4096)}
	for name, try := range map[string]func() bool{
		"read":  func() bool { return im.TryReadV(list, 0) },
		"write": func() bool { return im.TryWriteV(list, 0) },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if !try() {
				t.Fatal("not done")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
