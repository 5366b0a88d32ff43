// Package mux carries any number of connections over one stream, between two
// processes of which one opens connections and the other accepts them.
//
// A frame is the number of a connection and a length, 32 bits each, little-endian,
// and that many bytes. A length of zero is the end of what is sent, one with the highest
// bit set opens the connection. There is no flow control: what comes for a connection whose
// reader is slow waits in memory up to a limit, beyond which that connection ends.
// So a slow one does not hold up the others.
//
// Everything may be called from any goroutine.
package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Role says what a Session does.
type Role bool

// Roles.
const (
	Opens   Role = false
	Accepts Role = true
)

const (
	headerSize = 8
	maxFrame   = 32 << 10
	openFrame  = 1 << 31 // in place of a length

	// maxWaiting bounds what waits for the reader of a connection, in bytes.
	maxWaiting = 4 << 20
	// maxAccepting bounds the connections that nobody has accepted yet.
	maxAccepting = 64
)

// ErrClosed means that the session or connection has ended.
var ErrClosed = errors.New("connection closed")

// Session is an end of the stream.
type Session struct {
	rw       io.ReadWriteCloser
	role     Role
	accepted chan *conn
	done     chan struct{} // closed when the stream ended

	writeMu sync.Mutex // held while a frame is written

	mu    sync.Mutex
	conns map[uint32]*conn // guarded by mu; nil once the session ended
	next  uint32           // guarded by mu: number of the next connection that is opened here
}

// New starts a session on a stream, which is the session's from then on.
func New(rw io.ReadWriteCloser, role Role) *Session {
	s := &Session{
		rw: rw, role: role, conns: make(map[uint32]*conn),
		accepted: make(chan *conn, maxAccepting), done: make(chan struct{}),
	}
	go s.read()
	return s
}

// Conn is a connection. Its other end reads what was written before CloseWrite or
// Close, and then io.EOF.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Open opens a connection.
func (s *Session) Open() (Conn, error) {
	s.mu.Lock()
	if s.conns == nil {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	c := s.newConn(s.next)
	s.next++
	s.mu.Unlock()
	if err := s.write(c.id, openFrame, nil); err != nil {
		s.forget(c.id)
		return nil, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return c, nil
}

// Accept waits for a connection that the other end has opened.
func (s *Session) Accept() (Conn, error) {
	select {
	case c := <-s.accepted:
		return c, nil
	case <-s.done:
		return nil, ErrClosed
	}
}

// Close ends the session and all connections.
func (s *Session) Close() error {
	err := s.rw.Close()
	s.end()
	return err
}

// newConn makes a connection.
//
// Preconditions: s.mu is held.
func (s *Session) newConn(id uint32) *conn {
	c := &conn{s: s, id: id}
	c.changed.L = &c.mu
	s.conns[id] = c
	return c
}

// read takes frames until the stream ends.
func (s *Session) read() {
	defer s.end()
	buf := make([]byte, maxFrame)
	for {
		if _, err := io.ReadFull(s.rw, buf[:headerSize]); err != nil {
			return
		}
		id, n := binary.LittleEndian.Uint32(buf), binary.LittleEndian.Uint32(buf[4:])
		if n == openFrame {
			s.accept(id)
			continue
		}
		if n > maxFrame {
			return
		}
		if _, err := io.ReadFull(s.rw, buf[:n]); err != nil {
			return
		}
		s.mu.Lock()
		c := s.conns[id]
		s.mu.Unlock()
		switch {
		case c == nil: // it was closed here
		case n == 0:
			c.end()
		case !c.receive(buf[:n]):
			go c.Close()
		}
	}
}

// accept makes a connection that the other end opens, if it may.
func (s *Session) accept(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.role != Accepts || s.conns == nil || s.conns[id] != nil {
		return
	}
	c := s.newConn(id)
	select {
	case s.accepted <- c:
	default:
		go c.Close()
	}
}

func (s *Session) forget(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, id)
}

// end ends all connections.
func (s *Session) end() {
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	if conns != nil {
		close(s.done)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.end()
	}
}

// write sends a frame whose second word is n.
func (s *Session) write(id, n uint32, p []byte) error {
	frame := make([]byte, headerSize, headerSize+len(p))
	binary.LittleEndian.PutUint32(frame, id)
	binary.LittleEndian.PutUint32(frame[4:], n)
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	_, err := s.rw.Write(append(frame, p...))
	return err
}

// conn is a connection.
type conn struct {
	s  *Session
	id uint32

	mu      sync.Mutex
	changed sync.Cond // on mu
	waiting []byte    // guarded by mu: received and not read
	ended   bool      // guarded by mu: nothing more is received
	closed  bool      // guarded by mu: nothing more is sent
}

// receive takes what came. It reports false if too much waits already.
func (c *conn) receive(p []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting)+len(p) > maxWaiting {
		return false
	}
	c.waiting = append(c.waiting, p...)
	c.changed.Broadcast()
	return true
}

// end is the end of what is received.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.changed.Broadcast()
}

func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) == 0 && !c.ended {
		c.changed.Wait()
	}
	if len(c.waiting) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.waiting)
	c.waiting = c.waiting[n:]
	if len(c.waiting) == 0 {
		c.waiting = nil // do not keep what a burst needed
	}
	return n, nil
}

func (c *conn) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		c.mu.Lock()
		closed := c.closed
		c.mu.Unlock()
		if closed {
			return n, ErrClosed
		}
		piece := p[:min(len(p), maxFrame)]
		if err := c.s.write(c.id, uint32(len(piece)), piece); err != nil {
			return n, fmt.Errorf("%w: %w", ErrClosed, err)
		}
		n += len(piece)
		p = p[len(piece):]
	}
	return n, nil
}

// CloseWrite ends what the other end receives, after what has been sent.
func (c *conn) CloseWrite() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if was {
		return nil
	}
	return c.s.write(c.id, 0, nil)
}

// Close is CloseWrite, and drops what is received from now on.
func (c *conn) Close() error {
	c.end()
	c.s.forget(c.id)
	return c.CloseWrite()
}
