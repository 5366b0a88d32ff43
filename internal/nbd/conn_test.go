package nbd

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/nbdproto"
)

// TestSlowRequestsDoNotHoldUpOthers has one READ wait in the device while
// requests behind it are answered.
func TestSlowRequestsDoNotHoldUpOthers(t *testing.T) {
	first, second := newWait(), newWait()
	d := &slowAt{newRAM(1 << 20), map[int64]*wait{0: first, 4096: second}}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	// The first READ teaches the connection that READs are slow.
	c.request(nbdproto.CmdRead, 0, 1, 0, 1)
	<-first.reached
	time.Sleep(time.Millisecond) // not a wait for something: this READ takes a millisecond
	close(first.end)
	c.simple(1)
	c.get(1)
	c.request(nbdproto.CmdRead, 0, 2, 4096, 1)
	c.request(nbdproto.CmdFlush, 0, 3, 0, 0)
	if code := c.simple(3); code != 0 {
		t.Error(code)
	}
	close(second.end)
	if code := c.simple(2); code != 0 {
		t.Error(code)
	}
}

// pausing is a device where READs take a moment, and one at an offset takes as long
// as the test wants.
type pausing struct{ *slowAt }

func (d pausing) ReadV(bufs [][]byte, off int64) error {
	time.Sleep(50 * time.Microsecond) // what it simulates, not a wait for something
	return d.slowAt.ReadV(bufs, off)
}

// TestClientThatWasAloneSendsMore has a client send one READ after the other, until
// the server does not pass the receive lock on for it any more, and then two requests
// at once: the first does not hold up the second.
func TestClientThatWasAloneSendsMore(t *testing.T) {
	long := newWait()
	d := pausing{&slowAt{newRAM(1 << 20), map[int64]*wait{4096: long}}}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	for i := range uint64(3 * lonely) {
		c.request(nbdproto.CmdRead, 0, i, 0, 1)
		if code := c.simple(i); code != 0 {
			t.Fatal(code)
		}
		c.get(1)
	}
	be := binary.BigEndian
	one := func(cmd command, off uint64, n uint32) []byte {
		b := be.AppendUint64(be.AppendUint32(nil, nbdproto.MagicRequest), uint64(cmd)<<32)
		return be.AppendUint32(be.AppendUint64(append(b, 0, 0, 0, byte(cmd)), off), n)
	}
	c.put(one(nbdproto.CmdRead, 4096, 1), one(nbdproto.CmdFlush, 0, 0))
	if code := c.simple(uint64(nbdproto.CmdFlush)); code != 0 {
		t.Error(code)
	}
	close(long.end)
	if code := c.simple(uint64(nbdproto.CmdRead)); code != 0 {
		t.Error(code)
	}
}

// TestEndFinishesWhatWasReceived ends the server while a request runs: it gets
// its reply, and the device is flushed.
func TestEndFinishesWhatWasReceived(t *testing.T) {
	d := newRAM(1 << 20)
	d.gate = make(chan struct{})
	path, stop := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", false)
	c.request(nbdproto.CmdRead, 0, 1, 0, 1)
	d.gate <- struct{}{} // the device has the request
	ended := make(chan error)
	go func() { ended <- stop() }()
	if code := c.simple(1); code != 0 {
		t.Error(code)
	}
	c.get(1)
	if err := <-ended; err != nil || d.flushes.Load() == 0 {
		t.Errorf("%v, %d flushes", err, d.flushes.Load())
	}
	c.closed()
}

// slowAt is a device where READs at some offsets wait.
type slowAt struct {
	*ram
	at map[int64]*wait
}

type wait struct{ reached, end chan struct{} }

func newWait() *wait { return &wait{make(chan struct{}), make(chan struct{})} }

func (d *slowAt) ReadV(bufs [][]byte, off int64) error {
	if w := d.at[off]; w != nil {
		close(w.reached)
		<-w.end
	}
	return d.ram.ReadV(bufs, off)
}

// TestLongSimpleReplyIsNotInterrupted has a READ end while another, of several
// pieces, is answered to a client that knows only simple replies: its reply does not
// get between the pieces.
func TestLongSimpleReplyIsNotInterrupted(t *testing.T) {
	const slow, long = 3 << 20, 0 // offsets, and cookies
	first, second := newWait(), newWait()
	d := &slowAt{newRAM(4 << 20), map[int64]*wait{slow: first, long + pieceSize: second}}
	if err := d.WriteV([][]byte{bytes.Repeat([]byte{7}, 2*pieceSize)}, long); err != nil {
		t.Fatal(err)
	}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	c.request(nbdproto.CmdRead, 0, slow, slow, 128<<10) // so long that others are taken meanwhile
	<-first.reached
	c.request(nbdproto.CmdRead, 0, long, long, 2*pieceSize)
	all := make(chan []byte)
	go func() { all <- c.get(2*nbdproto.SimpleReplySize + 128<<10 + 2*pieceSize) }()
	// The second piece is not even read before the slow READ has ended. If it is,
	// the slow one ends between the pieces.
	select {
	case <-second.reached:
		close(first.end)
		time.Sleep(100 * time.Millisecond)
		close(second.end)
	case <-time.After(300 * time.Millisecond):
		close(second.end)
		close(first.end)
	}
	be := binary.BigEndian
	for got := <-all; len(got) > 0; {
		if be.Uint32(got) != nbdproto.MagicSimpleReply {
			t.Fatalf("%x where a reply should begin", got[:nbdproto.SimpleReplySize])
		}
		body, value := got[nbdproto.SimpleReplySize:][:128<<10], byte(0)
		if be.Uint64(got[8:]) == long {
			body, value = got[nbdproto.SimpleReplySize:][:2*pieceSize], 7
		}
		if !bytes.Equal(body, bytes.Repeat([]byte{value}, len(body))) {
			t.Fatalf("reply to %d: other contents", be.Uint64(got[8:]))
		}
		got = got[nbdproto.SimpleReplySize+len(body):]
	}
}

// TestHotPathDoesNotAllocate reads and writes without garbage.
func TestHotPathDoesNotAllocate(t *testing.T) {
	d := newRAM(1 << 20)
	path, _ := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", true)
	var out, in []byte
	be := binary.BigEndian
	for i := range uint64(32) {
		out = be.AppendUint32(out, nbdproto.MagicRequest)
		out = be.AppendUint32(out, uint32(nbdproto.CmdRead))
		out = be.AppendUint64(out, i)
		out = be.AppendUint64(out, i*4096)
		out = be.AppendUint32(out, 4096)
	}
	in = make([]byte, 32*(nbdproto.ChunkHeaderSize+8+4096))
	round := func() {
		if _, err := c.nc.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.nc, in); err != nil {
			t.Fatal(err)
		}
	}
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	if n := testing.AllocsPerRun(200, round); n > 4 { // of 32 requests; pools may lose a buffer to the collector
		t.Errorf("%v allocations in 32 requests", n)
	}
}

// BenchmarkRead reads 4 KiB at the given depth from memory.
func BenchmarkRead(b *testing.B) {
	for name, depth := range map[string]int{"depth1": 1, "depth32": 32} {
		b.Run(name, func(b *testing.B) {
			path, _ := start(b, &Server{Exports: exports(newRAM(1 << 20))})
			c := dial(b, path)
			c.choose("a", true)
			_ = c.nc.SetDeadline(time.Time{})
			one := binary.BigEndian.AppendUint32(nil, nbdproto.MagicRequest)
			one = append(one, make([]byte, 20)...)
			one = binary.BigEndian.AppendUint32(one, 4096)
			out := bytes.Repeat(one, depth)
			in := make([]byte, depth*(nbdproto.ChunkHeaderSize+8+4096))
			b.SetBytes(4096)
			b.ReportAllocs()
			for done := 0; done < b.N; done += depth {
				if _, err := c.nc.Write(out); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c.nc, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
