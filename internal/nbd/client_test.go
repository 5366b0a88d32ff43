package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/nbdproto"
	"github.com/govmm/govmm/internal/sockettest"
)

// start serves s on a Unix socket until the test ends. It returns the socket's
// path and a function that ends the server and returns what Serve returned.
func start(t testing.TB, s *Server) (path string, stop func() error) {
	t.Helper()
	path = sockettest.Path(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return path, stop
}

// client speaks the protocol byte by byte.
type client struct {
	t  testing.TB
	nc net.Conn
}

// testLimit is far more than a dialogue takes.
const testLimit = 5 * time.Minute

// dial connects and says hello.
func dial(t testing.TB, path string) *client {
	t.Helper()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(testLimit))
	c := &client{t, nc}
	hello := c.get(18)
	if binary.BigEndian.Uint64(hello) != nbdproto.MagicServer || binary.BigEndian.Uint16(hello[16:]) != 3 {
		t.Fatalf("hello: %x", hello)
	}
	c.put(uint32(3))
	return c
}

// put sends integers, strings and bytes.
func (c *client) put(values ...any) {
	c.t.Helper()
	var b []byte
	for _, v := range values {
		switch v := v.(type) {
		case string:
			b = append(b, v...)
		case []byte:
			b = append(b, v...)
		default:
			var err error
			if b, err = binary.Append(b, binary.BigEndian, v); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) get(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c.nc, b); err != nil {
		c.t.Fatal(err)
	}
	return b
}

// closed fails unless the server has closed the connection.
func (c *client) closed() {
	c.t.Helper()
	if n, err := c.nc.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		c.t.Errorf("read %d bytes, %v; the connection should be closed", n, err)
	}
}

// option sends an option and returns the replies up to the one that ends them.
func (c *client) option(code uint32, data []byte) (replies []optionReply) {
	c.t.Helper()
	c.put(uint64(nbdproto.MagicOption), code, uint32(len(data)), data)
	for {
		h := c.get(20)
		r := optionReply{kind: binary.BigEndian.Uint32(h[12:])}
		if binary.BigEndian.Uint64(h) != nbdproto.MagicOptionReply || binary.BigEndian.Uint32(h[8:]) != code {
			c.t.Fatalf("option reply %x", h)
		}
		r.data = c.get(int(binary.BigEndian.Uint32(h[16:])))
		replies = append(replies, r)
		if r.kind == nbdproto.RepAck || r.kind&nbdproto.RepError != 0 {
			return replies
		}
	}
}

type optionReply struct {
	kind uint32
	data []byte
}

// str is a string with its length before it.
func str(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// accepted fails unless an option was acknowledged.
func (c *client) accepted(replies []optionReply) {
	c.t.Helper()
	if last := replies[len(replies)-1]; last.kind != nbdproto.RepAck {
		c.t.Fatalf("refused: %#x %s", last.kind, last.data)
	}
}

// choose enters the transmission phase with export name.
func (c *client) choose(name string, structured bool, contexts ...string) {
	c.t.Helper()
	if structured {
		c.accepted(c.option(nbdproto.OptStructuredReply, nil))
	}
	if len(contexts) > 0 {
		data := append(str(name), 0, 0, 0, byte(len(contexts)))
		for _, q := range contexts {
			data = append(data, str(q)...)
		}
		c.accepted(c.option(nbdproto.OptSetMetaContext, data))
	}
	c.accepted(c.option(nbdproto.OptGo, append(str(name), 0, 0)))
}

// request sends the header of a request.
func (c *client) request(cmd command, flags uint16, cookie, off uint64, length uint32) {
	c.t.Helper()
	c.put(uint32(nbdproto.MagicRequest), flags, uint16(cmd), cookie, off, length)
}

// simple receives a simple reply and returns its error.
func (c *client) simple(cookie uint64) uint32 {
	c.t.Helper()
	h := c.get(nbdproto.SimpleReplySize)
	if binary.BigEndian.Uint32(h) != nbdproto.MagicSimpleReply || binary.BigEndian.Uint64(h[8:]) != cookie {
		c.t.Fatalf("reply %x to %d", h, cookie)
	}
	return binary.BigEndian.Uint32(h[4:])
}

// chunk is one structured reply chunk.
type chunkReply struct {
	kind   uint16
	last   bool
	cookie uint64
	data   []byte
}

func (c *client) chunk() chunkReply {
	c.t.Helper()
	h := c.get(nbdproto.ChunkHeaderSize)
	be := binary.BigEndian
	if be.Uint32(h) != nbdproto.MagicStructuredReply {
		c.t.Fatalf("chunk %x", h)
	}
	return chunkReply{be.Uint16(h[6:]), be.Uint16(h[4:]) == nbdproto.ChunkFlagDone, be.Uint64(h[8:]), c.get(int(be.Uint32(h[16:])))}
}

// answer receives the reply to a request on a connection with structured
// replies: the data of a READ, holes filled in, and the error.
func (c *client) answer(cookie, off uint64, into []byte) uint32 {
	c.t.Helper()
	filled := 0
	for {
		ch := c.chunk()
		if ch.cookie != cookie {
			c.t.Fatalf("chunk for %d, want %d", ch.cookie, cookie)
		}
		be := binary.BigEndian
		switch ch.kind {
		case nbdproto.ChunkOffsetData:
			filled += copy(into[be.Uint64(ch.data)-off:], ch.data[8:])
		case nbdproto.ChunkOffsetHole:
			n := int(be.Uint32(ch.data[8:]))
			clear(into[be.Uint64(ch.data)-off:][:n])
			filled += n
		case nbdproto.ChunkError:
			if !ch.last || int(be.Uint16(ch.data[4:])) != len(ch.data)-6 {
				c.t.Fatalf("error chunk %+v", ch)
			}
			return be.Uint32(ch.data)
		}
		if ch.last {
			if filled != len(into) {
				c.t.Fatalf("%d bytes of %d", filled, len(into))
			}
			return 0
		}
	}
}

// read reads by a structured reply.
func (c *client) read(off uint64, n int) []byte {
	c.t.Helper()
	b := bytes.Repeat([]byte{0xee}, n)
	c.request(nbdproto.CmdRead, 0, off, off, uint32(n))
	if code := c.answer(off, off, b); code != 0 {
		c.t.Fatalf("read at %d: error %d", off, code)
	}
	return b
}

// flood sends a request again and again and takes no reply, until the server takes no
// more, and ends the connection. The server has to do so before enough bytes of them.
func (c *client) flood(request []byte, enough int) {
	c.t.Helper()
	sent := 0
	for batch := bytes.Repeat(request, 1000); sent < enough; {
		_ = c.nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := c.nc.Write(batch)
		if sent += n; err != nil {
			break
		}
	}
	if sent >= enough {
		c.t.Errorf("the server took %d requests without having got rid of a reply", sent/len(request))
	}
	_ = c.nc.Close()
}
