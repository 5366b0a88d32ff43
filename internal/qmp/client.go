package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// maxAnswer is the largest text that a Client accepts, in bytes.
const maxAnswer = 16 << 20

// Event is an event that a client got.
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data,omitempty"`
	Time time.Time       `json:"-"`
}

// Client is a connection to a server. Its methods may be called from any goroutine.
type Client struct {
	conn   io.ReadWriteCloser
	Server Version // what the server said of itself

	writeMu sync.Mutex // held while a request is written

	mu      sync.Mutex
	next    int                // guarded by mu: id of the next request
	waiting map[int]chan reply // guarded by mu: by id
	err     error              // guarded by mu: why there are no more answers
	events  chan Event
}

// reply is any text that a server sends.
type reply struct {
	Return    json.RawMessage `json:"return"`
	Error     *Error          `json:"error"`
	ID        *int            `json:"id"`
	Timestamp timestamp       `json:"timestamp"`
	Event
}

// Dial connects to the server that listens at a Unix socket.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, err := NewClient(conn)
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// NewClient greets the server on a connection, which is the client's if there is no
// error.
func NewClient(conn io.ReadWriteCloser) (*Client, error) {
	texts := newTexts(bufio.NewReader(conn), maxAnswer)
	text, err := texts.next()
	if err != nil {
		return nil, fmt.Errorf("no greeting: %w", err)
	}
	var g greeting
	if err := json.Unmarshal(text, &g); err != nil || g.QMP.Capabilities == nil {
		return nil, errors.New("whoever listens there does not speak QMP")
	}
	c := &Client{conn: conn, Server: g.QMP.Version, waiting: map[int]chan reply{}, events: make(chan Event, 256)}
	go c.read(texts)
	return c, c.Do(context.Background(), negotiate, nil, nil)
}

// Events gives the events of the server, as long as they are taken: those that come
// when many wait are dropped. It is closed when the connection ends.
func (c *Client) Events() <-chan Event { return c.events }

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Do has the server carry out a command. args may be nil; what it returns is put
// into result unless that is nil. What the server refuses is an *Error.
func (c *Client) Do(ctx context.Context, command string, args, result any) error {
	answer := make(chan reply, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return c.err
	}
	id := c.next
	c.next++
	c.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
	}()
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, args, id})
	if err != nil {
		return err
	}
	c.writeMu.Lock()
	_, err = c.conn.Write(append(line, '\n'))
	c.writeMu.Unlock()
	if err != nil {
		return err
	}
	select {
	case r, ok := <-answer:
		switch {
		case !ok:
			return c.ended()
		case r.Error != nil:
			return r.Error
		case result != nil:
			return json.Unmarshal(r.Return, result)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Client) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// read takes what the server sends until the connection ends.
func (c *Client) read(texts *texts) {
	for {
		text, err := texts.next()
		var r reply
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			c.close(err)
			return
		}
		if r.Name != "" {
			r.Time = time.Unix(r.Timestamp.Seconds, int64(r.Timestamp.Microseconds)*1000)
			select {
			case c.events <- r.Event:
			default:
			}
			continue
		}
		if r.ID == nil {
			continue
		}
		c.mu.Lock()
		if answer := c.waiting[*r.ID]; answer != nil {
			answer <- r
			delete(c.waiting, *r.ID)
		}
		c.mu.Unlock()
	}
}

func (c *Client) close(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		err = errors.New("the machine has ended the connection")
	}
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for id, answer := range c.waiting {
		close(answer)
		delete(c.waiting, id)
	}
	close(c.events)
}
