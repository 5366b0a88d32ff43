package megasas

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// faulty is a disk that fails with an error of choice.
type faulty struct {
	*disk
	mu  sync.Mutex
	err error
}

func (d *faulty) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *faulty) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *faulty) ReadV(bufs [][]byte, off int64) error {
	if err := d.failure(); err != nil {
		return err
	}
	return d.disk.ReadV(bufs, off)
}

func (d *faulty) WriteV(bufs [][]byte, off int64) error {
	if err := d.failure(); err != nil {
		return err
	}
	return d.disk.WriteV(bufs, off)
}

func (d *faulty) TryReadV([][]byte, int64) bool  { return false }
func (d *faulty) TryWriteV([][]byte, int64) bool { return false }

func (d *faulty) Flush() error {
	if err := d.failure(); err != nil {
		return err
	}
	return d.disk.Flush()
}

// failures collects what a Listener is told of failures.
type failures struct {
	mu   sync.Mutex
	list []IOFailure
}

func (l *failures) Logged(mfi.Event) {}

func (l *failures) IOFailed(x IOFailure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, x)
}

func (l *failures) actions() (list []ErrorAction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.list {
		list = append(list, x.Action)
	}
	return list
}

// faultyGuest is a guest with a volume whose drive fails.
func faultyGuest(t *testing.T, p ErrorPolicy) (*guest, *faulty, *failures) {
	d, l := &faulty{disk: newDisk(1 << 20)}, &failures{}
	g := newGuest(t, Config{Listener: l, Drives: []DriveConfig{{Drive: drive(d, 0), OnError: p}}})
	g.initialize(64)
	return g, d, l
}

// block is a frame that moves a block.
func (g *guest) block(cmd mfi.Cmd, lba uint64, fill byte) (x mfi.Fields, buffer uint64) {
	buffer = g.alloc(512)
	copy(g.mem[buffer:], bytes.Repeat([]byte{fill}, 512))
	return mfi.Fields{
		Cmd: cmd, DataLen: 1, LBA: lba, SenseLen: 96, SenseAddr: g.alloc(128), Flags: mfi.FlagIEEE | mfi.FlagSGL64,
		SGL: []mfi.SGE{{Addr: buffer, Len: 512}},
	}, buffer
}

// stopped waits until so many frames have failed and wait.
func (g *guest) stopped(n int) {
	g.t.Helper()
	g.await("frames that failed", func() bool { return len(g.c.Stalled()) == n })
	if err := g.c.Pause(g.t.Context()); err != nil {
		g.t.Fatalf("pause: %v", err)
	}
}

func TestStopOnError(t *testing.T) {
	g, d, l := faultyGuest(t, ErrorPolicy{Read: StopOnError, Write: StopOnNoSpace})
	d.fail(syscall.ENOSPC)
	const writes = 20
	var frames []uint64
	for i := range writes {
		x, _ := g.block(mfi.CmdLDWrite, uint64(i), byte(i+1))
		addr, _ := g.submit(x)
		frames = append(frames, addr)
	}
	for range 3 { // the second time it fails again
		g.stopped(writes)
		for _, addr := range frames {
			if s := g.status(addr); s != mfi.StatusPending {
				t.Fatalf("a frame that is to be carried out again has the status %v", s)
			}
		}
		for _, x := range g.c.Stalled() {
			if x.Drive != 0 || !x.Write || !x.NoSpace || x.Action != StopOnError {
				t.Fatalf("%+v", x)
			}
		}
		g.c.Resume()
	}
	g.stopped(writes)
	d.fail(nil)
	g.c.Resume()
	if got := g.collect(writes); len(got) != writes {
		t.Errorf("%d replies", len(got))
	}
	for i, addr := range frames {
		if s := g.status(addr); s != mfi.StatusOK || d.data[i*512] != byte(i+1) {
			t.Errorf("write %d: status %v, the disk has %#x", i, s, d.data[i*512])
		}
	}
	if len(g.c.Stalled()) != 0 || slices.ContainsFunc(l.actions(), func(a ErrorAction) bool { return a != StopOnError }) {
		t.Errorf("actions %v, %d frames wait", l.actions(), len(g.c.Stalled()))
	}

	d.fail(syscall.EIO)
	x, buffer := g.block(mfi.CmdLDRead, 3, 0xff)
	addr, _ := g.submit(x)
	g.stopped(1)
	d.fail(nil)
	g.c.Resume()
	g.collect(1)
	if s := g.status(addr); s != mfi.StatusOK || g.mem[buffer] != 4 {
		t.Errorf("read: status %v, data %#x", s, g.mem[buffer])
	}
	// EIO is none of StopOnNoSpace's business.
	d.fail(syscall.EIO)
	x, _ = g.block(mfi.CmdLDWrite, 3, 0)
	if _, s := g.poll(x); s != mfi.StatusSCSIDoneWithError {
		t.Errorf("write: status %v", s)
	}
	d.fail(nil)
}

// A failure that the guest is not told of is in no count that it could read: neither of an error
// after which the machine is paused, however often it comes back, nor of one that is ignored. One
// that it is told of is counted once.
func TestErrorsThatAreNotToldAreNotCounted(t *testing.T) {
	for _, cmd := range []mfi.Cmd{mfi.CmdLDRead, mfi.CmdLDWrite} {
		counted := func(g *guest) uint64 {
			x := g.c.physicals[0].Load().vitals.counters.Totals()
			return x.MediumErrors + x.OtherErrors
		}
		g, d, _ := faultyGuest(t, ErrorPolicy{Read: StopOnError, Write: StopOnError})
		d.fail(syscall.EIO)
		x, _ := g.block(cmd, 0, 1)
		g.submit(x)
		for range 3 {
			g.stopped(1)
			g.c.Resume()
		}
		g.stopped(1)
		d.fail(nil)
		g.c.Resume()
		g.collect(1)
		if n := counted(g); n != 0 {
			t.Errorf("%v that was carried out again: %d errors are counted", cmd, n)
		}
		page := byte(0x43) // read errors
		if cmd == mfi.CmdLDWrite {
			page = 0x42
		}
		errors := func() uint64 {
			for range 3 { // after attentions of the power-on
				if p, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, 0, 252, 0x4d, 0, page, 0, 0, 0, 0, 0, 252, 0); s == mfi.StatusOK {
					return logParameter(t, p, 6) // total uncorrected
				}
			}
			t.Fatal("LOG SENSE fails")
			return 0
		}
		if n := errors(); n != 0 {
			t.Errorf("%v that was carried out again: LOG SENSE has %d errors", cmd, n)
		}

		g, d, _ = faultyGuest(t, ErrorPolicy{Read: IgnoreError, Write: IgnoreError})
		d.fail(syscall.EIO)
		x, _ = g.block(cmd, 0, 1)
		if _, s := g.poll(x); s != mfi.StatusOK || counted(g) != 0 {
			t.Errorf("%v that was ignored: status %v, %d errors are counted", cmd, s, counted(g))
		}
		d.fail(nil)

		g, d, _ = faultyGuest(t, ErrorPolicy{})
		d.fail(syscall.EIO)
		x, _ = g.block(cmd, 0, 1)
		if _, s := g.poll(x); s != mfi.StatusSCSIDoneWithError || counted(g) != 1 || errors() != 1 {
			t.Errorf("%v that was reported: status %v, %d errors are counted, LOG SENSE has %d", cmd, s, counted(g), errors())
		}
		d.fail(nil)
	}
}

// logParameter is a parameter of a log page (SPC-4, 7.3.1).
func logParameter(t *testing.T, page []byte, code uint16) (value uint64) {
	t.Helper()
	for p := page[4:]; len(p) > 4; p = p[4+p[3]:] {
		if binary.BigEndian.Uint16(p) != code {
			continue
		}
		for _, b := range p[4 : 4+p[3]] {
			value = value<<8 | uint64(b)
		}
		return value
	}
	t.Fatalf("no parameter %d in % x", code, page)
	return 0
}

// What the guest is told was done moves on, and what can't be tried again is told.
func TestIgnoreAndReportErrors(t *testing.T) {
	g, d, l := faultyGuest(t, ErrorPolicy{Read: IgnoreError, Write: IgnoreError})
	d.fail(syscall.EIO)
	for _, cmd := range []mfi.Cmd{mfi.CmdLDRead, mfi.CmdLDWrite} {
		x, _ := g.block(cmd, 0, 1)
		if _, s := g.poll(x); s != mfi.StatusOK {
			t.Errorf("%v: status %v", cmd, s)
		}
	}
	if a := l.actions(); len(a) == 0 || a[0] != IgnoreError {
		t.Errorf("actions %v", a)
	}
	d.fail(nil)

	g, d, _ = faultyGuest(t, ErrorPolicy{Write: StopOnError})
	d.fail(syscall.ENOSPC)
	for range 3 { // attentions of the power-on
		_, _, _, _ = g.scsi(mfi.CmdLDSCSIIO, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	if _, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 1024, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0); s != mfi.StatusSCSIDoneWithError {
		t.Errorf("COMPARE AND WRITE: status %v", s)
	}
	d.fail(nil)
}

// Without anybody who pauses the machine, a frame would never end.
func TestStopOnErrorNeedsAListener(t *testing.T) {
	d := &faulty{disk: newDisk(1 << 20)}
	g := newGuest(t, Config{Drives: []DriveConfig{{Drive: drive(d, 0), OnError: ErrorPolicy{Write: StopOnError}}}})
	d.fail(syscall.ENOSPC)
	x, _ := g.block(mfi.CmdLDWrite, 0, 1)
	if _, s := g.poll(x); s != mfi.StatusSCSIDoneWithError {
		t.Errorf("status %v", s)
	}
	d.fail(nil)
}

// A flush that the guest asks for by a management command is tried again as well.
func TestStopOnErrorOfFlush(t *testing.T) {
	g, d, l := faultyGuest(t, ErrorPolicy{Write: StopOnNoSpace})
	d.fail(syscall.EDQUOT)
	for _, op := range []mfi.Opcode{mfi.OpCtrlCacheFlush, mfi.OpCtrlShutdown} {
		addr, _ := g.submit(mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: op})
		g.stopped(1)
		if s := g.status(addr); s != mfi.StatusPending {
			t.Errorf("%v: status %v", op, s)
		}
		d.fail(nil)
		g.c.Resume()
		g.collect(1)
		if s := g.status(addr); s != mfi.StatusOK {
			t.Errorf("%v: status %v", op, s)
		}
		d.fail(syscall.EDQUOT)
	}
	if a := l.actions(); !slices.Equal(a, []ErrorAction{StopOnError, StopOnError}) {
		t.Errorf("actions %v", a)
	}
	d.fail(nil)
}

// A reset forgets what waits, also one that comes before the pause does.
func TestResetForgetsStalledFrames(t *testing.T) {
	for _, paused := range []bool{false, true} {
		g, d, _ := faultyGuest(t, ErrorPolicy{Write: StopOnError})
		d.fail(syscall.ENOSPC)
		x, _ := g.block(mfi.CmdLDWrite, 0, 1)
		addr, _ := g.submit(x)
		g.await("the failure", func() bool { return len(g.c.Stalled()) == 1 })
		if paused {
			g.stopped(1)
		}
		g.resetFunction()
		d.fail(nil)
		if n := len(g.c.Stalled()); n != 0 {
			t.Errorf("paused %v: %d frames wait after a reset", paused, n)
		}
		g.c.Resume()
		if err := g.c.AwaitReset(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := g.c.Pause(t.Context()); err != nil { // until the frame has been looked at
			t.Fatal(err)
		}
		g.c.Resume()
		if s := g.status(addr); s != mfi.StatusPending || d.data[0] != 0 {
			t.Errorf("paused %v: a frame of before the reset has the status %v, the disk has %#x", paused, s, d.data[0])
		}
	}
}

// A frame that waits for a drive that is taken out does not reach the one that is put
// in its place.
func TestStalledFrameStaysWithItsDrive(t *testing.T) {
	g, d, _ := faultyGuest(t, ErrorPolicy{Write: StopOnError})
	d.fail(syscall.ENOSPC)
	x, _ := g.block(mfi.CmdLDWrite, 0, 1)
	addr, _ := g.submit(x)
	g.stopped(1)
	if err := g.c.DeleteVolume(0); err != nil {
		t.Fatal(err)
	}
	if err := g.c.RemoveDrive(0); err != nil {
		t.Fatal(err)
	}
	other := newDisk(1 << 20)
	if id, err := g.c.AddDrive(DriveConfig{Drive: drive(other, 1)}); err != nil || id != 0 {
		t.Fatalf("drive %d, %v", id, err)
	}
	g.c.Resume()
	g.collect(1)
	if s := g.status(addr); s != mfi.StatusDeviceNotFound || other.data[0] != 0 {
		t.Errorf("status %v, the other disk has %#x", s, other.data[0])
	}
}

// Close does not wait for frames that nobody can help.
func TestCloseWithStalledFrames(t *testing.T) {
	g, d, _ := faultyGuest(t, ErrorPolicy{Write: StopOnError})
	d.fail(syscall.ENOSPC)
	x, _ := g.block(mfi.CmdLDWrite, 0, 1)
	g.submit(x)
	g.stopped(1)
	d.fail(nil) // the end of the test closes
}

// A controller that is made of saved state carries out again what waited.
func TestSaveStalledFrames(t *testing.T) {
	g, d, l := faultyGuest(t, ErrorPolicy{Write: StopOnError})
	d.fail(syscall.ENOSPC)
	x, _ := g.block(mfi.CmdLDWrite, 0, 7)
	addr, _ := g.submit(x)
	g.stopped(1)
	var state bytes.Buffer
	if err := g.c.Save(&state); err != nil {
		t.Fatal(err)
	}
	d.fail(nil)
	cfg := Config{Listener: l, Drives: []DriveConfig{{Drive: raid.NewDrive(d, drive(d, 0).Identity()), OnError: ErrorPolicy{Write: StopOnError}}}}
	c, err := Restore(cfg, &state)
	if err != nil {
		t.Fatal(err)
	}
	if p := c.physicals[0].Load().onError; p.Write != StopOnError {
		t.Errorf("policy %+v", p)
	}
	c.Attach(g.mem)
	g.await("the frame", func() bool { return g.status(addr) != mfi.StatusPending })
	if s := g.status(addr); s != mfi.StatusOK || d.data[0] != 7 {
		t.Errorf("status %v, the disk has %#x", s, d.data[0])
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// flaky is a disk on which every so many writes fail.
type flaky struct {
	*disk
	writes atomic.Int64
}

func (d *flaky) WriteV(bufs [][]byte, off int64) error {
	if n := d.writes.Add(1); n%7 == 0 {
		return syscall.ENOSPC
	}
	return d.disk.WriteV(bufs, off)
}

func (d *flaky) TryReadV([][]byte, int64) bool  { return false }
func (d *flaky) TryWriteV([][]byte, int64) bool { return false }

// pauser is a Listener that has a controller paused and resumed after failures.
type pauser struct{ failed chan struct{} }

func (pauser) Logged(mfi.Event) {}

func (l pauser) IOFailed(x IOFailure) {
	if x.Action == StopOnError {
		select {
		case l.failed <- struct{}{}:
		default:
		}
	}
}

// However many frames fail, and whenever the controller is paused: each is answered
// once, and done.
func TestStalledFramesEndOnce(t *testing.T) {
	d, l := &flaky{disk: newDisk(1 << 20)}, pauser{make(chan struct{}, 1)}
	g := newGuest(t, Config{Listener: l, Drives: []DriveConfig{{Drive: drive(d, 0), OnError: ErrorPolicy{Write: StopOnNoSpace}}}})
	g.initialize(64)
	var pausing sync.WaitGroup
	defer pausing.Wait()
	done := make(chan struct{})
	defer close(done)
	pausing.Go(func() {
		for {
			select {
			case <-l.failed:
				if err := g.c.Pause(t.Context()); err != nil {
					t.Error(err)
				}
				g.c.Resume()
			case <-done:
				return
			}
		}
	})
	const rounds, depth = 30, 40
	for i := range rounds {
		want := make(map[uint32]bool)
		for j := range depth {
			x, _ := g.block(mfi.CmdLDWrite, uint64(j), byte(i+j))
			_, context := g.submit(x)
			want[context] = true
		}
		for _, context := range g.collect(depth) {
			if !want[context] {
				t.Fatalf("context %d was answered twice, or was not asked for", context)
			}
			delete(want, context)
		}
		for j := range depth {
			if got := d.data[j*512]; got != byte(i+j) {
				t.Errorf("round %d: block %d has %#x, want %#x", i, j, got, byte(i+j))
			}
		}
	}
}
