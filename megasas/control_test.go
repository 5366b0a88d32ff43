package megasas

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// growing is a disk whose size can change while it is in use.
type growing struct {
	*disk
	mu   sync.Mutex
	size int64
}

func (d *growing) Size() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size
}

func (d *growing) resize(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size = n
}

// A drive that has grown makes the volume on it grow, and its next command says so.
func TestGrowDrive(t *testing.T) {
	d := &growing{disk: newDisk(2 << 20), size: 1 << 20}
	g := newGuest(t, Config{Drives: []DriveConfig{{Drive: raid.NewDrive(d, raid.DriveIdentity{Enclosure: raid.NoEnclosure})}}})
	if on := g.c.VolumesOn(0); !slices.Equal(on, []uint8{0}) {
		t.Fatalf("volumes on the drive: %v", on)
	}
	g.initialize(16)
	readCapacity := func() (blocks uint64, asc uint16) {
		data, _, _, sense := g.scsi(mfi.CmdLDSCSIIO, 0, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		if len(sense) > 13 {
			asc = binary.BigEndian.Uint16(sense[12:])
		}
		return uint64(binary.BigEndian.Uint32(data)) + 1, asc
	}
	for range 3 { // attentions of the power-on
		readCapacity()
	}
	d.resize(2 << 20)
	if n, _ := readCapacity(); n != 2048 {
		t.Errorf("%d blocks before anybody was told", n)
	}
	if err := g.c.GrowDrive(0); err != nil {
		t.Fatal(err)
	}
	if _, asc := readCapacity(); asc != uint16(scsi.ASCCapacityDataHasChanged) {
		t.Errorf("additional sense %#x", asc)
	}
	if n, _ := readCapacity(); n != 4096 {
		t.Errorf("%d blocks", n)
	}
	d.resize(1 << 20)
	if err := g.c.GrowDrive(0); !errors.Is(err, raid.ErrSize) {
		t.Errorf("a drive that shrinks: %v", err)
	}
	if err := g.c.GrowDrive(9); !errors.Is(err, raid.ErrNotFound) {
		t.Errorf("a drive that is not there: %v", err)
	}
}

// told collects what a Listener is told.
type told struct {
	mu     sync.Mutex
	events []mfi.EventCode
	failed []error
}

func (l *told) Logged(e mfi.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e.Code)
}

func (l *told) IOFailed(x IOFailure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, x.Cause)
}

func TestListener(t *testing.T) {
	l := &told{}
	d := newDisk(1 << 20)
	g := newGuest(t, Config{Listener: l, Drives: []DriveConfig{{Drive: raid.NewDrive(d, raid.DriveIdentity{Enclosure: raid.NoEnclosure})}}})
	if err := g.c.RemoveDrive(0); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, code := range []mfi.EventCode{mfi.EventFWInitStarted, mfi.EventPDInserted, mfi.EventLDCreated, mfi.EventPDRemoved} {
		if !slices.Contains(l.events, code) {
			t.Errorf("event %#x was not told; events %x", code, l.events)
		}
	}
}

// While the controller is paused frames wait; the pause ends with Resume or Close.
func TestPause(t *testing.T) {
	g := newGuest(t, Config{})
	for range 2 {
		if err := g.c.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		frame, _ := g.submit(mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: mfi.OpCtrlCacheFlush, Flags: mfi.FlagDontPost})
		time.Sleep(10 * time.Millisecond)
		if s := g.status(frame); s != mfi.StatusPending {
			t.Errorf("a frame was carried out while the controller was paused: %v", s)
		}
		g.c.Resume()
		g.await("the frame", func() bool { return g.status(frame) != mfi.StatusPending })
	}
	g.c.life.RLock() // a frame is being carried out
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := g.c.Pause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("pause: %v", err)
	}
	g.c.life.RUnlock()
	if err := g.c.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.c.AwaitReset(t.Context()); err != nil {
		t.Error(err)
	}
	// Close, which ends the test, must not wait for Resume.
}
