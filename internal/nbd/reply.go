package nbd

import (
	"encoding/binary"
	"net"
	"runtime"
	"sync"

	"github.com/govmm/govmm/internal/nbdproto"
)

// reply is a reply or a chunk of one on its way out.
type reply struct {
	head    [nbdproto.ChunkHeaderSize + 8]byte
	n       int    // bytes of head
	tail    []byte // of chunks with short payloads
	payload *buffer
	lent    int64    // bytes of payload that are in a pipe
	conduit *conduit // which it is; nil: the connection's
	pages   int      // that they take there
	held    Held     // what they are from
}

func simpleReply(cookie uint64, code uint32) reply {
	r := reply{n: nbdproto.SimpleReplySize}
	be := binary.BigEndian
	be.PutUint32(r.head[:], nbdproto.MagicSimpleReply)
	be.PutUint32(r.head[4:], code)
	be.PutUint64(r.head[8:], cookie)
	return r
}

// chunk is the header of a structured reply chunk with length bytes behind it.
func chunk(cookie uint64, kind uint16, length int, last bool) reply {
	r := reply{n: nbdproto.ChunkHeaderSize}
	be := binary.BigEndian
	be.PutUint32(r.head[:], nbdproto.MagicStructuredReply)
	if last {
		be.PutUint16(r.head[4:], nbdproto.ChunkFlagDone)
	}
	be.PutUint16(r.head[6:], kind)
	be.PutUint64(r.head[8:], cookie)
	be.PutUint32(r.head[16:], uint32(length))
	return r
}

func doneChunk(cookie uint64) reply { return chunk(cookie, nbdproto.ChunkNone, 0, true) }

func dataChunk(cookie uint64, off int64, b *buffer, last bool) reply {
	r := dataChunkHeader(cookie, off, len(b.mem), last)
	r.payload = b
	return r
}

func dataChunkHeader(cookie uint64, off int64, n int, last bool) reply {
	r := chunk(cookie, nbdproto.ChunkOffsetData, 8+n, last)
	binary.BigEndian.PutUint64(r.head[r.n:], uint64(off))
	r.n += 8
	return r
}

func holeChunk(cookie uint64, off, n int64, last bool) reply {
	r := chunk(cookie, nbdproto.ChunkOffsetHole, 12, last)
	binary.BigEndian.PutUint64(r.head[r.n:], uint64(off))
	r.n += 8
	r.tail = binary.BigEndian.AppendUint32(nil, uint32(n))
	return r
}

func errorChunk(cookie uint64, code uint32, text string) reply {
	text = text[:min(len(text), maxName)]
	r := chunk(cookie, nbdproto.ChunkError, 6+len(text), true)
	r.tail = binary.BigEndian.AppendUint32(nil, code)
	r.tail = binary.BigEndian.AppendUint16(r.tail, uint16(len(text)))
	r.tail = append(r.tail, text...)
	return r
}

// add collects a reply.
func (w *worker) add(r reply) { w.replies = append(w.replies, r) }

// flush hands on what was collected: to the device what was started, to the client
// replies.
func (w *worker) flush() {
	w.submit()
	if len(w.replies) > 0 {
		w.c.out.send(w, w.replies)
		clear(w.replies)
		w.replies, w.lent = w.replies[:0], false
	}
}

// sender writes replies to the stream. Whoever finds nobody writing writes for
// all who come meanwhile.
type sender struct {
	nc net.Conn

	mu      sync.Mutex
	changed sync.Cond // queued or owing became less; its lock is mu
	posted  sync.Cond // somebody is to send, or the end came; its lock is mu
	pending []reply   // guarded by mu, with all below
	queued  int       // bytes of pending, without the payloads that the budget bounds
	owing   int       // requests underway, and workers that carry one out without the receive lock
	spare   []reply
	writing bool
	ended   bool // no replies will be posted any more
	err     error

	vec  net.Buffers // of the one who is writing
	rest net.Buffers // of vec
	flat []byte

	mover  mover   // of the one who is writing
	poller *poller // of the same; nil: no requests are started
	pipe   *pipe   // payloads that are not copied; nil: there are none
	lent   int     // pages of the pipe that are in use; guarded by mu
}

// maxQueued is how many bytes of replies wait while others are being written. Who
// has more waits as well: a client that takes no replies is not served any further.
const maxQueued = 256 << 10

// send writes replies, or leaves them to the one who is writing. While others carry
// out requests it lets those go first who are ready to run: where several end
// together, their replies leave together.
func (s *sender) send(w *worker, replies []reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing && s.queued >= maxQueued {
		s.changed.Wait()
	}
	s.pending = append(s.pending, replies...)
	for i := range replies {
		s.queued += replies[i].n + len(replies[i].tail)
	}
	if s.writing {
		return
	}
	s.writing = true
	if s.owing > 1 || s.owing == 1 && w.holds {
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
	s.drain(w.c)
}

// post queues the reply of a request for which no worker waits, and that was owed.
// It does not wait.
func (s *sender) post(r reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, r)
	s.queued += r.n + len(r.tail)
	s.owing--
	s.changed.Broadcast()
	if !s.writing {
		s.posted.Signal()
	}
}

// run sends what is posted until the end.
func (s *sender) run(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !s.ended && (s.writing || len(s.pending) == 0) {
			s.posted.Wait()
		}
		if len(s.pending) == 0 {
			return
		}
		s.writing = true
		s.mu.Unlock()
		runtime.Gosched() // those that end together leave together
		s.mu.Lock()
		s.drain(c)
	}
}

// end makes run return once all was sent.
func (s *sender) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.posted.Signal()
}

// drain sends what is pending, also what comes meanwhile.
// Preconditions: mu is held, though not throughout; writing is set, and cleared at
// the end.
func (s *sender) drain(c *conn) {
	for len(s.pending) > 0 {
		out, err := s.pending, s.err
		s.pending, s.spare, s.queued = s.spare[:0], nil, 0
		s.changed.Broadcast()
		s.mu.Unlock()
		if err == nil {
			err = s.writeAll(c, out)
		}
		if s.pipe != nil {
			s.pipe.sent(out, err)
		}
		returned := 0
		for i := range out {
			c.budget.give(out[i].payload)
			if d := out[i].conduit; d != nil {
				c.conduits.give(d)
				c.budget.restore(out[i].lent)
			}
			returned += out[i].pages
		}
		clear(out)
		s.mu.Lock()
		if returned > 0 {
			s.lent -= returned
			s.changed.Broadcast()
		}
		s.spare = out[:0]
		if s.err == nil {
			s.err = err
		}
	}
	s.writing = false
	if s.pipe != nil {
		s.changed.Broadcast() // see takeRoom
	}
}

// owe announces replies of a worker that passes the receive lock on.
func (s *sender) owe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owing++
}

// oweUnlessFull is owe for a reply that will be posted. It reports false, and does
// nothing, if the client does not take those that there are.
func (s *sender) oweUnlessFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued >= maxQueued {
		return false
	}
	s.owing++
	return true
}

// settle says that they were sent, or given to the one who is writing.
func (s *sender) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owing--
	s.changed.Broadcast()
}

// lonely reports whether no more than one request is carried out.
func (s *sender) lonely() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owing <= 1
}

// settled waits until nobody owes a reply. Preconditions: the receive lock is held,
// so that nobody comes to owe one.
func (s *sender) settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.owing > 0 {
		s.changed.Wait()
	}
}

// fail makes the connection useless: the client's side of the stream can't be
// followed any more.
func (s *sender) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	_ = s.nc.Close()
}

// firstReplies are how many replies go by themselves, one part after the other, while the
// disk is idle.
var firstReplies = [...]int{4, 8, 8}

// writeAll puts replies on the stream. If all requests underway have ended at once, the disk
// has nothing to do until the client sends others: then it gets the first replies before the
// rest, and what it sends meanwhile is started first.
func (s *sender) writeAll(c *conn, out []reply) error {
	for i, n := range firstReplies {
		if s.poller == nil || len(out) < 2*n || c.underway.Load() > 0 {
			break
		}
		if err := s.write(c, out[:n]); err != nil {
			return err
		}
		if out = out[n:]; i > 0 { // the client has had time
			s.poller.look()
		}
	}
	return s.write(c, out)
}

// write puts replies on the stream: in one vectored write on a socket, in one
// record after the other under TLS.
func (s *sender) write(c *conn, out []reply) error {
	if c.secure {
		s.flat = s.flat[:0]
		for i := range out {
			r := &out[i]
			s.flat = append(append(s.flat, r.head[:r.n]...), r.tail...)
			if r.payload == nil {
				continue
			}
			s.flat = append(s.flat, r.payload.mem...)
			if len(s.flat) >= pieceSize {
				if _, err := s.nc.Write(s.flat); err != nil {
					return s.broken(err)
				}
				s.flat = s.flat[:0]
			}
		}
		if _, err := s.nc.Write(s.flat); err != nil {
			return s.broken(err)
		}
		return nil
	}
	s.vec = s.vec[:0]
	for i := range out {
		r := &out[i]
		s.vec = append(s.vec, r.head[:r.n])
		if len(r.tail) > 0 {
			s.vec = append(s.vec, r.tail)
		}
		if r.payload != nil {
			s.vec = append(s.vec, r.payload.mem)
		}
		if r.lent == 0 && i < len(out)-1 {
			continue
		}
		s.rest = s.vec // WriteTo consumes its receiver
		_, err := s.rest.WriteTo(s.nc)
		switch {
		case err != nil || r.lent == 0:
		case r.conduit != nil:
			err = s.mover.move(r.conduit.r, r.lent)
		default:
			err = s.mover.move(s.pipe.r, r.lent)
		}
		if err != nil {
			return s.broken(err)
		}
		s.vec = s.vec[:0]
	}
	return nil
}

// broken ends the receiving side, too, when the client takes no replies.
func (s *sender) broken(err error) error {
	_ = s.nc.Close()
	return err
}
