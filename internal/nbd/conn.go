package nbd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/internal/nbdproto"
)

const (
	receiveBuffer = 64 << 10
	maxWorkers    = 32
	// pieceSize is how much of a payload is in memory at a time.
	pieceSize = 1 << 20
	// handshakeTime is how long a client may take to choose an export.
	handshakeTime = 30 * time.Second
	// farewellTime is how long a client may take to accept the last replies.
	farewellTime = 30 * time.Second
	// quick is what a request may take, judging by those before it, to be carried
	// out before the next is looked at: about what waking another goroutine costs.
	quick = 20 * time.Microsecond
	// bearable is what a request may take at most that is carried out so for a client
	// that was not seen to send more than one at a time.
	bearable = time.Millisecond
	// lonely is how many requests in a row show that a client is such a one.
	lonely = 16
	// smallRequest is up to what length requests of a kind are thought to take alike.
	smallRequest = 64 << 10
	// measureOneIn is which part of quick requests is measured.
	measureOneIn = 8
)

// conn is a connection with a client.
type conn struct {
	srv *Server
	raw net.Conn      // the socket, under TLS or not
	in  *bufio.Reader // guarded by recv after the handshake

	// Set by the handshake, and not changed after it.
	nc         net.Conn
	secure     bool
	noZeroes   bool
	structured bool
	export     *Export
	contexts   []selection
	contextsOf *Export
	starter    Starter // the export's device, if it starts anything

	recv    sync.Mutex
	over    error                  // why no request will be received any more; guarded by recv
	ended   atomic.Bool            // the server is ending
	pace    [commands]atomic.Int64 // moving mean of what a small request takes, in nanoseconds
	bulk    bool                   // the last request was a WRITE that is drained; guarded by recv, with header
	header  [nbdproto.RequestSize]byte
	headed  int           // bytes of header that were received ahead; guarded by recv
	vain    int           // looks for the next header that found none, in a row; guarded by recv
	taken   atomic.Uint64 // requests that were received; changes with recv held
	alone   atomic.Int32  // of the last requests handed over, how many had no company
	waiting atomic.Int32  // workers that wait for recv
	workers atomic.Int32
	crew    sync.WaitGroup // workers, and requests underway

	underway atomic.Int64  // requests that were started, for which no worker waits
	sending  chan struct{} // closed when their sender has ended; nil: there is none yet
	budget   budget

	out      sender
	conduits conduits
	sip      sip // guarded by recv
}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{srv: s, raw: nc, nc: nc, in: bufio.NewReaderSize(nc, receiveBuffer)}
}

// selection is a metadata context that the client selected.
type selection struct {
	id      uint32
	context *Context
}

// stop makes the connection receive no more.
func (c *conn) stop() {
	c.ended.Store(true)
	_ = c.raw.SetReadDeadline(time.Unix(1, 0))
	_ = c.raw.SetWriteDeadline(time.Now().Add(farewellTime))
}

// allow gives the client so much time for what follows; 0 is for ever.
func (c *conn) allow(d time.Duration) {
	var until time.Time
	if d > 0 {
		until = time.Now().Add(d)
	}
	_ = c.raw.SetDeadline(until)
	if c.ended.Load() {
		c.stop()
	}
}

// serve talks to the client until one of the two ends it.
func (c *conn) serve() {
	log := c.srv.log().With("client", c.nc.RemoteAddr().String())
	defer func() { _ = c.raw.Close() }()
	c.allow(handshakeTime)
	switch err := c.handshake(); {
	case errors.Is(err, errAborted): // it has looked at what there is
		log.Debug("client goes without an export")
		return
	case err != nil:
		log.Info("no export was chosen", "error", err)
		return
	}
	c.allow(0)
	log.Debug("client comes", "export", c.export.Name)
	c.out.nc, c.out.changed.L, c.out.posted.L = c.nc, &c.out.mu, &c.out.mu
	if s, ok := c.export.Device.(Starter); ok && s.Starts() {
		c.starter = s
		if !c.secure {
			c.out.poller = newPoller()
		}
	}
	c.out.mover.open(c.raw)
	c.out.pipe = newPipe(c)
	c.conduits.open(c)
	c.budget.pool, c.budget.left = &c.srv.buffers, connectionBudget
	c.hire()
	c.crew.Wait()
	if c.sending != nil {
		c.out.end()
		<-c.sending
	}
	if c.out.poller != nil {
		c.out.poller.close()
	}
	if c.out.pipe != nil {
		c.out.pipe.finish()
	}
	c.conduits.close()
	if c.secure {
		_ = c.nc.Close() // says goodbye before the socket closes
	}
	switch err := c.over; {
	case err == nil, errors.Is(err, io.EOF), c.ended.Load() && errors.Is(err, os.ErrDeadlineExceeded):
		log.Debug("client goes")
	default:
		log.Info("connection ends", "error", err)
	}
}

// hire starts one more worker if there is room for it.
func (c *conn) hire() {
	if c.workers.Add(1) > maxWorkers {
		c.workers.Add(-1)
		return
	}
	c.crew.Go(c.work)
}

// work carries out requests until there are no more.
func (c *conn) work() {
	w := worker{c: c}
	for !w.done {
		c.waiting.Add(1)
		c.recv.Lock()
		c.waiting.Add(-1)
		w.holds = true
		for w.holds {
			if !w.next() {
				w.pass()
			}
		}
		w.flush()
		c.out.settle()
		if c.taken.Load() == w.taken {
			c.alone.Add(1)
		} else {
			c.alone.Store(0)
		}
	}
}

// worker is one goroutine that carries out requests of a connection.
type worker struct {
	c       *conn
	holds   bool   // the receive lock
	taken   uint64 // of the connection, when the lock was passed on
	done    bool
	replies []reply
	vec     [1][]byte // of the request to the device

	unsubmitted bool // something was started, and not handed to the device
	lent        bool // of the replies, some are in the pipe in part
}

// pass gives the receive lock to somebody else, and makes sure that there is
// somebody.
func (w *worker) pass() {
	if !w.holds {
		return
	}
	w.holds, w.taken = false, w.c.taken.Load()
	w.c.out.owe()
	ended := w.done
	w.c.recv.Unlock()
	if !ended && w.c.waiting.Load() == 0 {
		w.c.hire()
	}
}

// next receives one request and carries it out. The lock may have been passed on
// when it returns; the result is false if nothing more will come.
func (w *worker) next() bool {
	c := w.c
	if c.over != nil || w.done {
		w.done = true
		return false
	}
	if (len(w.replies) > 0 || w.unsubmitted) && (len(w.replies) >= c.mostCollected() || !c.hasHeader()) {
		w.flush()
	}
	rq, err := c.receive()
	if err != nil {
		c.over = err
		w.done = true
		return false
	}
	c.taken.Add(1)
	w.carryOut(rq)
	return true
}

// hasHeader reports whether the header of the next request is there already.
// Preconditions: recv is held.
func (c *conn) hasHeader() bool {
	if !c.bulk || c.in.Buffered() > 0 {
		return c.in.Buffered() >= nbdproto.RequestSize
	}
	if c.vain >= looksInVain && c.taken.Load()%lookOneIn != 0 {
		return false
	}
	c.headed += c.sip.tryRead(c.out.mover.sock, c.header[c.headed:])
	if c.headed < nbdproto.RequestSize {
		c.vain = min(c.vain+1, looksInVain)
		return false
	}
	c.vain = 0
	return true
}

// After how many looks in vain for the header of a WRITE one is made before only so many
// requests: the client sends one at a time.
const (
	looksInVain = 4
	lookOneIn   = 8
)

const (
	// maxCollected is how many replies a worker keeps back while more requests are
	// there already, and maxBulk that when they are WRITEs that are drained: a client has
	// few of those in its socket, and needs replies to send more.
	maxCollected = 32
	maxBulk      = 4
)

// mostCollected is which of the two it is. Preconditions: recv is held.
func (c *conn) mostCollected() int {
	if c.bulk {
		return maxBulk
	}
	return maxCollected
}

// request is a request as it came.
type request struct {
	flags  uint16
	cmd    command
	cookie uint64
	off    uint64
	length uint32
}

// receive reads the header of a request, and behind another WRITE that was drained nothing
// else, so that a conduit can have the payload. Preconditions: recv is held.
func (c *conn) receive() (request, error) {
	if c.bulk && c.in.Buffered() == 0 {
		_, err := io.ReadFull(c.nc, c.header[c.headed:])
		if c.headed > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		c.headed = 0
		if err != nil {
			return request{}, err
		}
		return parseRequest(c.header[:])
	}
	h, err := c.in.Peek(nbdproto.RequestSize)
	if err != nil {
		if len(h) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return request{}, err
	}
	rq, err := parseRequest(h)
	_, _ = c.in.Discard(nbdproto.RequestSize) // it has as many
	return rq, err
}

// parseRequest decodes a header. The request to disconnect is io.EOF.
func parseRequest(h []byte) (request, error) {
	be := binary.BigEndian
	if m := be.Uint32(h); m != nbdproto.MagicRequest {
		return request{}, fmt.Errorf("%w: request magic %#x", errProtocol, m)
	}
	rq := request{
		flags:  be.Uint16(h[4:]),
		cmd:    command(be.Uint16(h[6:])),
		cookie: be.Uint64(h[8:]),
		off:    be.Uint64(h[16:]),
		length: be.Uint32(h[24:]),
	}
	if rq.cmd == nbdproto.CmdDisconnect {
		return rq, io.EOF
	}
	return rq, nil
}

// slow reports whether a request, all of which was received, is to be carried out
// without the receive lock: because it may take long, and the client may have sent
// more. Preconditions: recv is held.
func (c *conn) slow(rq *request) bool {
	if c.in.Buffered() > 0 {
		c.alone.Store(0)
	}
	if rq.length > smallRequest || rq.flags&nbdproto.CmdFlagFUA != 0 || rq.cmd == nbdproto.CmdFlush {
		return true
	}
	pace := time.Duration(c.pace[rq.cmd].Load())
	return pace > bearable || pace > quick && c.alone.Load() < lonely
}

// stopwatch is when a request was begun; zero if it is not measured.
type stopwatch struct{ begun time.Time }

// watch begins to measure a request if its kind is not known to be quick, and one in
// measureOneIn if it is: looking at the clock twice is a part of what such a request takes.
func (c *conn) watch(rq *request) stopwatch {
	pace := c.pace[rq.cmd].Load()
	known := pace > 0 && pace < int64(quick)/2
	if rq.length > smallRequest || known && c.taken.Load()%measureOneIn != 0 {
		return stopwatch{}
	}
	return stopwatch{time.Now()}
}

// learn enters what a request took, if it was measured, into the pace of its kind.
func (c *conn) learn(cmd command, s stopwatch) {
	if s.begun.IsZero() {
		return
	}
	mean := c.pace[cmd].Load()
	c.pace[cmd].Store(mean + (int64(time.Since(s.begun))-mean)/4)
}
