package nbd

import (
	"encoding/binary"
	"sync"
	"syscall"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
)

// parting is a device that starts writes, and tells of each.
type parting struct {
	*ram
	begun   chan int64 // offsets of the writes that were started
	refuses int64      // offset of what is not started
	fails   int64      // offset of what fails
	mu      sync.Mutex
	list    []transfer // guarded by mu: what was started
	flushed [][]int64  // guarded by mu: the offsets that had ended at each flush
	ended   []int64    // guarded by mu
}

func newParting(size int) *parting {
	return &parting{ram: newRAM(size), begun: make(chan int64, 1000), refuses: -1, fails: -1}
}

func (d *parting) Starts() bool                           { return true }
func (d *parting) StartReadV([][]byte, int64, Ended) bool { return false }

func (d *parting) StartWriteV(bufs [][]byte, off int64, end Ended) bool {
	if off == d.refuses {
		return false
	}
	d.mu.Lock()
	d.list = append(d.list, transfer{true, cloned(bufs), off, end})
	d.mu.Unlock()
	d.begun <- off
	return true
}

// Submit carries out what was started, the last first.
func (d *parting) Submit() {
	d.mu.Lock()
	list := d.list
	d.list = nil
	d.mu.Unlock()
	go func() {
		for i := len(list) - 1; i >= 0; i-- {
			t := list[i]
			err := d.WriteV(t.bufs, t.off)
			if t.off == d.fails {
				err = syscall.EIO
			}
			d.mu.Lock()
			d.ended = append(d.ended, t.off)
			d.mu.Unlock()
			t.end.Ended(err)
		}
	}()
}

func (d *parting) Flush() error {
	d.mu.Lock()
	d.flushed = append(d.flushed, append([]int64(nil), d.ended...))
	d.mu.Unlock()
	return d.ram.Flush()
}

// writeHeader is a request to write n bytes at off, with that as its cookie.
func writeHeader(flags uint16, off int64, n int) []byte {
	be := binary.BigEndian
	b := be.AppendUint16(be.AppendUint32(nil, nbdproto.MagicRequest), flags)
	b = be.AppendUint64(be.AppendUint16(b, uint16(nbdproto.CmdWrite)), uint64(off))
	return be.AppendUint32(be.AppendUint64(b, uint64(off)), uint32(n))
}

// noise is n bytes that differ from block to block.
func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>12*7 + i)
	}
	return b
}

// TestLongWriteBeginsBeforeItsEndArrives sends half of a WRITE: the disk has it before the
// client sends the rest.
func TestLongWriteBeginsBeforeItsEndArrives(t *testing.T) {
	d := newParting(2 << 20)
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	data := noise(1 << 20)
	c.put(writeHeader(0, 4096, len(data)), data[:len(data)/2])
	for n := range len(data) / 2 / partSize {
		if off := <-d.begun; off != 4096+int64(n*partSize) {
			t.Errorf("part %d at %d", n, off)
		}
	}
	c.put(data[len(data)/2:])
	if code := c.simple(4096); code != 0 {
		t.Error(code)
	}
	if !d.has(4096, data) {
		t.Error("other data")
	}
}

// TestPartOfAWriteFails answers a WRITE once, with the error of a part of it.
func TestPartOfAWriteFails(t *testing.T) {
	d := newParting(2 << 20)
	d.fails = partSize
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	data := noise(512 << 10)
	c.put(writeHeader(0, 0, len(data)), data)
	if code := c.simple(0); code != nbdproto.ErrnoIO {
		t.Error(code)
	}
	c.put(writeHeader(0, 1<<20, len(data)), data)
	if code := c.simple(1 << 20); code != 0 {
		t.Error(code)
	}
}

// TestPartThatIsNotStarted writes what the device does not start of a WRITE, whichever part
// is the first of that.
func TestPartThatIsNotStarted(t *testing.T) {
	data := noise(1<<20 - 512)
	for at := int64(0); at < int64(len(data)); at += partSize {
		d := newParting(1 << 20)
		d.refuses = at
		path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
		c := dial(t, path)
		c.choose("a", true)
		c.put(writeHeader(0, 0, len(data)), data)
		if code := c.simple(0); code != 0 {
			t.Error(code)
		}
		if !d.has(0, data) {
			t.Errorf("not started at %d: other data", at)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestFUAWaitsForAllParts makes a WRITE durable after its last part.
func TestFUAWaitsForAllParts(t *testing.T) {
	d := newParting(1 << 20)
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	data := noise(1 << 20)
	c.put(writeHeader(nbdproto.CmdFlagFUA, 0, len(data)), data)
	if code := c.simple(0); code != 0 {
		t.Error(code)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.flushed) != 1 || len(d.flushed[0]) != len(data)/partSize {
		t.Errorf("parts that had ended at flushes: %v", d.flushed)
	}
}

// TestClientLeavesInAWrite has a client go away in the middle of a WRITE, parts of which
// were started: the server ends, and all memory is back.
func TestClientLeavesInAWrite(t *testing.T) {
	d := newParting(64 << 20)
	s := &Server{Exports: []Export{{Name: "a", Device: d}}}
	path, stop := start(t, s)
	for range 2 * connectionBudget >> 20 {
		c := dial(t, path)
		c.choose("a", true)
		c.put(writeHeader(0, 0, 1<<20), make([]byte, 3*partSize+1))
		<-d.begun
		c.nc.Close()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestManyLongWrites sends more of them at once than a connection may have in memory.
func TestManyLongWrites(t *testing.T) {
	const count, size = 24, 640 << 10
	d := newParting(count * size)
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", true)
	data := noise(count * size)
	go func() {
		for at := 0; at < len(data); at += size {
			_, _ = c.nc.Write(append(writeHeader(0, int64(at), size), data[at:at+size]...))
		}
	}()
	for range count {
		if h := c.get(nbdproto.SimpleReplySize); binary.BigEndian.Uint32(h[4:]) != 0 {
			t.Fatalf("%x", h)
		}
	}
	if !d.has(0, data) {
		t.Error("other data")
	}
}
