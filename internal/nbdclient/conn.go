package nbdclient

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/govmm/govmm/internal/nbdproto"
)

// maxErrorChunk is how many bytes a chunk with an error may have.
const maxErrorChunk = 8 << 10

// request is one request, while it is under way.
type request struct {
	cmd   uint16
	flags uint16
	off   int64
	n     uint32
	data  [][]byte // of WRITE, or what READ fills

	// Of BLOCK_STATUS: the first extent.
	extent      uint32
	extentFlags uint32

	filled int64 // bytes of READ that have come
	err    error // the server's
	done   chan struct{}
}

// conn is a connection in the transmission phase.
type conn struct {
	export
	nc net.Conn
	r  *bufio.Reader

	send sync.Mutex // one request at a time is written

	mu      sync.Mutex
	waiting map[uint64]*request // by cookie; guarded by mu, with all below
	cookie  uint64
	lost    error // the connection is over
}

// errLost means that a request has no answer, since the connection ended.
var errLost = errors.New("connection to the NBD server lost")

// connect connects once.
func connect(t *Target) (*conn, error) {
	nc, err := t.dial()
	if err != nil {
		return nil, err
	}
	h := handshake{nc: nc, r: bufio.NewReaderSize(nc, 64<<10)}
	e, err := h.negotiate(t)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	c := &conn{export: e, nc: h.nc, r: h.r, waiting: make(map[uint64]*request)}
	go c.receive()
	return c, nil
}

// dial connects to the server.
func (t *Target) dial() (net.Conn, error) {
	if t.Network == "unix" {
		if err := CheckSocketPath(t.Address); err != nil {
			return nil, err
		}
	}
	address, err := t.Address, error(nil)
	switch {
	case t.Network != "unix":
		address, err = resolvePort(address)
	case address == "":
		err = syscall.ECONNREFUSED // as the kernel says; Go would bind such a socket to a name of its own
	}
	if err != nil {
		return nil, &ConnectError{t.Address, err}
	}
	nc, err := net.Dial(t.Network, address)
	if err != nil {
		return nil, &ConnectError{t.Address, err}
	}
	return nc, nil
}

// resolvePort puts the number of the port into HOST:PORT, as the C library has it: that of a
// service, or what 16 bits hold of a number.
func resolvePort(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil { // the port has colons
		return "", errService
	}
	if host == "" {
		return "", &net.DNSError{IsNotFound: true}
	}
	n, err := strconv.ParseUint(port, 10, 64)
	if err != nil {
		service, err := net.LookupPort("tcp", port)
		if err != nil {
			return "", errService
		}
		n = uint64(service)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(uint16(n)))), nil
}

// errService is that a port is no number and no service.
var errService = errors.New("unknown service")

// MaxSocketPath is the longest path of a Unix socket, in bytes, without the zero behind it
// (sun_path of unix(7)).
const MaxSocketPath = 107

// CheckSocketPath refuses a path that is too long for a Unix socket, in QEMU's words.
func CheckSocketPath(path string) error {
	if len(path) > MaxSocketPath {
		return fmt.Errorf("UNIX socket path '%s' is too long\nPath must be less than %d bytes", path, MaxSocketPath+1)
	}
	return nil
}

// ConnectError is that there is no server, in QEMU's words.
type ConnectError struct {
	address string
	err     error
}

func (e *ConnectError) Error() string {
	var no syscall.Errno
	var name *net.DNSError
	if errors.As(e.err, &name) && name.IsNotFound {
		return fmt.Sprintf("address resolution failed for %s: Name or service not known", plainAddress(e.address))
	}
	if errors.Is(e.err, errService) {
		return fmt.Sprintf("address resolution failed for %s: Servname not supported for ai_socktype", plainAddress(e.address))
	}
	if errors.As(e.err, &no) {
		text := no.Error()
		return fmt.Sprintf("Failed to connect to '%s': %c%s", plainAddress(e.address), text[0]-'a'+'A', text[1:])
	}
	return fmt.Sprintf("Failed to connect to '%s': %v", plainAddress(e.address), e.err)
}

func (e *ConnectError) Unwrap() error { return e.err }

// perform sends a request and waits for its answer.
func (c *conn) perform(r *request) error {
	r.done, r.err, r.filled = make(chan struct{}), nil, 0
	c.mu.Lock()
	if c.lost != nil {
		c.mu.Unlock()
		return errLost
	}
	c.cookie++
	cookie := c.cookie
	c.waiting[cookie] = r
	c.mu.Unlock()
	header := be.AppendUint32(make([]byte, 0, 28), nbdproto.MagicRequest)
	header = be.AppendUint16(header, r.flags)
	header = be.AppendUint16(header, r.cmd)
	header = be.AppendUint64(header, cookie)
	header = be.AppendUint64(header, uint64(r.off))
	header = be.AppendUint32(header, r.n)
	bufs := net.Buffers{header}
	if r.cmd == nbdproto.CmdWrite {
		bufs = append(bufs, r.data...)
	}
	c.send.Lock()
	_, err := bufs.WriteTo(c.nc)
	c.send.Unlock()
	if err != nil {
		c.end(err)
	}
	<-r.done
	return r.err
}

// end gives the connection up: nothing that was asked will be answered.
func (c *conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost == nil {
		c.lost = err
		_ = c.nc.Close()
	}
}

// receive hands out replies until the connection ends.
func (c *conn) receive() {
	err := error(nil)
	for err == nil {
		err = c.reply()
	}
	c.end(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	for cookie, r := range c.waiting {
		delete(c.waiting, cookie)
		r.err = errLost
		close(r.done)
	}
}

// find returns the request with a cookie. It is c.receive's until it is finished.
func (c *conn) find(cookie uint64) (*request, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.waiting[cookie]
	if r == nil {
		return nil, fmt.Errorf("reply to no request: %d", cookie)
	}
	return r, nil
}

func (c *conn) finish(cookie uint64, r *request) {
	c.mu.Lock()
	delete(c.waiting, cookie)
	c.mu.Unlock()
	close(r.done)
}

// reply receives one reply, or one part of a structured one.
func (c *conn) reply() error {
	var h [20]byte
	if _, err := io.ReadFull(c.r, h[:16]); err != nil {
		return err
	}
	cookie := be.Uint64(h[8:])
	r, err := c.find(cookie)
	if err != nil {
		return err
	}
	switch be.Uint32(h[:]) {
	case nbdproto.MagicSimpleReply:
		code := be.Uint32(h[4:])
		if c.structured && r.cmd == nbdproto.CmdRead && code == 0 {
			return errors.New("simple reply to a READ")
		}
		if r.err = serverError(code); r.err == nil && r.cmd == nbdproto.CmdRead {
			if err := fill(c.r, r.data, 0, int64(r.n)); err != nil {
				return err
			}
			r.filled = int64(r.n)
		}
		c.finish(cookie, r)
		return nil
	case nbdproto.MagicStructuredReply:
		if !c.structured {
			return errors.New("structured reply that nobody asked for")
		}
	default:
		return fmt.Errorf("invalid magic (got 0x%x)", be.Uint32(h[:]))
	}
	if _, err := io.ReadFull(c.r, h[16:]); err != nil {
		return err
	}
	if err := c.chunk(r, be.Uint16(h[6:]), be.Uint32(h[16:])); err != nil {
		return err
	}
	if be.Uint16(h[4:])&nbdproto.ChunkFlagDone == 0 {
		return nil
	}
	if r.err == nil && r.cmd == nbdproto.CmdRead && r.filled != int64(r.n) {
		return fmt.Errorf("READ of %d bytes was answered with %d", r.n, r.filled)
	}
	c.finish(cookie, r)
	return nil
}

// chunk receives the payload of a part of a structured reply.
func (c *conn) chunk(r *request, kind uint16, n uint32) error {
	switch {
	case kind == nbdproto.ChunkNone && n == 0:
		return nil
	case kind == nbdproto.ChunkOffsetData && r.cmd == nbdproto.CmdRead && n > 8:
		at, err := c.place(r, int64(n-8))
		if err != nil {
			return err
		}
		return fill(c.r, r.data, at, int64(n-8))
	case kind == nbdproto.ChunkOffsetHole && r.cmd == nbdproto.CmdRead && n == 12:
		var b [12]byte
		if _, err := io.ReadFull(c.r, b[:]); err != nil {
			return err
		}
		at, err := within(r, int64(be.Uint64(b[:])), int64(be.Uint32(b[8:])))
		if err != nil {
			return err
		}
		return fill(zeroes{}, r.data, at, int64(be.Uint32(b[8:])))
	case kind == nbdproto.ChunkBlockStatus && r.cmd == nbdproto.CmdBlockStatus && n >= 12 && n%8 == 4:
		var b [12]byte
		if _, err := io.ReadFull(c.r, b[:]); err != nil {
			return err
		}
		if be.Uint32(b[:]) != c.context || be.Uint32(b[4:]) == 0 {
			return errors.New("status of another context, or of nothing")
		}
		r.extent, r.extentFlags = be.Uint32(b[4:]), be.Uint32(b[8:])
		_, err := c.r.Discard(int(n - 12))
		return err
	case kind&nbdproto.ChunkErrorBit != 0 && n >= 6 && n <= maxErrorChunk:
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r, b); err != nil {
			return err
		}
		if code := be.Uint32(b); r.err == nil {
			if r.err = serverError(code); r.err == nil {
				return errors.New("error chunk without an error")
			}
		}
		return nil
	}
	return fmt.Errorf("unexpected chunk: type %d, %d bytes", kind, n)
}

// place receives the offset of n bytes of a READ, and returns where they go.
func (c *conn) place(r *request, n int64) (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(c.r, b[:]); err != nil {
		return 0, err
	}
	return within(r, int64(be.Uint64(b[:])), n)
}

// within returns where in a READ n bytes at off of the export go. More of them than
// were asked for are refused.
func within(r *request, off, n int64) (int64, error) {
	at := off - r.off
	if at < 0 || n <= 0 || at > int64(r.n)-n || r.filled > int64(r.n)-n {
		return 0, fmt.Errorf("%d bytes at %d in the answer to a READ of %d at %d", n, off, r.n, r.off)
	}
	r.filled += n
	return at, nil
}

// zeroes reads as zeroes without end.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// fill reads n bytes into bufs, from byte at of them on.
func fill(r io.Reader, bufs [][]byte, at, n int64) error {
	for _, b := range bufs {
		size := int64(len(b))
		if at >= size {
			at -= size
			continue
		}
		part := b[at:min(size, at+n)]
		if _, err := io.ReadFull(r, part); err != nil {
			return err
		}
		at, n = 0, n-int64(len(part))
		if n == 0 {
			break
		}
	}
	return nil
}

// serverError is the error with a number of the protocol, which are Linux's.
func serverError(code uint32) error {
	switch no := syscall.Errno(code); no {
	case 0:
		return nil
	case syscall.EPERM, syscall.EIO, syscall.ENOMEM, syscall.ENOSPC, syscall.EOVERFLOW, syscall.ENOTSUP, syscall.ESHUTDOWN:
		return no
	}
	return syscall.EINVAL
}

// disconnect ends the connection in the way of the protocol.
func (c *conn) disconnect() {
	header := be.AppendUint32(make([]byte, 0, 28), nbdproto.MagicRequest)
	header = be.AppendUint32(header, nbdproto.CmdDisconnect)
	header = append(header, make([]byte, 20)...)
	_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	c.send.Lock()
	_, _ = c.nc.Write(header)
	c.send.Unlock()
	c.end(net.ErrClosed)
}
