package nbd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
	"golang.org/x/sys/unix"
)

// draining is a device that writes from pipes, not all that it could.
type draining struct {
	*ram
	most  int64        // how much at a time; 0: nothing
	unit  int64        // it takes multiples of it alone
	fails atomic.Bool  // it fails instead
	piped atomic.Int64 // bytes
}

func (d *draining) WritesPipes() bool { return true }

func (d *draining) WritePipe(pipe int, off, n int64) (taken int64, err error) {
	if d.fails.Load() {
		return 0, syscall.ENOSPC
	}
	n = min(n, d.most) / d.unit * d.unit
	for taken < n {
		b := make([]byte, n-taken)
		m, err := unix.Read(pipe, b)
		if err != nil || m == 0 {
			return taken, io.ErrUnexpectedEOF
		}
		if err := d.WriteV([][]byte{b[:m]}, off+taken); err != nil {
			return taken, err
		}
		taken += int64(m)
	}
	d.piped.Add(taken)
	return taken, nil
}

// TestDrainedWrites writes pieces of many lengths at once, to a device that takes all of a
// pipe, or some, or nothing.
func TestDrainedWrites(t *testing.T) {
	lengths := []int{drainFrom, 4096, 1 << 20, drainFrom + 512, 3<<20 + 1024, 512, drainFrom - 512, 700 << 10}
	for _, take := range []struct{ most, unit int64 }{{1 << 30, 1}, {1 << 30, 64 << 10}, {5000, 1}, {0, 1}} {
		d := &draining{ram: newRAM(32 << 20), most: take.most, unit: take.unit}
		path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
		c := dial(t, path)
		c.choose("a", true)
		data := noise(32 << 20)
		var out []byte
		var at []int64
		off := int64(512)
		for i := range 3 * len(lengths) {
			n := lengths[i%len(lengths)]
			at = append(at, off)
			out = append(append(out, writeHeader(0, off, n)...), data[off:off+int64(n)]...)
			off += int64(n)
		}
		go func() { _, _ = c.nc.Write(out) }()
		for range at {
			if h := c.get(nbdproto.SimpleReplySize); binary.BigEndian.Uint32(h[4:]) != 0 {
				t.Fatalf("%x", h)
			}
		}
		if !d.has(512, data[512:off]) {
			t.Errorf("%+v: other data", take)
		}
		if (d.piped.Load() > 0) != (take.most > 0) {
			t.Errorf("%+v: %d bytes were written from pipes", take, d.piped.Load())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestWriteThatDripsIn sends a WRITE in pieces so small that a pipe is full of them before
// the device can take one.
func TestWriteThatDripsIn(t *testing.T) {
	d := &draining{ram: newRAM(1 << 20), most: 1 << 20, unit: 64 << 10}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	data := noise(drainFrom)
	c.put(writeHeader(0, 0, len(data)))
	for at := 0; at < len(data); at += 100 {
		c.put(data[at:min(len(data), at+100)])
	}
	if code := c.simple(0); code != 0 {
		t.Error(code)
	}
	if !d.has(0, data) {
		t.Error("other data")
	}
}

// TestStallingClientHasItsReplies sends some WRITEs and the beginning of one more, and the rest
// of that only when those before it were answered.
func TestStallingClientHasItsReplies(t *testing.T) {
	d := &draining{ram: newRAM(16 << 20), most: 1 << 30, unit: 1}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	data := noise(drainFrom)
	for _, sent := range []int{0, 1, nbdproto.RequestSize - 1, nbdproto.RequestSize, nbdproto.RequestSize + 1, nbdproto.RequestSize + len(data) - 1} {
		for before := 1; before <= maxBulk+2; before++ {
			c := dial(t, path)
			c.choose("a", true)
			var out []byte
			for i := range before {
				off := int64(i * len(data))
				out = append(append(out, writeHeader(0, off, len(data))...), data...)
			}
			last := append(writeHeader(0, 8<<20, len(data)), data...)
			c.put(out, last[:sent])
			for i := range before {
				if code := c.simple(uint64(i * len(data))); code != 0 {
					t.Fatal(code)
				}
			}
			c.put(last[sent:])
			if code := c.simple(8 << 20); code != 0 {
				t.Fatal(code)
			}
			_ = c.nc.Close()
		}
	}
}

// TestHalfAHeaderBehindADrainedWrite ends the connection, once the WRITE was answered.
func TestHalfAHeaderBehindADrainedWrite(t *testing.T) {
	d := &draining{ram: newRAM(1 << 20), most: 1 << 30, unit: 1}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	c.put(writeHeader(0, 0, drainFrom), noise(drainFrom), writeHeader(0, 0, drainFrom)[:20])
	_ = c.nc.(*net.UnixConn).CloseWrite()
	if code := c.simple(0); code != 0 {
		t.Error(code)
	}
	c.closed()
}

// TestDrainedWriteFails says so, and takes the rest of the WRITE from the stream.
func TestDrainedWriteFails(t *testing.T) {
	d := &draining{ram: newRAM(4 << 20), most: 1 << 30, unit: 1}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	data := noise(1 << 20)
	d.fails.Store(true)
	c.put(writeHeader(0, 0, len(data)), data)
	if code := c.simple(0); code != nbdproto.ErrnoNoSpace {
		t.Error(code)
	}
	d.fails.Store(false)
	c.put(writeHeader(nbdproto.CmdFlagFUA, 1<<20, len(data)), data)
	if code := c.simple(1 << 20); code != 0 {
		t.Error(code)
	}
	if !d.has(1<<20, data) || d.flushes.Load() == 0 {
		t.Errorf("other data, or %d flushes", d.flushes.Load())
	}
}

// flushing is a device whose first flush waits.
type flushing struct {
	draining
	wait    *wait
	flushed atomic.Bool
}

func (d *flushing) Flush() error {
	if !d.flushed.Swap(true) {
		close(d.wait.reached)
		<-d.wait.end
	}
	return nil
}

// readMeanwhile has a READ answered while the WRITE to offset 0 waits, which is answered then.
func readMeanwhile(c *client, w *wait) {
	c.t.Helper()
	<-w.reached
	c.request(nbdproto.CmdRead, 0, 7, 2<<20, 1)
	c.simple(7)
	c.get(1)
	close(w.end)
	if code := c.simple(0); code != 0 {
		c.t.Error(code)
	}
}

// TestDurableDrainedWriteHoldsUpNobody has a READ answered while a WRITE is made durable.
func TestDurableDrainedWriteHoldsUpNobody(t *testing.T) {
	d := &flushing{draining: draining{ram: newRAM(4 << 20), most: 1 << 30, unit: 1}, wait: newWait()}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	c.put(writeHeader(nbdproto.CmdFlagFUA, 0, 1<<20), noise(1<<20))
	readMeanwhile(c, d.wait)
}

// TestLentBeginningThatDoesNotFit puts what was received into a pipe that is too small for it: the
// rest is received behind it.
func TestLentBeginningThatDoesNotFit(t *testing.T) {
	data := noise(40000)
	c := &conn{in: bufio.NewReaderSize(bytes.NewReader(data), receiveBuffer)}
	if _, err := c.in.Peek(30000); err != nil {
		t.Fatal(err)
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	d := &conduit{r: ends[0], w: ends[1]}
	defer d.close()
	if _, err := unix.FcntlInt(uintptr(d.w), unix.F_SETPIPE_SZ, unix.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	p := &payload{in: c.in, pipe: d.r, left: c.lendReceived(d, int64(len(data)))}
	if p.left <= 0 || p.left > int64(unix.Getpagesize()) {
		t.Fatalf("%d bytes are in the pipe", p.left)
	}
	got := make([]byte, len(data))
	if err := p.fill(got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("other data, %v", err)
	}
}

// copying is a device that takes nothing from a pipe, and whose writes to offset 0 wait.
type copying struct {
	draining
	wait *wait
}

func (d *copying) WriteV(bufs [][]byte, off int64) error {
	if off == 0 {
		close(d.wait.reached)
		<-d.wait.end
	}
	return d.draining.WriteV(bufs, off)
}

// TestWriteThatIsNotDrainedHoldsUpNobody has a READ answered while a WRITE, whose beginning came
// with its header, takes long because it has to be read what it leaves of a cluster.
func TestWriteThatIsNotDrainedHoldsUpNobody(t *testing.T) {
	for _, n := range []int{drainFrom, drainFrom + 512, 1 << 20} {
		d := &copying{draining{ram: newRAM(4 << 20), unit: 1}, newWait()}
		path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
		c := dial(t, path)
		c.choose("a", false)
		c.put(writeHeader(0, 0, n), noise(n))
		readMeanwhile(c, d.wait)
		if !d.has(0, noise(n)) {
			t.Errorf("WRITE of %d: other data", n)
		}
	}
}

// TestLeftoverOfAWriteIsNobodysReply has a client stop sending in the middle of a WRITE, some
// of which stays in a pipe: the READs that it sent before get their data.
func TestLeftoverOfAWriteIsNobodysReply(t *testing.T) {
	first := newWait()
	d := &both{draining{ram: newPaged(t, 4<<20).ram, most: 1 << 30, unit: 64 << 10}, first}
	path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	c.put(appendReads(nil, 1<<20, 0), writeHeader(0, 2<<20, 1<<20), noise(100<<10))
	<-first.reached
	_ = c.nc.(*net.UnixConn).CloseWrite()
	close(first.end)
	var got []byte
	for len(got) < 1<<20 {
		h := c.get(nbdproto.ChunkHeaderSize + 8)
		got = append(got, c.get(int(binary.BigEndian.Uint32(h[16:]))-8)...)
	}
	if !d.has(0, got) {
		t.Error("other data")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// both is a device that reads into pipes as well, the first time when the test wants.
type both struct {
	draining
	first *wait
}

func (d *both) ReadsPipes() bool { return true }

func (d *both) ReadPipe(pipe int, off, n int64) (moved int64) {
	if off == 0 {
		close(d.first.reached)
		<-d.first.end
	}
	b := make([]byte, n)
	if d.ReadV([][]byte{b}, off) != nil {
		return 0
	}
	m, err := unix.Write(pipe, b)
	if err != nil {
		return 0
	}
	return int64(m)
}
