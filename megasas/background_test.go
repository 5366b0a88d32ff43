package megasas

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// stepped is a disk that holds nothing but which MiB of it were zeroed (0) and
// which were not, or written since (1). Zeroing waits, piece by piece.
type stepped struct {
	null
	at   chan int64 // a piece is about to be zeroed
	let  chan error // what becomes of it
	free chan struct{}

	flushes atomic.Int64
	gate    func() // called at the start of each write, if not nil

	mu  sync.Mutex
	mib []byte // guarded by mu
}

func newStepped(mib int) *stepped {
	return &stepped{
		null: null{int64(mib) << 20}, mib: bytes.Repeat([]byte("1"), mib),
		at: make(chan int64), let: make(chan error), free: make(chan struct{}),
	}
}

func (d *stepped) WriteZeroes(off, n int64, _ bool) error {
	select {
	case d.at <- off:
		if err := <-d.let; err != nil {
			return err
		}
	case <-d.free:
	}
	d.mark(off, n, "0")
	return nil
}

func (d *stepped) WriteV(bufs [][]byte, off int64) error {
	if d.gate != nil {
		d.gate()
	}
	d.mark(off, 1<<20, "1")
	return nil
}

func (d *stepped) Flush() error {
	d.flushes.Add(1)
	return nil
}

func (d *stepped) mark(off, n int64, as string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.mib[off>>20:], strings.Repeat(as, int(n>>20)))
}

// step waits for a piece at off, and lets it end.
func (d *stepped) step(t *testing.T, off int64) {
	t.Helper()
	if got := <-d.at; got != off {
		t.Fatalf("zeroes at %#x, want %#x", got, off)
	}
	d.let <- nil
}

// letWhenAborted lets the piece end that is being zeroed, after the work was told
// to end.
func (d *stepped) letWhenAborted(w *raid.Work) {
	go func() {
		<-w.Aborted()
		d.let <- nil
	}()
}

// zeroes says of each MiB whether it is zeroed.
func (d *stepped) zeroes() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.mib)
}

// stepping is a controller with a free drive of 40 MiB, id 0, or a volume on it.
func stepping(t *testing.T, volume bool) (*guest, *stepped) {
	t.Helper()
	d := newStepped(40)
	g := running(t, Config{Drives: []DriveConfig{{Drive: drive(d, 0), System: !volume}}}, 64)
	g.c.progressPause = 0
	if !volume {
		if err := g.c.Drives().SetDriveState(0, raid.AnySequence, raid.UnconfiguredGood); err != nil {
			t.Fatal(err)
		}
	}
	return g, d
}

// driveRef is a drive in a mailbox, with its sequence number now.
func (g *guest) driveRef(id uint16) []byte {
	v := g.c.Drives().View()
	d, _ := v.Drive(id)
	return le16(id, d.Sequence)
}

// volumeRef is a volume in a mailbox.
func (g *guest) volumeRef(target uint8) []byte {
	v := g.c.Drives().View()
	l, _ := v.Volume(target)
	return append([]byte{target, 0}, le16(l.Sequence)...)
}

// codes are the codes of the events from a sequence number on.
func (g *guest) codes(first uint32) (list []mfi.EventCode) {
	g.c.events.each(first, mfi.Filter(mfi.ClassDebug, mfi.LocaleAll), func(e *mfi.Event) bool {
		list = append(list, e.Code)
		return true
	})
	return list
}

func (g *guest) wantStatus(what string, got, want mfi.Status) {
	g.t.Helper()
	if got != want {
		g.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestClearDrive zeroes a drive: what is asked about it agrees meanwhile, and it
// cannot be used for anything else.
func TestClearDrive(t *testing.T) {
	g, d := stepping(t, false)
	first := newest(g) + 1
	stale := g.driveRef(0)
	stale[2]++
	_, s := g.dcmd(mfi.OpPDClearStart, 0, stale...)
	g.wantStatus("PD_CLEAR_START with a stale number", s, mfi.StatusInvalidSequenceNumber)
	g.mustDCMD(mfi.OpPDClearStart, 0, g.driveRef(0)...)
	d.step(t, 0)
	if off := <-d.at; off != 16<<20 {
		t.Fatalf("zeroes at %#x", off)
	}
	progress, info := memory(g.mustDCMD(mfi.OpPDGetProgress, 32, 0, 0)), memory(g.mustDCMD(mfi.OpPDGetInfo, 512, 0, 0))
	if !bytes.Equal(progress[:14], info[0x104:0x112]) || progress.u32(0) != mfi.PDOpClear || progress.u16(12) != 0xffff*16/40 {
		t.Errorf("progress % x, in the information % x", progress[:16], info[0x104:0x114])
	}
	_, s = g.dcmd(mfi.OpPDClearStart, 0, g.driveRef(0)...)
	g.wantStatus("PD_CLEAR_START again", s, mfi.StatusPDClearInProgress)
	_, s = g.dcmd(mfi.OpPDStateSet, 0, append(g.driveRef(0), le16(uint16(mfi.PDSystem))...)...)
	g.wantStatus("PD_STATE_SET", s, mfi.StatusPDClearInProgress)
	if _, err := g.c.CreateVolume(raid.VolumeConfig{Drives: []uint16{0}}); err == nil {
		t.Error("a volume was made on a drive that is being cleared")
	}
	d.let <- nil
	d.step(t, 32<<20)
	g.await("the end", func() bool { return g.mustDCMD(mfi.OpPDGetProgress, 32, 0, 0)[0] == 0 })
	if got := d.zeroes(); got != fmt.Sprintf("%040d", 0) || d.flushes.Load() == 0 {
		t.Errorf("%s are zeroes, %d flushes", got, d.flushes.Load())
	}
	g.await("the events", func() bool { return len(g.codes(first)) == 5 })
	if got, want := fmt.Sprint(g.codes(first)), "[86 85 85 85 84]"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}
	g.mustDCMD(mfi.OpPDStateSet, 0, append(g.driveRef(0), le16(uint16(mfi.PDSystem))...)...)
	_, s = g.dcmd(mfi.OpPDClearStart, 0, g.driveRef(0)...)
	g.wantStatus("PD_CLEAR_START of a system drive", s, mfi.StatusWrongState)
	_, s = g.dcmd(mfi.OpPDClearStart, 0, 9, 0)
	g.wantStatus("PD_CLEAR_START of no drive", s, mfi.StatusDeviceNotFound)
}

// TestClearDriveEnds ends the clearing of a drive in every way but the good one:
// when it has ended, the drive is not written.
func TestClearDriveEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(g *guest, d *stepped)
		code mfi.EventCode
	}{
		"abort": {func(g *guest, d *stepped) {
			d.letWhenAborted(g.c.Drives().Drive(0).Work())
			g.mustDCMD(mfi.OpPDClearAbort, 0, g.driveRef(0)...)
			_, s := g.dcmd(mfi.OpPDClearAbort, 0, g.driveRef(0)...)
			g.wantStatus("PD_CLEAR_ABORT of nothing", s, mfi.StatusWrongState)
		}, mfi.EventPDClearAborted},
		"failure": {func(_ *guest, d *stepped) { d.let <- errBroken }, mfi.EventPDClearFailed},
		"removal": {func(g *guest, d *stepped) {
			drive := g.c.Drives().Drive(0)
			go func() { // when no other piece can begin
				for drive.Flush() == nil {
					time.Sleep(time.Millisecond)
				}
				d.let <- nil
			}()
			if err := g.c.RemoveDrive(0); err != nil {
				t.Error(err)
			}
		}, mfi.EventPDClearFailed},
		"close": {func(g *guest, d *stepped) {
			go func() {
				<-g.c.done
				d.let <- nil
			}()
			ctx, cancel := context.WithTimeout(context.Background(), testLimit)
			defer cancel()
			if err := g.c.Close(ctx); err != nil {
				t.Error(err)
			}
		}, mfi.EventPDClearAborted},
	} {
		t.Run(name, func(t *testing.T) {
			g, d := stepping(t, false)
			g.mustDCMD(mfi.OpPDClearStart, 0, g.driveRef(0)...)
			<-d.at
			tt.end(g, d)
			g.await("the event", func() bool { return slices.Contains(g.codes(0), tt.code) })
			if got := d.zeroes(); got[16:] != strings.Repeat("1", 24) {
				t.Errorf("%s: it went on", got)
			}
		})
	}
}

// TestInitVolume initializes a volume wholly: nobody can use it meanwhile, and it
// says how far it is.
func TestInitVolume(t *testing.T) {
	g, d := stepping(t, true)
	first := newest(g) + 1
	read := func() mfi.Status {
		x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
		_, s := g.poll(x)
		return s
	}
	g.wantStatus("a read before", read(), mfi.StatusOK)
	ref := append(g.volumeRef(0), 1)
	stale := bytes.Clone(ref)
	stale[2]++
	_, s := g.dcmd(mfi.OpLDInitStart, 0, stale...)
	g.wantStatus("LD_INIT_START with a stale number", s, mfi.StatusInvalidSequenceNumber)
	_, s = g.dcmd(mfi.OpLDInitStart, 0, append(g.volumeRef(0), 7)...)
	g.wantStatus("LD_INIT_START in no known mode", s, mfi.StatusInvalidParameter)
	_, s = g.dcmd(mfi.OpLDInitStart, 0, 5)
	g.wantStatus("LD_INIT_START of no volume", s, mfi.StatusDeviceNotFound)
	g.mustDCMD(mfi.OpLDInitStart, 0, ref...)
	d.step(t, 0)
	if off := <-d.at; off != 16<<20 {
		t.Fatalf("zeroes at %#x", off)
	}
	info := memory(g.mustDCMD(mfi.OpLDGetInfo, 384, 0))
	if info.u32(0x108) != mfi.LDOpForegroundInit || info.u16(0x114) != 0xffff*16/40 || info[0x27] != 0 || info[0x26] != byte(mfi.LDOptimal) {
		t.Errorf("information: operations %#x, progress %#x, initialized %d", info.u32(0x108), info.u16(0x114), info[0x27])
	}
	g.wantStatus("a read meanwhile", read(), mfi.StatusLDInitInProgress)
	_, s = g.dcmd(mfi.OpLDInitStart, 0, ref...)
	g.wantStatus("LD_INIT_START again", s, mfi.StatusLDInitInProgress)
	_, s = g.dcmd(mfi.OpLDDelete, 0, g.volumeRef(0)...)
	g.wantStatus("LD_DELETE", s, mfi.StatusLDInitInProgress)
	_, s = g.dcmd(mfi.OpCfgClear, 0)
	g.wantStatus("CFG_CLEAR", s, mfi.StatusLDInitInProgress)
	d.let <- nil
	d.step(t, 32<<20)
	g.await("the end", func() bool { return memory(g.mustDCMD(mfi.OpLDGetInfo, 384, 0)).u32(0x108) == 0 })
	g.wantStatus("a read after", read(), mfi.StatusOK)
	info = memory(g.mustDCMD(mfi.OpLDGetInfo, 384, 0))
	if cfg := g.mustDCMD(mfi.OpCfgRead, 4096); info[0x27] != 2 || !bytes.Equal(cfg[32+288:][:256], info[:256]) {
		t.Errorf("it is initialized %d, or the configuration says otherwise", info[0x27])
	}
	if got := d.zeroes(); got != fmt.Sprintf("%040d", 0) || d.flushes.Load() == 0 {
		t.Errorf("%s are zeroes, %d flushes", got, d.flushes.Load())
	}
	g.await("the events", func() bool { return len(g.codes(first)) == 5 })
	if got, want := fmt.Sprint(g.codes(first)), "[71 69 69 69 72]"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}
}

// TestFastInit zeroes the ends of a volume only.
func TestFastInit(t *testing.T) {
	g, d := stepping(t, true)
	close(d.free)
	g.mustDCMD(mfi.OpLDInitStart, 0, append(g.volumeRef(0), 0)...)
	g.await("the end", func() bool {
		info := memory(g.mustDCMD(mfi.OpLDGetInfo, 384, 0))
		return info.u32(0x108) == 0 && info[0x27] == 1
	})
	if got, want := d.zeroes(), "0000000011111111111111111111111100000000"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestInitVolumeEnds deletes a volume that is being initialized, from the host's
// side, and takes its drive out of service.
func TestInitVolumeEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(g *guest, d *stepped)
		code mfi.EventCode
	}{
		"deletion": {func(g *guest, d *stepped) {
			d.letWhenAborted(g.c.Drives().Volume(0).Work())
			if err := g.c.DeleteVolume(0); err != nil {
				t.Error(err)
			}
		}, mfi.EventLDInitAborted},
		"drive offline": {func(g *guest, d *stepped) {
			if err := g.c.Drives().SetDriveState(0, raid.AnySequence, raid.Offline); err != nil {
				t.Error(err)
			}
			d.let <- nil
		}, mfi.EventLDInitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			g, d := stepping(t, true)
			g.mustDCMD(mfi.OpLDInitStart, 0, append(g.volumeRef(0), 1)...)
			<-d.at
			tt.end(g, d)
			g.await("the event", func() bool { return slices.Contains(g.codes(0), tt.code) })
		})
	}
}

// TestInitWaitsForIO begins an initialization while a write is under way: the
// write ends first, so that nothing but zeroes is there in the end.
func TestInitWaitsForIO(t *testing.T) {
	g, d := stepping(t, true)
	entered, let := make(chan struct{}), make(chan struct{})
	d.gate = func() {
		entered <- struct{}{}
		<-let
	}
	x, _ := g.blocks(mfi.CmdLDWrite, 0, 512)
	g.submit(x)
	<-entered
	go func() { // when the initialization is waiting for the write
		for v := g.c.Drives().Volume(0); v.Work() == nil; {
			time.Sleep(time.Millisecond)
		}
		close(let)
	}()
	close(d.free)
	g.mustDCMD(mfi.OpLDInitStart, 0, append(g.volumeRef(0), 1)...)
	g.await("the end", func() bool { return memory(g.mustDCMD(mfi.OpLDGetInfo, 384, 0)).u32(0x108) == 0 })
	if got := d.zeroes(); got != fmt.Sprintf("%040d", 0) {
		t.Errorf("%s are zeroes", got)
	}
}

// TestPauseHoldsBackgroundWork pauses the controller while a drive is cleared:
// nothing is written until it goes on.
func TestPauseHoldsBackgroundWork(t *testing.T) {
	g, d := stepping(t, false)
	g.mustDCMD(mfi.OpPDClearStart, 0, g.driveRef(0)...)
	if off := <-d.at; off != 0 {
		t.Fatal(off)
	}
	paused := make(chan error, 1)
	go func() { paused <- g.c.Pause(context.Background()) }()
	d.let <- nil
	for waiting := true; waiting; {
		select {
		case err := <-paused:
			if waiting = false; err != nil {
				t.Fatal(err)
			}
		case <-d.at: // it was faster than the pause
			d.let <- nil
		}
	}
	select {
	case off := <-d.at:
		t.Errorf("zeroes at %#x while the controller is paused", off)
		d.let <- nil
	case <-time.After(10 * lifePause):
	}
	g.c.Resume()
	close(d.free)
	g.await("the end", func() bool { return d.zeroes() == fmt.Sprintf("%040d", 0) })
}

// TestClearOddDrive clears a drive whose size is no multiple of a block: media are
// given whole blocks only.
func TestClearOddDrive(t *testing.T) {
	d := newStepped(1)
	d.size += 100
	close(d.free)
	g := running(t, Config{Drives: []DriveConfig{{Drive: drive(odd{d, t}, 0), System: true}}}, 64)
	if err := g.c.Drives().SetDriveState(0, raid.AnySequence, raid.UnconfiguredGood); err != nil {
		t.Fatal(err)
	}
	g.mustDCMD(mfi.OpPDClearStart, 0, g.driveRef(0)...)
	g.await("the event", func() bool { return slices.Contains(g.codes(0), mfi.EventPDClearComplete) })
	if got := d.zeroes(); got != "0" {
		t.Errorf("%s are zeroes", got)
	}
}

// odd is a disk that wants whole blocks.
type odd struct {
	*stepped
	t *testing.T
}

func (d odd) WriteZeroes(off, n int64, unmap bool) error {
	if off%raid.BlockSize != 0 || n%raid.BlockSize != 0 {
		d.t.Errorf("zeroes of %d bytes at %d", n, off)
	}
	return d.stepped.WriteZeroes(off, n, unmap)
}
