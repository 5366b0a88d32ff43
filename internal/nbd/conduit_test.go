package nbd

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
	"golang.org/x/sys/unix"
)

// pouring is a device in memory that writes its bytes to pipes as well.
type pouring struct {
	*ram
	poured atomic.Int64 // bytes
	stops  int64        // if set, no more than so many at a time, and nothing every other time
	times  atomic.Int64
	calls  chan int64 // offsets; nil: nobody wants to know
}

func newPouring(t testing.TB, size int) *pouring { return &pouring{ram: newPaged(t, size).ram} }

func (d *pouring) ReadsPipes() bool { return true }

func (d *pouring) ReadPipe(pipe int, off, n int64) (moved int64) {
	if d.calls != nil {
		d.calls <- off
	}
	if d.stops > 0 {
		if d.times.Add(1)%2 == 0 {
			return 0
		}
		n = min(n, d.stops)
	}
	for moved < n {
		m, err := unix.Write(pipe, d.data[off+moved:off+n])
		if err != nil { // the pipe is full: not empty, or smaller than was said
			break
		}
		moved += int64(m)
	}
	d.poured.Add(moved)
	return moved
}

// appendReads appends READs, whose cookies are their offsets.
func appendReads(out []byte, n uint32, offs ...int64) []byte {
	be := binary.BigEndian
	for _, off := range offs {
		out = be.AppendUint32(out, nbdproto.MagicRequest)
		out = be.AppendUint32(out, uint32(nbdproto.CmdRead))
		out = be.AppendUint64(out, uint64(off))
		out = be.AppendUint64(out, uint64(off))
		out = be.AppendUint32(out, n)
	}
	return out
}

// TestPouredReads reads pieces of many lengths, many at once, from a device that reads into
// pipes: all of a piece, a part of it, or nothing.
func TestPouredReads(t *testing.T) {
	const size, count = 8 << 20, 60
	for _, stops := range []int64{0, 4096, 100 << 10} {
		d := newPouring(t, size)
		d.stops = stops
		path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
		c := dial(t, path)
		c.choose("a", true)
		left := map[int64]int64{}
		var out []byte
		for i := range int64(count) {
			n := []int64{conduitFrom, 4096, conduitAlone, 1 << 20, conduitFrom + 512, 3 << 20, 512, conduitSize + 4096}[i%8]
			off := i * 37777 % (size - n)
			left[off] = n
			out = appendReads(out, uint32(n), off)
		}
		go func() { _, _ = c.nc.Write(out) }()
		be := binary.BigEndian
		for len(left) > 0 {
			h := c.get(nbdproto.ChunkHeaderSize + 8)
			first, n, off := int64(be.Uint64(h[8:])), int64(be.Uint32(h[16:]))-8, int64(be.Uint64(h[20:]))
			if kind := be.Uint16(h[6:]); kind != nbdproto.ChunkOffsetData {
				t.Fatalf("chunk %d", kind)
			}
			if got := c.get(int(n)); !bytes.Equal(got, d.data[off:][:n]) {
				t.Fatalf("%d bytes at %d of the read at %d: others", n, off, first)
			}
			if left[first] -= n; (left[first] == 0) != (be.Uint16(h[4:])&nbdproto.ChunkFlagDone != 0) {
				t.Fatalf("read at %d: flags %x, %d bytes are left", first, h[4:6], left[first])
			}
			if left[first] == 0 {
				delete(left, first)
			}
		}
	}
}

// TestPouredReadsAlone reads one after the other: all that is long enough goes through pipes.
func TestPouredReadsAlone(t *testing.T) {
	d := newPouring(t, 4<<20)
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	for _, n := range []uint32{conduitAlone, 1 << 20, conduitAlone - 512, 3 << 20} {
		before := d.poured.Load()
		c.put(appendReads(nil, n, 0))
		for left := int(n); left > 0; {
			m := int(binary.BigEndian.Uint32(c.get(nbdproto.ChunkHeaderSize + 8)[16:])) - 8
			c.get(m)
			left -= m
		}
		if got := d.poured.Load() - before; (got == int64(n)) != (n >= conduitAlone) {
			t.Errorf("of %d bytes, %d went through pipes", n, got)
		}
	}
}

// TestPouredReadsOfSimpleReplies copies: their pieces could not be told apart.
func TestPouredReadsOfSimpleReplies(t *testing.T) {
	d := newPouring(t, 4<<20)
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	c.put(appendReads(nil, 1<<20, 0, 1<<20))
	seen := map[uint64]bool{}
	for range 2 {
		off := binary.BigEndian.Uint64(c.get(nbdproto.SimpleReplySize)[8:])
		if got := c.get(1 << 20); !bytes.Equal(got, d.data[off:][:1<<20]) {
			t.Errorf("others at %d", off)
		}
		seen[off] = true
	}
	if len(seen) != 2 || d.poured.Load() != 0 {
		t.Errorf("%d replies, %d bytes through pipes", len(seen), d.poured.Load())
	}
}

// TestConduitsOfAClientThatTakesNothing bounds what is in pipes, and ends with the client.
func TestConduitsOfAClientThatTakesNothing(t *testing.T) {
	d := newPouring(t, 64<<20)
	path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	before := openFiles(t)
	c := dial(t, path)
	c.choose("a", true)
	var offs []int64
	for i := range int64(64) {
		offs = append(offs, i<<20)
	}
	c.put(appendReads(nil, 1<<20, offs...))
	c.get(1) // it has begun
	c.nc.(*net.UnixConn).CloseRead()
	c.nc.Close()
	if err := stop(); err != nil {
		t.Error(err)
	}
	// What the socket has room for went out of the budget again.
	if most := int64(connectionBudget + 8<<20); d.poured.Load() > most {
		t.Errorf("%d bytes were read for a client that takes nothing", d.poured.Load())
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, %d were", after, before)
	}
}

// openFiles is how many files the process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestNextPieceIsReadWhileOneIsTaken reads pieces of a READ for a client that has not taken
// the first, and the right bytes.
func TestNextPieceIsReadWhileOneIsTaken(t *testing.T) {
	d := newPouring(t, 1<<20)
	d.calls = make(chan int64, 100)
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	c.put(appendReads(nil, 1<<20, 0))
	for _, want := range []int64{0, conduitSize} {
		if off := <-d.calls; off != want {
			t.Errorf("a piece at %d", off)
		}
	}
	var got []byte
	for len(got) < 1<<20 {
		h := c.get(nbdproto.ChunkHeaderSize + 8)
		got = append(got, c.get(int(binary.BigEndian.Uint32(h[16:]))-8)...)
	}
	if !bytes.Equal(got, d.data) {
		t.Error("other data")
	}
	if off := <-d.calls; off != 1<<20-lastPiece {
		t.Errorf("the last piece is at %d", off)
	}
}
