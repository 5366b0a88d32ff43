package nbdclient

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"syscall"
	"time"

	"github.com/govmm/govmm/internal/nbdproto"
)

// defaultMaxBlock is the most bytes of a READ or WRITE where the server says nothing.
const defaultMaxBlock = 32 << 20

// Client is an export of a server as a file of a fixed size. Its methods may be
// called concurrently; requests are sent as they come, and wait for each other nowhere.
type Client struct {
	target Target

	mu    sync.Mutex
	conn  *conn     // guarded by mu, with all below; nil: never connected, or closed
	since time.Time // when the connection was found lost; zero: it is not
}

// New returns a client that is not connected yet.
func New(t Target) *Client { return &Client{target: t} }

// Path is the name of the export.
func (c *Client) Path() string { return c.target.Name() }

// Times between two attempts to connect.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second
)

// Connect connects, unless that is done.
func (c *Client) Connect() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return nil
	}
	k, err := c.dial(time.Now().Add(c.target.OpenTimeout))
	if err == nil {
		c.conn = k
	}
	return err
}

// dial connects, and tries again until a time, at which it has been tried, too.
func (c *Client) dial(until time.Time) (*conn, error) {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		k, err := connect(&c.target)
		left := time.Until(until)
		if err == nil || left <= 0 {
			return k, err
		}
		time.Sleep(min(pause, left))
	}
}

// connected returns the connection, or a new one if it is lost and may come back.
func (c *Client) connected() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.conn
	if k == nil {
		return nil, errors.New("NBD client is not connected")
	}
	k.mu.Lock()
	lost := k.lost
	k.mu.Unlock()
	if lost == nil {
		c.since = time.Time{}
		return k, nil
	}
	if c.target.ReconnectDelay == 0 {
		return nil, errLost
	}
	if c.since.IsZero() {
		c.since = time.Now()
	}
	again, err := c.dial(c.since.Add(c.target.ReconnectDelay))
	if err != nil {
		return nil, err
	}
	if again.size != k.size {
		again.disconnect()
		return nil, fmt.Errorf("the export had %d bytes, it has %d now", k.size, again.size)
	}
	c.conn, c.since = again, time.Time{}
	return again, nil
}

// do carries out a request, over as many connections as it takes.
func (c *Client) do(r *request) error {
	for {
		k, err := c.connected()
		if err == nil {
			err = k.perform(r)
		} else {
			return fmt.Errorf("%w: %w", syscall.EIO, err)
		}
		if !errors.Is(err, errLost) {
			return err
		}
	}
}

// current is what the handshake said of the export.
func (c *Client) current() export {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return export{minBlock: 1, maxBlock: defaultMaxBlock}
	}
	return c.conn.export
}

// ReadOnly reports whether the server refuses writes.
func (c *Client) ReadOnly() bool { return c.current().flags&nbdproto.FlagReadOnly != 0 }

// Alignment is what offsets and lengths of requests must be multiples of, in bytes.
func (c *Client) Alignment() int64 { return c.current().minBlock }

// Size implements qcow2.File.
func (c *Client) Size() (int64, error) { return c.current().size, nil }

// ReadV implements qcow2.File. What lies beyond the end reads as zeroes.
func (c *Client) ReadV(bufs [][]byte, off int64) error {
	e := c.current()
	return split(bufs, off, e.maxBlock, func(part [][]byte, off, n int64) error {
		if have := max(0, min(n, e.size-off)); have < n {
			if have > 0 {
				if err := c.ReadV(head(part, have), off); err != nil {
					return err
				}
			}
			return fill(zeroes{}, part, have, n-have)
		}
		return c.do(&request{cmd: nbdproto.CmdRead, off: off, n: uint32(n), data: part})
	})
}

// WriteV implements qcow2.File. There is nothing beyond the end.
func (c *Client) WriteV(bufs [][]byte, off int64) error {
	e := c.current()
	return split(bufs, off, e.maxBlock, func(part [][]byte, off, n int64) error {
		if off > e.size-n {
			return syscall.ENOSPC
		}
		return c.do(&request{cmd: nbdproto.CmdWrite, off: off, n: uint32(n), data: part})
	})
}

// Sync implements qcow2.File.
func (c *Client) Sync() error {
	if c.current().flags&nbdproto.FlagSendFlush == 0 {
		return nil
	}
	return c.do(&request{cmd: nbdproto.CmdFlush})
}

// Truncate implements qcow2.File: the size is fixed.
func (c *Client) Truncate(size int64) error {
	if size > c.current().size {
		return ErrGrow
	}
	return nil
}

// ErrGrow is that an export has a fixed size.
var ErrGrow error = errGrow{}

type errGrow struct{}

func (errGrow) Error() string { return "Cannot grow NBD nodes" }

func (errGrow) Unwrap() error { return errors.ErrUnsupported }

// PunchHole implements qcow2.File.
func (c *Client) PunchHole(off, n int64) error {
	if c.current().flags&nbdproto.FlagSendWriteZeroes == 0 {
		return errors.ErrUnsupported
	}
	return c.pieces(nbdproto.CmdWriteZeroes, 0, off, n)
}

// ZeroRange implements qcow2.File.
func (c *Client) ZeroRange(off, n int64) error {
	if c.current().flags&nbdproto.FlagSendWriteZeroes != 0 {
		return c.pieces(nbdproto.CmdWriteZeroes, nbdproto.CmdFlagNoHole, off, n)
	}
	zero := make([]byte, min(n, 1<<20))
	for n > 0 {
		step := min(n, int64(len(zero)))
		if err := c.WriteV([][]byte{zero[:step]}, off); err != nil {
			return err
		}
		off, n = off+step, n-step
	}
	return nil
}

// Trim says that the contents of a range are not needed any more; what it reads as
// from then on is not known.
func (c *Client) Trim(off, n int64) error {
	if c.current().flags&nbdproto.FlagSendTrim == 0 {
		return nil
	}
	return c.pieces(nbdproto.CmdTrim, 0, off, n)
}

// pieces sends a request without data, in parts that the protocol has room for.
func (c *Client) pieces(cmd, flags uint16, off, n int64) error {
	e := c.current()
	if off > e.size-n {
		return syscall.ENOSPC
	}
	most := int64(math.MaxUint32) &^ (e.minBlock - 1) &^ (1<<20 - 1)
	for n > 0 {
		step := min(n, most)
		if err := c.do(&request{cmd: cmd, flags: flags, off: off, n: uint32(step)}); err != nil {
			return err
		}
		off, n = off+step, n-step
	}
	return nil
}

// Status says whether the bytes from off on are data or reads as zeroes, and for how
// many of n that holds.
func (c *Client) Status(off, n int64) (data, zero bool, length int64, err error) {
	e := c.current()
	if off >= e.size {
		return false, true, n, nil
	}
	n = min(n, e.size-off)
	if !e.status {
		return true, false, n, nil
	}
	ask := min(n, math.MaxInt32&^(e.minBlock-1))
	r := request{cmd: nbdproto.CmdBlockStatus, flags: nbdproto.CmdFlagReqOne, off: off, n: uint32(ask)}
	if err := c.do(&r); err != nil {
		return false, false, 0, err
	}
	if r.extent == 0 {
		return false, false, 0, fmt.Errorf("%w: server did not reply with any status extents", syscall.EIO)
	}
	return r.extentFlags&1 == 0, r.extentFlags&2 != 0, min(ask, int64(r.extent)), nil
}

// Close implements qcow2.File. Connect may follow.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.disconnect()
		c.conn, c.since = nil, time.Time{}
	}
	return nil
}

// split calls f with bufs, in pieces of at most n bytes.
func split(bufs [][]byte, off, most int64, f func(part [][]byte, off, n int64) error) error {
	for {
		var n int64
		for _, b := range bufs {
			n += int64(len(b))
		}
		switch {
		case n == 0:
			return nil
		case n <= most:
			return f(bufs, off, n)
		}
		if err := f(head(bufs, most), off, most); err != nil {
			return err
		}
		bufs, off = tail(bufs, most), off+most
	}
}

// head is the first n bytes of bufs.
func head(bufs [][]byte, n int64) (part [][]byte) {
	for _, b := range bufs {
		if int64(len(b)) >= n {
			return append(part, b[:n])
		}
		part, n = append(part, b), n-int64(len(b))
	}
	return part
}

// tail is bufs without their first n bytes.
func tail(bufs [][]byte, n int64) [][]byte {
	for i, b := range bufs {
		if int64(len(b)) > n {
			return append([][]byte{b[n:]}, bufs[i+1:]...)
		}
		n -= int64(len(b))
	}
	return nil
}
