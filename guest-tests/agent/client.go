package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Client is the host's end of the channel. Its methods may be called from any
// goroutine.
type Client struct {
	rw      io.ReadWriteCloser
	writeMu sync.Mutex // held while a frame is written
	hello   chan Hello // one element, then left alone
	reports chan Report
	done    chan struct{} // closed when the reader ended

	mu      sync.Mutex // guards what follows
	nextID  uint64
	pending map[uint64]chan answer
	err     error // why the reader ended
}

type answer struct {
	result Result
	err    error
}

// ErrClosed is what calls return once the guest's end is gone: it was powered
// off, crashed, or the channel was closed here.
var ErrClosed = errors.New("agent channel closed")

// NewClient starts a client on rw, which it owns from then on.
func NewClient(rw io.ReadWriteCloser) *Client {
	c := &Client{
		rw:      rw,
		hello:   make(chan Hello, 1),
		reports: make(chan Report, 1),
		done:    make(chan struct{}),
		pending: make(map[uint64]chan answer),
	}
	go c.read()
	return c
}

// Close ends the connection; calls that are under way return ErrClosed.
func (c *Client) Close() error {
	err := c.rw.Close()
	<-c.done
	return err
}

// Hello waits for the guest to come up. Only the first call gets the greeting.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	return receive(ctx, c, c.hello)
}

// Report waits for the guest's report of its demonstration.
func (c *Client) Report(ctx context.Context) (Report, error) {
	return receive(ctx, c, c.reports)
}

// Run runs a command in the guest. An error means that it was not run, or that
// its outcome is not known; a program that failed is a Result.
func (c *Client) Run(ctx context.Context, cmd Command) (Result, error) {
	answers, err := c.send(request{Op: opRun, Argv: cmd.Argv, Timeout: cmd.Timeout}, cmd.Stdin)
	if err != nil {
		return Result{}, err
	}
	a, err := receive(ctx, c, answers)
	if err != nil {
		return Result{}, err
	}
	return a.result, a.err
}

// PowerOff asks the guest to power off in order. It returns when the request is
// sent: that the guest did so shows in its machine.
func (c *Client) PowerOff() error {
	_, err := c.send(request{Op: opPowerOff})
	return err
}

// Reboot asks the guest to restart in order.
func (c *Client) Reboot() error {
	_, err := c.send(request{Op: opReboot})
	return err
}

func (c *Client) send(r request, attachments ...[]byte) (<-chan answer, error) {
	answers := make(chan answer, 1)
	c.mu.Lock()
	c.nextID++
	r.ID = c.nextID
	if r.Op == opRun {
		c.pending[r.ID] = answers
	}
	c.mu.Unlock()

	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := writeFrame(c.rw, r, attachments...); err != nil {
		c.mu.Lock()
		delete(c.pending, r.ID)
		c.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return answers, nil
}

// receive waits for an element of ch, the end of the channel or of ctx.
func receive[T any](ctx context.Context, c *Client, ch <-chan T) (T, error) {
	var zero T
	select {
	case v := <-ch:
		return v, nil
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-c.done:
	}
	// What arrived before the end counts.
	select {
	case v := <-ch:
		return v, nil
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		return zero, fmt.Errorf("%w: %w", ErrClosed, c.err)
	}
}

// read hands every message from the guest to whoever waits for it.
func (c *Client) read() {
	defer close(c.done)
	for {
		var m message
		attachments, err := readFrame(c.rw, &m)
		if err == nil {
			err = c.dispatch(m, attachments)
		}
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
	}
}

func (c *Client) dispatch(m message, attachments [][]byte) error {
	switch {
	case m.Hello != nil:
		offer(c.hello, *m.Hello)
		return nil
	case m.Report != nil:
		offer(c.reports, *m.Report)
		return nil
	case m.Result == nil || len(attachments) != 2:
		return fmt.Errorf("%w: unknown message", errFrame)
	}
	c.mu.Lock()
	answers, ok := c.pending[m.Result.ID]
	delete(c.pending, m.Result.ID)
	c.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: result of unknown request %d", errFrame, m.Result.ID)
	}
	a := answer{result: Result{
		Exit:     m.Result.Exit,
		TimedOut: m.Result.TimedOut,
		Stdout:   attachments[0],
		Stderr:   attachments[1],
	}}
	if m.Result.Error != "" {
		a.err = errors.New(m.Result.Error)
	}
	answers <- a
	return nil
}

// offer puts v into ch unless an element is there already.
func offer[T any](ch chan<- T, v T) {
	select {
	case ch <- v:
	default:
	}
}
