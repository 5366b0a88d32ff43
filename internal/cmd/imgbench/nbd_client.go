package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/govmm/govmm/internal/nbdproto"
	"golang.org/x/sys/unix"
)

// nbdClient is a client that costs as little as it can beside the server that it
// measures: one thread and one socket, on which it waits in the kernel. It sends as
// many requests at once as it has got replies for, and looks at no data. Structured
// replies are negotiated, as all common clients do.
type nbdClient struct {
	fd   int
	size int64  // of the export
	in   []byte // what was received
	have []byte // the part of in that was not looked at
	out  []byte // headers of requests
	iov  [][]byte
	data []byte // what is written
}

// dialNBD connects to the default export behind a Unix socket.
func dialNBD(socket string) (*nbdClient, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &nbdClient{fd: fd, in: make([]byte, mib)}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	if err == nil {
		err = c.handshake()
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return c, nil
}

func (c *nbdClient) close() { unix.Close(c.fd) }

// fill receives until n bytes are there, and returns them.
func (c *nbdClient) fill(n int) ([]byte, error) {
	for len(c.have) < n {
		kept := copy(c.in, c.have)
		got, err := unix.Read(c.fd, c.in[kept:])
		switch {
		case errors.Is(err, unix.EINTR):
			got = 0
		case err != nil:
			return nil, err
		case got == 0:
			return nil, io.ErrUnexpectedEOF
		}
		c.have = c.in[:kept+got]
	}
	b := c.have[:n]
	c.have = c.have[n:]
	return b, nil
}

// drop receives n bytes that nobody wants.
func (c *nbdClient) drop(n int) error {
	for n > 0 {
		step := max(min(n, len(c.have)), 1)
		if _, err := c.fill(step); err != nil {
			return err
		}
		n -= step
	}
	return nil
}

// send sends all of c.iov.
func (c *nbdClient) send() error {
	iov := c.iov
	for len(iov) > 0 {
		n, err := unix.Writev(c.fd, iov[:min(len(iov), 1024)])
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for len(iov) > 0 && n >= len(iov[0]) {
			n -= len(iov[0])
			iov = iov[1:]
		}
		if len(iov) > 0 {
			iov[0] = iov[0][max(n, 0):]
		}
	}
	return nil
}

// handshake chooses the default export, with structured replies.
func (c *nbdClient) handshake() error {
	be := binary.BigEndian
	if _, err := c.fill(18); err != nil {
		return err
	}
	hello := be.AppendUint32(nil, nbdproto.HandshakeFixedNewstyle|nbdproto.HandshakeNoZeroes)
	for _, o := range []struct {
		code uint32
		data []byte
	}{{nbdproto.OptStructuredReply, nil}, {nbdproto.OptGo, make([]byte, 6)}} {
		hello = be.AppendUint32(be.AppendUint64(hello, nbdproto.MagicOption), o.code)
		hello = append(be.AppendUint32(hello, uint32(len(o.data))), o.data...)
	}
	c.iov = append(c.iov[:0], hello)
	if err := c.send(); err != nil {
		return err
	}
	for acknowledged := 0; acknowledged < 2; {
		h, err := c.fill(20)
		if err != nil {
			return err
		}
		kind, n := be.Uint32(h[12:]), be.Uint32(h[16:])
		data, err := c.fill(int(min(n, mib)))
		switch {
		case err != nil:
			return err
		case kind&nbdproto.RepError != 0:
			return fmt.Errorf("the server refused an option: %#x %s", kind, data)
		case kind == nbdproto.RepAck:
			acknowledged++
		case kind == nbdproto.RepInfo && len(data) == 12 && be.Uint16(data) == nbdproto.InfoExport:
			c.size = int64(be.Uint64(data[2:]))
		}
	}
	return nil
}

// run sends the requests of a row and returns how long they took.
func (c *nbdClient) run(r *nbdRow) (time.Duration, error) {
	if r.command == nbdproto.CmdWrite {
		c.data = make([]byte, r.size)
		for i := range c.data {
			c.data[i] = byte(i*7 + 1)
		}
	}
	begun := time.Now()
	sent := min(r.depth, r.count)
	if err := c.request(r, 0, sent); err != nil {
		return 0, err
	}
	for done := 0; done < r.count; {
		ended := 0
		for first := true; first || len(c.have) >= nbdproto.SimpleReplySize; first = false {
			last, err := c.reply()
			if err != nil {
				return 0, err
			}
			if last {
				ended++
			}
		}
		done += ended
		more := min(ended, r.count-sent)
		if err := c.request(r, sent, more); err != nil {
			return 0, err
		}
		sent += more
	}
	return time.Since(begun), nil
}

// request sends n requests of a row, from one on.
func (c *nbdClient) request(r *nbdRow, from, n int) error {
	c.out, c.iov = c.out[:0], c.iov[:0]
	be := binary.BigEndian
	for i := from; i < from+n; i++ {
		c.out = be.AppendUint32(c.out, nbdproto.MagicRequest)
		c.out = be.AppendUint32(c.out, uint32(r.command))
		c.out = be.AppendUint64(c.out, uint64(i))
		c.out = be.AppendUint64(c.out, uint64(int64(i)*r.step%c.size))
		c.out = be.AppendUint32(c.out, uint32(r.size))
	}
	if r.command != nbdproto.CmdWrite {
		c.iov = append(c.iov, c.out)
		return c.send()
	}
	for i := range n {
		c.iov = append(c.iov, c.out[i*nbdproto.RequestSize:(i+1)*nbdproto.RequestSize], c.data)
	}
	return c.send()
}

// reply takes a simple reply or one chunk, and reports whether a request ended
// with it.
func (c *nbdClient) reply() (last bool, err error) {
	be := binary.BigEndian
	h, err := c.fill(nbdproto.SimpleReplySize)
	if err != nil {
		return false, err
	}
	switch magic := be.Uint32(h); magic {
	case nbdproto.MagicSimpleReply:
		if code := be.Uint32(h[4:]); code != 0 {
			return false, fmt.Errorf("request %d failed: error %d", be.Uint64(h[8:]), code)
		}
		return true, nil
	case nbdproto.MagicStructuredReply:
		last, kind, cookie := h[5]&nbdproto.ChunkFlagDone != 0, be.Uint16(h[6:]), be.Uint64(h[8:])
		if h, err = c.fill(nbdproto.ChunkHeaderSize - nbdproto.SimpleReplySize); err != nil {
			return false, err
		}
		if kind&nbdproto.ChunkErrorBit != 0 {
			return false, fmt.Errorf("request %d failed: chunk of kind %#x", cookie, kind)
		}
		return last, c.drop(int(be.Uint32(h)))
	default:
		return false, fmt.Errorf("a reply with the magic %#x", magic)
	}
}
