package block

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/govmm/govmm/qcow2"
	"golang.org/x/sys/unix"
)

// slow is a device whose requests take their time, or fail.
type slow struct {
	null
	wait time.Duration
	err  error
}

func (d *slow) do() error {
	time.Sleep(d.wait)
	return d.err
}

func (d *slow) ReadV([][]byte, int64) error            { return d.do() }
func (d *slow) WriteV([][]byte, int64) error           { return d.do() }
func (d *slow) WriteZeroes(int64, int64, bool) error   { return d.do() }
func (d *slow) Discard(int64, int64) error             { return d.do() }
func (d *slow) Flush() error                           { return d.do() }
func (d *slow) TryReadV(bufs [][]byte, off int64) bool { return false }

// Every kind of request is counted, with its bytes, its time and its failure.
func TestAccountCounts(t *testing.T) {
	const wait = 2 * time.Millisecond
	s := &slow{null: *newNull(1<<20, false), wait: wait}
	d, a := Accounted(s)
	if got := a.Totals(); got != (AccountTotals{Idle: -1}) {
		t.Errorf("before any request: %+v", got)
	}
	bufs := [][]byte{make([]byte, 512), make([]byte, 1024)}
	all := func() error {
		return errors.Join(d.ReadV(bufs, 0), d.WriteV(bufs, 4096), d.WriteZeroes(8192, 512, true), d.Discard(65536, 4096), d.Flush())
	}
	if err := all(); err != nil {
		t.Fatal(err)
	}
	s.err = unix.EIO
	if err := all(); !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	if d.(qcow2.Trier).TryReadV(bufs, 0) {
		t.Error("a read that had to wait was tried with success")
	}
	got := a.Totals()
	for name, x := range map[string]struct{ got, want WorkTotals }{
		"reads":    {got.Reads, WorkTotals{Done: 1, Bytes: 1536, Failed: 1, Time: 2 * wait}},
		"writes":   {got.Writes, WorkTotals{Done: 2, Bytes: 2048, Failed: 2, Time: 4 * wait}},
		"flushes":  {got.Flushes, WorkTotals{Done: 1, Failed: 1, Time: 2 * wait}},
		"discards": {got.Discards, WorkTotals{Done: 1, Bytes: 4096, Failed: 1, Time: 2 * wait}},
	} {
		if x.got.Time < x.want.Time {
			t.Errorf("%s took %v, want %v at least", name, x.got.Time, x.want.Time)
		}
		if x.want.Time = x.got.Time; x.got != x.want {
			t.Errorf("%s: %+v, want %+v", name, x.got, x.want)
		}
	}
	if got.HighestWrite != 8192+512 || got.Idle < 0 {
		t.Errorf("highest write %d, idle for %v", got.HighestWrite, got.Idle)
	}
}

// Transfers that wait for nothing are all counted, by any number of goroutines, and
// the time is that of about as many as there were.
func TestAccountOfQuickTransfers(t *testing.T) {
	d, a := Accounted(newNull(1<<20, false))
	tries := d.(qcow2.Trier)
	const users, each = 4, 10_000
	start := time.Now()
	var wg sync.WaitGroup
	for range users {
		wg.Go(func() {
			bufs := [][]byte{make([]byte, 4096)}
			for range each {
				if !tries.TryReadV(bufs, 0) || !tries.TryWriteV(bufs, 4096) {
					t.Error("not done")
				}
			}
		})
	}
	wg.Wait()
	spent := time.Since(start)
	got := a.Totals()
	for name, w := range map[string]WorkTotals{"reads": got.Reads, "writes": got.Writes} {
		if w.Done != users*each || w.Bytes != users*each*4096 || w.Failed != 0 {
			t.Errorf("%s: %+v", name, w)
		}
		// Any one that was timed may have been interrupted, and stands for others.
		if w.Time <= 0 || w.Time > quickSample*users*spent {
			t.Errorf("%s took %v of %v", name, w.Time, spent)
		}
	}
	if got.HighestWrite != 8192 {
		t.Errorf("highest write %d", got.HighestWrite)
	}
}

// smallImage is an open qcow2 image.
func smallImage(t testing.TB) Device {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := qcow2.OpenFile(path, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(qcow2.Create(f, qcow2.CreateOptions{Size: 1 << 20}), f.Close()); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Spec{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// An accounted device can do what the device can, and no more.
func TestAccountedIsWhatTheDeviceIs(t *testing.T) {
	im := smallImage(t)
	for name, x := range map[string]struct {
		d           Device
		maps, tries bool
	}{
		"qcow2":  {im, true, true},
		"null":   {newNull(0, true), true, true},
		"LUKS":   {&encrypted{}, false, false},
		"mapper": {struct{ mapping }{newNull(0, true)}, true, false},
		"trier":  {struct{ trying }{newNull(0, true)}, false, true},
	} {
		d, _ := Accounted(x.d)
		_, maps := d.(Mapper)
		_, tries := d.(qcow2.Trier)
		if maps != x.maps || tries != x.tries {
			t.Errorf("%s: maps %v, tries %v", name, maps, tries)
		}
	}
}

type mapping interface {
	Device
	Mapper
}

type trying interface {
	Device
	qcow2.Trier
}

func TestAccountingDoesNotAllocate(t *testing.T) {
	d, _ := Accounted(newNull(1<<20, false))
	tries := d.(qcow2.Trier)
	bufs := [][]byte{make([]byte, 4096)}
	if n := testing.AllocsPerRun(100, func() {
		_ = tries.TryReadV(bufs, 0) && tries.TryWriteV(bufs, 0)
		_ = errors.Join(d.ReadV(bufs, 0), d.WriteV(bufs, 0), d.WriteZeroes(0, 512, true), d.Discard(0, 512), d.Flush())
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkAccount is what an account costs: transfers of a device that does nothing,
// without and with it.
func BenchmarkAccount(b *testing.B) {
	d := newNull(1<<20, false)
	with, _ := Accounted(d)
	bufs := [][]byte{make([]byte, 16)}
	for _, x := range []struct {
		name string
		d    Device
	}{{"without", d}, {"with", with}} {
		b.Run("quick/"+x.name, func(b *testing.B) {
			tries := x.d.(qcow2.Trier)
			for range b.N {
				_ = tries.TryReadV(bufs, 0)
			}
		})
		b.Run("any/"+x.name, func(b *testing.B) {
			for range b.N {
				_ = x.d.ReadV(bufs, 0)
			}
		})
	}
}
