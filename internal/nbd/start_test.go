package nbd

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
)

// starting is a device that starts transfers: they end, in the reverse order, after
// they were handed in.
type starting struct {
	*ram
	mu    sync.Mutex
	eager bool       // it starts all, not six of seven
	idle  bool       // it says that it starts nothing
	list  []transfer // guarded by mu
	total int        // guarded by mu: how many were started
}

type transfer struct {
	write bool
	bufs  [][]byte
	off   int64
	end   Ended
}

func (d *starting) Starts() bool { return !d.idle }

func (d *starting) StartReadV(bufs [][]byte, off int64, end Ended) bool {
	return d.start(transfer{false, cloned(bufs), off, end})
}

func (d *starting) StartWriteV(bufs [][]byte, off int64, end Ended) bool {
	return d.start(transfer{true, cloned(bufs), off, end})
}

// cloned is a copy of a vector: it is the caller's again when a transfer has begun.
func cloned(bufs [][]byte) [][]byte { return append([][]byte(nil), bufs...) }

func (d *starting) start(t transfer) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total++
	if d.total%7 == 0 && !d.eager {
		return false
	}
	d.list = append(d.list, t)
	return true
}

func (d *starting) Submit() {
	d.mu.Lock()
	list := d.list
	d.list = nil
	d.mu.Unlock()
	go func() {
		for i := len(list) - 1; i >= 0; i-- {
			t := list[i]
			if t.write {
				t.end.Ended(d.WriteV(t.bufs, t.off))
			} else {
				t.end.Ended(d.ReadV(t.bufs, t.off))
			}
		}
	}()
}

func (d *starting) started() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.total
}

// appendRequest appends a request for block i, with i as its cookie.
func appendRequest(out []byte, cmd command, i uint64, size uint32) []byte {
	be := binary.BigEndian
	out = be.AppendUint32(out, nbdproto.MagicRequest)
	out = be.AppendUint32(out, uint32(cmd))
	out = be.AppendUint64(out, i)
	out = be.AppendUint64(out, i*ramBlock)
	return be.AppendUint32(out, size)
}

// TestStartedRequests sends many requests at once to a device that starts them:
// each gets its own reply, simple or structured, whatever the order; so do those
// among them that the device does not start.
func TestStartedRequests(t *testing.T) {
	const blocks = 200
	for name, structured := range map[string]bool{"simple": false, "structured": true} {
		t.Run(name, func(t *testing.T) {
			d := &starting{ram: newRAM(blocks * ramBlock)}
			path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
			c := dial(t, path)
			c.choose("a", structured)
			var out []byte
			for i := range uint64(blocks) {
				out = appendRequest(out, nbdproto.CmdWrite, i, ramBlock)
				out = append(out, bytes.Repeat([]byte{byte(i + 1)}, ramBlock)...)
				if i%50 == 49 {
					out = appendRequest(out, nbdproto.CmdFlush, 1000+i, 0)
				}
			}
			go func() { _, _ = c.nc.Write(out) }()
			seen := make(map[uint64]bool)
			be := binary.BigEndian
			for range blocks + blocks/50 {
				h := c.get(nbdproto.SimpleReplySize)
				if be.Uint32(h) != nbdproto.MagicSimpleReply || be.Uint32(h[4:]) != 0 {
					t.Fatalf("reply %x", h)
				}
				seen[be.Uint64(h[8:])] = true
			}
			if len(seen) != blocks+blocks/50 {
				t.Errorf("%d different replies", len(seen))
			}
			out = out[:0]
			for i := range uint64(blocks) {
				out = appendRequest(out, nbdproto.CmdRead, i, ramBlock)
			}
			go func() { _, _ = c.nc.Write(out) }()
			for range blocks {
				var cookie uint64
				if structured {
					h := c.get(nbdproto.ChunkHeaderSize + 8)
					cookie = be.Uint64(h[8:])
					if be.Uint16(h[4:]) != nbdproto.ChunkFlagDone || be.Uint64(h[nbdproto.ChunkHeaderSize:]) != cookie*ramBlock {
						t.Fatalf("chunk %x", h)
					}
				} else {
					cookie = be.Uint64(c.get(nbdproto.SimpleReplySize)[8:])
				}
				if got := c.get(ramBlock); !bytes.Equal(got, bytes.Repeat([]byte{byte(cookie + 1)}, ramBlock)) {
					t.Fatalf("block %d: % x...", cookie, got[:8])
				}
			}
			if d.started() < blocks {
				t.Errorf("%d of %d transfers were started", d.started(), 2*blocks)
			}
			d.fail.Store(true)
			out = appendRequest(appendRequest(out[:0], nbdproto.CmdRead, 1, ramBlock), nbdproto.CmdRead, 2, ramBlock)
			before := d.started()
			c.put(out)
			for range 2 {
				if structured {
					h := c.get(nbdproto.ChunkHeaderSize)
					if be.Uint16(h[6:]) != nbdproto.ChunkError {
						t.Errorf("chunk %x", h)
					}
					c.get(int(be.Uint32(h[16:])))
				} else if h := c.get(nbdproto.SimpleReplySize); be.Uint32(h[4:]) != nbdproto.ErrnoIO {
					t.Errorf("reply %x", h)
				}
			}
			if d.started() == before {
				t.Error("no READ was started that fails")
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDeviceThatStartsNothingIsNotAsked: what can't be started is not tried for each
// request.
func TestDeviceThatStartsNothingIsNotAsked(t *testing.T) {
	d := &starting{ram: newRAM(64 * ramBlock), idle: true}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	var out []byte
	for i := range uint64(64) {
		out = appendRequest(out, nbdproto.CmdRead, i, ramBlock)
	}
	go func() { _, _ = c.nc.Write(out) }()
	for range 64 {
		c.get(nbdproto.SimpleReplySize + ramBlock)
	}
	if n := d.started(); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

// TestEndFinishesWhatWasStarted ends the server while started requests are not done:
// they get their replies first.
func TestEndFinishesWhatWasStarted(t *testing.T) {
	d := &starting{ram: newRAM(1 << 20)}
	d.gate = make(chan struct{})
	path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	var out []byte
	for i := range uint64(8) {
		out = appendRequest(out, nbdproto.CmdRead, i, ramBlock)
	}
	c.put(out)
	d.gate <- struct{}{} // the device works on them
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	go func() {
		for range 7 {
			d.gate <- struct{}{}
		}
	}()
	for range 8 {
		c.get(nbdproto.SimpleReplySize + ramBlock)
	}
	if err := <-ended; err != nil || d.started() == 0 {
		t.Errorf("%v, %d were started", err, d.started())
	}
	c.closed()
}

// TestStartedRepliesThatNobodyTakesAreBounded writes and takes no reply: the server
// stops receiving before much has collected.
func TestStartedRepliesThatNobodyTakesAreBounded(t *testing.T) {
	d := &starting{ram: newRAM(1 << 20)}
	path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	one := append(appendRequest(nil, nbdproto.CmdWrite, 1, 16), make([]byte, 16)...)
	c.flood(one, 32<<20)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// inline is a device whose transfers end when they are handed in.
type inline struct {
	*ram
	list []transfer
}

func (d *inline) Starts() bool { return true }

func (d *inline) StartReadV(bufs [][]byte, off int64, end Ended) bool {
	d.list = append(d.list, transfer{false, nil, off, end})
	return d.ReadV(bufs, off) == nil
}

func (d *inline) StartWriteV([][]byte, int64, Ended) bool { return false }

func (d *inline) Submit() {
	for _, t := range d.list {
		t.end.Ended(nil)
	}
	clear(d.list)
	d.list = d.list[:0]
}

// TestStartedRequestsDoNotAllocate reads without garbage.
func TestStartedRequestsDoNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: &inline{ram: newRAM(1 << 20)}}}})
	c := dial(t, path)
	c.choose("a", true)
	var out []byte
	for i := range uint64(32) {
		out = appendRequest(out, nbdproto.CmdRead, i, ramBlock)
	}
	in := make([]byte, 32*(nbdproto.ChunkHeaderSize+8+ramBlock))
	n := testing.AllocsPerRun(200, func() {
		if _, err := c.nc.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.nc, in); err != nil {
			t.Fatal(err)
		}
	})
	if n > 4 { // of 32 requests; pools may lose a buffer to the collector
		t.Errorf("%v allocations in 32 requests", n)
	}
}

// TestStartedWritesBecomeDurable writes with FUA to a device that starts what it is
// asked for: a reply comes after a flush that began after the write.
func TestStartedWritesBecomeDurable(t *testing.T) {
	const n = 64
	d := &starting{ram: newRAM(n * ramBlock)}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	var out []byte
	for i := range uint64(n) {
		h := appendRequest(nil, nbdproto.CmdWrite, i, ramBlock)
		binary.BigEndian.PutUint16(h[4:], nbdproto.CmdFlagFUA)
		out = append(append(out, h...), bytes.Repeat([]byte{byte(i + 1)}, ramBlock)...)
	}
	go func() { _, _ = c.nc.Write(out) }()
	for range n {
		h := c.get(nbdproto.SimpleReplySize)
		i := binary.BigEndian.Uint64(h[8:])
		if binary.BigEndian.Uint32(h[4:]) != 0 || !d.holds(int(i)) || d.flushes.Load() == 0 {
			t.Fatalf("reply %x", h)
		}
	}
	if d.started() < n/2 || d.flushes.Load() < n/2 { // each asks; the device could join them
		t.Errorf("%d of %d writes were started, %d flushes", d.started(), n, d.flushes.Load())
	}
	d.fail.Store(true)
	c.put(out[:2*(nbdproto.RequestSize+ramBlock)])
	for range 2 {
		h := c.get(nbdproto.ChunkHeaderSize)
		if binary.BigEndian.Uint16(h[6:]) != nbdproto.ChunkError {
			t.Errorf("reply %x to a write that failed", h)
		}
		c.get(int(binary.BigEndian.Uint32(h[16:])))
	}
}

// TestStartedReadsSendNoHoles reads 64 KiB at a time, many at once: what is data is
// started, and holes are still said to be such.
func TestStartedReadsSendNoHoles(t *testing.T) {
	const size = 64 << 10
	d := &starting{ram: newRAM(16 * size)}
	for i := range 16 {
		if i%2 == 0 {
			if err := d.WriteV([][]byte{bytes.Repeat([]byte{byte(i + 1)}, size)}, int64(i*size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d, Contexts: d.contexts()}}})
	c := dial(t, path)
	c.choose("a", true)
	var out []byte
	for i := range uint64(16) {
		h := appendRequest(nil, nbdproto.CmdRead, i, size)
		binary.BigEndian.PutUint64(h[16:], i*size)
		out = append(out, h...)
	}
	c.put(out)
	be := binary.BigEndian
	for range 16 {
		h := c.get(nbdproto.ChunkHeaderSize)
		i, kind := be.Uint64(h[8:]), be.Uint16(h[6:])
		body := c.get(int(be.Uint32(h[16:])))
		if hole := kind == nbdproto.ChunkOffsetHole; hole != (i%2 == 1) {
			t.Errorf("block %d: chunk %d", i, kind)
		} else if !hole && !bytes.Equal(body[8:], bytes.Repeat([]byte{byte(i + 1)}, size)) {
			t.Errorf("block %d: others", i)
		}
	}
	if d.started() == 0 {
		t.Error("nothing was started")
	}
}
