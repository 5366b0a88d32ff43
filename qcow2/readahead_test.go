package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// watchedCodec tells of each cluster of a numbered image that is decompressed, before the
// data is there.
type watchedCodec struct {
	codec
	told func(cluster int64)
}

func (c *watchedCodec) decode(dst, src []byte, spare bool) error {
	err := c.codec.decode(dst, src, spare)
	if err == nil {
		data := slices.Clone(dst)
		clear(dst)
		c.told(int64(binary.BigEndian.Uint64(data)))
		copy(dst, data)
	}
	return err
}

// numbered fills a cluster with its number and a version.
func numbered(p []byte, cluster, version int64) []byte {
	for i := 0; i < len(p); i += 16 {
		binary.BigEndian.PutUint64(p[i:], uint64(cluster))
		binary.BigEndian.PutUint64(p[i+8:], uint64(version))
	}
	return p
}

const (
	numberedCluster = 4 * kib
	numberedCount   = 64
)

// newNumbered returns an image of compressed clusters that hold their numbers, with room for
// one goroutine that reads ahead, however many processors there are. The function is told
// of each cluster that is decompressed.
func newNumbered(t testing.TB, c Compression, told func(cluster int64)) (*memFile, *Image) {
	t.Helper()
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: numberedCount * numberedCluster, ClusterSize: numberedCluster, Compression: c}); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	im.helpers = make(chan struct{}, 1)
	p := make([]byte, numberedCluster)
	for i := range int64(numberedCount) {
		if err := im.WriteCompressed(numbered(p, i, 0), i*numberedCluster); err != nil {
			t.Fatal(err)
		}
	}
	if told != nil {
		im.codec = &watchedCodec{im.codec, told}
	}
	return f, im
}

// readNumbered reads a cluster and says whether it is what was written first.
func readNumbered(im *Image, cluster int64) error {
	p := make([]byte, numberedCluster)
	if err := im.ReadV([][]byte{p}, cluster*numberedCluster); err != nil {
		return err
	}
	for i := 0; i < len(p); i += 16 {
		if got := int64(binary.BigEndian.Uint64(p[i:])); got != cluster {
			return fmt.Errorf("cluster %d holds the data of cluster %d", cluster, got)
		}
	}
	return nil
}

// decodedNumbers is how often each cluster was decompressed.
type decodedNumbers [numberedCount]atomic.Int32

func (d *decodedNumbers) count(cluster int64) { d[cluster].Add(1) }

func (d *decodedNumbers) total() (n int) {
	for i := range d {
		n += int(d[i].Load())
	}
	return n
}

// TestReadAhead reads in order, one cluster or a part of one at a time: after some, the next
// ones are decompressed before they are read, so many and no more, and each once.
func TestReadAhead(t *testing.T) {
	for _, c := range []Compression{CompressionZlib, CompressionZstd} {
		for _, part := range []int64{numberedCluster, numberedCluster / 4} {
			t.Run(fmt.Sprintf("%v/%d", c, part), func(t *testing.T) {
				var seen decodedNumbers
				_, im := newNumbered(t, c, seen.count)
				p := make([]byte, part)
				for off := int64(0); off < numberedCount*numberedCluster; off += part {
					if err := im.ReadV([][]byte{p}, off); err != nil {
						t.Fatal(err)
					}
					at := off / numberedCluster
					if got := int64(binary.BigEndian.Uint64(p)); got != at {
						t.Fatalf("offset %d holds the data of cluster %d", off, got)
					}
					im.ahead.wg.Wait()
					last := at // that may have been decompressed
					if off/part+1 >= aheadAfter {
						last = min(at+aheadClusters, numberedCount-1)
					}
					for i := range int64(numberedCount) {
						if n, want := seen[i].Load(), int32(min(max(last-i+1, 0), 1)); n != want {
							t.Fatalf("offset %d was read: cluster %d was decompressed %d times, want %d", off, i, n, want)
						}
					}
				}
				if err := im.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestNoReadAhead reads in ways that say nothing about what comes next.
func TestNoReadAhead(t *testing.T) {
	for name, at := range map[string]func(i int64) int64{
		"random":    func(i int64) int64 { return i * 37 % numberedCount },
		"backwards": func(i int64) int64 { return numberedCount - 1 - i },
		"strided":   func(i int64) int64 { return i * 2 },
		"again":     func(int64) int64 { return 5 },
		"in pairs":  func(i int64) int64 { return i/2*4%numberedCount + i%2 },
	} {
		t.Run(name, func(t *testing.T) {
			var seen decodedNumbers
			_, im := newNumbered(t, CompressionZstd, seen.count)
			for i := range int64(numberedCount / 2) {
				if err := readNumbered(im, at(i)); err != nil {
					t.Fatal(err)
				}
			}
			im.ahead.wg.Wait()
			if n := seen.total(); n != numberedCount/2 {
				t.Errorf("%d clusters were decompressed for %d reads", n, numberedCount/2)
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestNoReadAheadInCompany reads in order while another request is in progress, which has
// the other processor.
func TestNoReadAheadInCompany(t *testing.T) {
	var seen decodedNumbers
	entered, leave := make(chan bool), make(chan bool)
	_, im := newNumbered(t, CompressionZstd, func(cluster int64) {
		seen.count(cluster)
		if cluster == numberedCount-1 {
			entered <- true
			<-leave
		}
	})
	other := make(chan error)
	go func() { other <- readNumbered(im, numberedCount-1) }()
	<-entered
	for i := range int64(30) {
		if err := readNumbered(im, i); err != nil {
			t.Fatal(err)
		}
	}
	im.ahead.wg.Wait()
	if n := seen.total(); n != 31 {
		t.Errorf("%d clusters were decompressed for 31 reads", n)
	}
	close(leave)
	if err := errors.Join(<-other, im.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestNoReadAheadWithEvents counts the events of reads in order.
func TestNoReadAheadWithEvents(t *testing.T) {
	_, im := newNumbered(t, CompressionZstd, nil)
	events := 0
	im.event = func(e Event) {
		if e == EventReadCompressed {
			events++ // by this goroutine, or the race detector says so
		}
	}
	for i := range int64(30) {
		if err := readNumbered(im, i); err != nil {
			t.Fatal(err)
		}
	}
	im.ahead.wg.Wait()
	if events != 30 {
		t.Errorf("%d events for 30 reads", events)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReadAheadStops reads up to what is no compressed cluster, and to one that can't be
// decompressed: that is an error of who reads it, and of nobody before.
func TestReadAheadStops(t *testing.T) {
	const plain, bad = 20, 40
	var seen decodedNumbers
	f, im := newNumbered(t, CompressionZstd, seen.count)
	if err := im.WriteV([][]byte{numbered(make([]byte, numberedCluster), plain, 0)}, plain*numberedCluster); err != nil {
		t.Fatal(err)
	}
	im.mu.RLock()
	m, _, err := im.lookup(bad*numberedCluster, 1)
	im.mu.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	at, _, err := im.g.compressed(m.entry)
	if err != nil {
		t.Fatal(err)
	}
	clear(f.data[at : at+4]) // where the frame's magic is
	before := f.reads
	for i := range int64(numberedCount) {
		err := readNumbered(im, i)
		if (i == bad) != errors.Is(err, ErrInvalid) || i != bad && err != nil {
			t.Errorf("cluster %d: %v", i, err)
		}
		im.ahead.wg.Wait()
	}
	if n := seen.total(); n != numberedCount-2 {
		t.Errorf("%d clusters were decompressed, want %d", n, numberedCount-2)
	}
	if n := f.reads - before; n != numberedCount+1 {
		t.Errorf("the file was read %d times, want once for each cluster, and twice for that with the error", n)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReadAheadIsWaitedFor reads a cluster that is being decompressed: not once more.
func TestReadAheadIsWaitedFor(t *testing.T) {
	const held = aheadAfter + aheadClusters
	var seen decodedNumbers
	entered, leave := make(chan bool), make(chan bool)
	_, im := newNumbered(t, CompressionZstd, func(cluster int64) {
		seen.count(cluster)
		if cluster == held {
			close(entered)
			<-leave
		}
	})
	for i := range int64(held - 1) {
		if err := readNumbered(im, i); err != nil {
			t.Fatal(err)
		}
		if i == held-aheadClusters {
			<-entered
		}
	}
	read := make(chan error)
	go func() {
		if err := readNumbered(im, held-1); err != nil {
			read <- err
		}
		read <- readNumbered(im, held)
	}()
	for seen[held+1].Load() == 0 { // decompressed by who would wait otherwise
		runtime.Gosched()
	}
	close(leave)
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	im.ahead.wg.Wait()
	if n := seen[held].Load(); n != 1 {
		t.Errorf("it was decompressed %d times", n)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCloseDuringReadAhead closes an image while a cluster is being decompressed that nobody
// has asked for.
func TestCloseDuringReadAhead(t *testing.T) {
	var over atomic.Bool
	entered, leave := make(chan bool), make(chan bool)
	_, im := newNumbered(t, CompressionZstd, func(cluster int64) {
		if cluster == aheadAfter { // the first that is not read
			close(entered)
			<-leave
			over.Store(true)
		}
	})
	for i := range int64(aheadAfter) {
		if err := readNumbered(im, i); err != nil {
			t.Fatal(err)
		}
	}
	<-entered
	closed := make(chan error)
	go func() {
		err := im.Close()
		if !over.Load() {
			err = errors.Join(err, errors.New("the image is closed, and still read"))
		}
		closed <- err
	}()
	for !im.epochs.isClosed() {
		runtime.Gosched()
	}
	close(leave)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if im.ahead.running || len(im.helpers) != 0 {
		t.Error("the goroutine has not ended")
	}
}

// TestReadAheadHoldsItsClusters frees clusters while one of them is being decompressed that
// nobody has asked for: they are not used again before that has ended.
func TestReadAheadHoldsItsClusters(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	_, im := newNumbered(t, CompressionZstd, func(cluster int64) {
		if cluster == aheadAfter { // the first that is not read
			close(entered)
			<-leave
		}
	})
	for i := range int64(aheadAfter) {
		if err := readNumbered(im, i); err != nil {
			t.Fatal(err)
		}
	}
	<-entered
	freed := func() bool {
		for range 4 {
			if err := errors.Join(im.commitAll(), im.reclaim()); err != nil {
				t.Fatal(err)
			}
		}
		im.mu.Lock()
		defer im.mu.Unlock()
		return len(im.changes.released)+len(im.changes.retired) == 0
	}
	if err := im.Discard(0, numberedCount*numberedCluster); err != nil {
		t.Fatal(err)
	}
	if freed() {
		t.Error("the clusters are free while one of them is read")
	}
	close(leave)
	im.ahead.wg.Wait()
	if !freed() {
		t.Error("the clusters are not free when nobody reads them any more")
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReadAheadAmongChanges reads in order, again and again, while the clusters are replaced,
// discarded and freed: what was decompressed ahead must not be older than what was there
// when the read began, nor of other clusters.
func TestReadAheadAmongChanges(t *testing.T) {
	for _, part := range []int64{numberedCluster, numberedCluster / 4} {
		_, im := newNumbered(t, CompressionZstd, nil)
		var done [numberedCount]atomic.Int64 // the version that was written last
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			defer stop.Store(true)
			rng := rand.New(rand.NewPCG(5, uint64(part)))
			if err := changeNumbered(im, &done, rng, scale(200, 3000)); err != nil {
				t.Error(err)
			}
		})
		p := make([]byte, part)
		for off, before := int64(0), false; !before || off > 0; off = (off + part) % (numberedCount * numberedCluster) {
			if off == 0 {
				before = stop.Load() // once more after the last change
			}
			cluster := off / numberedCluster
			least := done[cluster].Load()
			if err := im.ReadV([][]byte{p}, off); err != nil {
				t.Fatal(err)
			}
			number, version := int64(binary.BigEndian.Uint64(p)), int64(binary.BigEndian.Uint64(p[8:]))
			if number != 0 || version != 0 { // or it was discarded
				if number != cluster || version < least {
					t.Fatalf("offset %d: cluster %d, version %d; want cluster %d, version %d at least", off, number, version, cluster, least)
				}
			} else if least%4 < discarded-1 && cluster != 0 && done[cluster].Load() == least {
				t.Fatalf("offset %d: zeroes; want version %d", off, least)
			}
			for i := 16; i < len(p); i++ {
				if p[i] != p[i-16] {
					t.Fatalf("offset %d: parts of different versions", off)
				}
			}
		}
		wg.Wait()
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// discarded is the rest by 4 of versions that are none: the cluster is discarded.
const discarded = 3

// changeNumbered changes clusters of a numbered image. A version is one more at each change.
func changeNumbered(im *Image, done *[numberedCount]atomic.Int64, rng *rand.Rand, steps int) error {
	p := make([]byte, numberedCluster)
	for step := range steps {
		i := rng.Int64N(numberedCount)
		version, off := done[i].Load()+1, i*numberedCluster
		var err error
		switch version % 4 {
		case 0, 2:
			err = im.WriteCompressed(numbered(p, i, version), off)
		case 1:
			err = im.WriteV([][]byte{numbered(p, i, version)}, off)
		case discarded:
			err = im.Discard(off, numberedCluster)
		}
		if err != nil {
			return err
		}
		done[i].Store(version)
		switch step % 64 {
		case 1:
			_, err = im.CreateSnapshot(SnapshotOptions{Name: "s"})
		case 33:
			err = im.DeleteSnapshot("s")
		case 5, 10, 15, 20, 35, 40, 45, 50, 55, 60:
			err = im.Flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestReadAheadAllocatesNothing reads in order, in the steady state.
func TestReadAheadAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	for _, c := range []Compression{CompressionZlib, CompressionZstd} {
		_, im := newNumbered(t, c, nil)
		p := [][]byte{make([]byte, numberedCluster)}
		at := int64(0)
		read := func() {
			if err := im.ReadV(p, at%numberedCount*numberedCluster); err != nil {
				t.Fatal(err)
			}
			at++
		}
		for range numberedCount {
			read()
		}
		if n := testing.AllocsPerRun(5*numberedCount, read); n != 0 {
			t.Errorf("%v: %v allocations", c, n)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
