package nbd

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/nbdproto"
	"golang.org/x/sys/unix"
)

// paged is a device in memory whose bytes are in a file, too, and spliced from there.
type paged struct {
	*ram
	file    *os.File
	spliced atomic.Int64 // how often
	held    atomic.Int64 // what was not released
	stops   atomic.Int64 // if set, so many bytes are spliced, and then no more
}

func newPaged(t testing.TB, size int) *paged {
	t.Helper()
	d := &paged{ram: newRAM(size)}
	for i := range d.data {
		d.data[i] = byte(i>>12) ^ byte(i)
	}
	for i := range d.written {
		d.written[i] = true
	}
	name := filepath.Join(t.TempDir(), "pages")
	if err := os.WriteFile(name, d.data, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.file, err = os.Open(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.file.Close() })
	return d
}

func (d *paged) Splice(pipe int, off, n int64) (int64, Held) {
	d.spliced.Add(1)
	want := n
	if stops := d.stops.Load(); stops > 0 {
		want = min(n, stops)
	}
	for moved := int64(0); moved < want; {
		at := off + moved
		k, err := unix.Splice(int(d.file.Fd()), &at, pipe, nil, int(want-moved), unix.SPLICE_F_NONBLOCK)
		if err != nil {
			return moved, nil
		}
		moved += k
	}
	if want < n {
		return want, nil
	}
	d.held.Add(1)
	return n, d
}

func (d *paged) Release() { d.held.Add(-1) }

// settled waits until nothing is held.
func (d *paged) settled(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(testLimit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if d.held.Load() == 0 {
			return
		}
	}
	t.Errorf("%d payloads are held that the client has taken", d.held.Load())
}

// TestLentReads reads pieces of every length, many at once, from a device whose bytes
// are spliced: all of them, or a part of each, which are then copied. Long replies are
// not interrupted by others.
func TestLentReads(t *testing.T) {
	const size = 8 << 20
	lengths := []uint32{lendFrom, 4096, 64 << 10, 1 << 20, lendFrom + 512, 3 << 20, 512, 256 << 10, 1<<20 + 4096}
	for name, structured := range map[string]bool{"simple": false, "structured": true} {
		for _, stops := range []int64{0, 1, 20000} {
			t.Run(name, func(t *testing.T) {
				d := newPaged(t, size)
				d.stops.Store(stops)
				path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
				c := dial(t, path)
				c.choose("a", structured)
				type read struct{ off, n int64 }
				var reads []read
				var out []byte
				be := binary.BigEndian
				for i := range 90 {
					n := lengths[i%len(lengths)]
					off := int64(i) * 37777 % (size - int64(n))
					if i%3 > 0 {
						off &^= 4095
					}
					reads = append(reads, read{off, int64(n)})
					out = be.AppendUint32(out, nbdproto.MagicRequest)
					out = be.AppendUint32(out, uint32(nbdproto.CmdRead))
					out = be.AppendUint64(out, uint64(i))
					out = be.AppendUint64(out, uint64(off))
					out = be.AppendUint32(out, n)
				}
				go func() { _, _ = c.nc.Write(out) }()
				left := make([]int64, len(reads))
				for i, r := range reads {
					left[i] = r.n
				}
				for ended := 0; ended < len(reads); {
					var i uint64
					var off, n int64
					if structured {
						h := c.get(nbdproto.ChunkHeaderSize)
						i, n = be.Uint64(h[8:]), int64(be.Uint32(h[16:]))-8
						if kind := be.Uint16(h[6:]); kind != nbdproto.ChunkOffsetData {
							t.Fatalf("chunk %d", kind)
						}
						off = int64(be.Uint64(c.get(8)))
					} else {
						h := c.get(nbdproto.SimpleReplySize)
						if i = be.Uint64(h[8:]); be.Uint32(h[4:]) != 0 {
							t.Fatalf("reply %x", h)
						}
						off, n = reads[i].off, reads[i].n
					}
					if got := c.get(int(n)); !bytes.Equal(got, d.data[off:][:n]) {
						t.Fatalf("read %d of %d bytes at %d: others", i, n, off)
					}
					if left[i] -= n; left[i] == 0 {
						ended++
					}
				}
				if stops == 0 && d.spliced.Load() < int64(len(reads)/3) {
					t.Errorf("only %d were spliced", d.spliced.Load())
				}
				d.settled(t)
			})
		}
	}
}

// TestLentPagesAreHeldUntilTaken reads, and takes the reply only later.
func TestLentPagesAreHeldUntilTaken(t *testing.T) {
	d := newPaged(t, 1<<20)
	path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	c.put(uint32(nbdproto.MagicRequest), uint32(nbdproto.CmdRead), uint64(7), uint64(0), uint32(64<<10))
	c.get(nbdproto.ChunkHeaderSize + 8) // it is being sent
	time.Sleep(3 * heldTick)
	if d.held.Load() != 1 {
		t.Error("what the client has not taken is not held")
	}
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	select {
	case <-ended:
		t.Error("the server has ended before the client took the reply")
	case <-time.After(heldTick):
	}
	if _, err := io.ReadFull(c.nc, make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || d.held.Load() != 0 {
		t.Errorf("%d held at the end, %v", d.held.Load(), err)
	}
}

// TestLentPagesOfAClientThatLeaves reads, and leaves without taking the reply.
func TestLentPagesOfAClientThatLeaves(t *testing.T) {
	d := newPaged(t, 4<<20)
	path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	for i := range uint64(64) {
		c.put(uint32(nbdproto.MagicRequest), uint32(nbdproto.CmdRead), i, i<<16, uint32(64<<10))
	}
	c.get(1)
	c.nc.Close()
	d.settled(t)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestLentReadsDoNotAllocate reads from spliced pages without garbage.
func TestLentReadsDoNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	d := newPaged(t, 1<<20)
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	var out []byte
	for i := range uint64(8) {
		out = appendRequest(out, nbdproto.CmdRead, i*16, 64<<10)
	}
	in := make([]byte, 8*(nbdproto.ChunkHeaderSize+8+64<<10))
	n := testing.AllocsPerRun(100, func() {
		if _, err := c.nc.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.nc, in); err != nil {
			t.Fatal(err)
		}
	})
	if n > 4 { // see TestHotPathDoesNotAllocate
		t.Errorf("%v allocations in 8 requests", n)
	}
}
