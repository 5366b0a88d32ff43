package harness

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// Dialogue is a VMM whose guest's console is read and typed at, as a person
// would: for guests without the agent.
type Dialogue struct {
	cmd   *exec.Cmd
	input io.WriteCloser

	mu     sync.Mutex
	more   chan struct{} // guarded by mu: closed when output has grown or ended
	output []byte        // guarded by mu: without escape sequences
	escape sequence      // guarded by mu: the one that output is in
	read   int           // guarded by mu: how much of output was expected already
	ended  bool          // guarded by mu
	err    error         // guarded by mu: of the process; set with ended
}

// Converse starts a VMM. Whoever does calls Stop in the end.
func Converse(argv ...string) (*Dialogue, error) {
	d := &Dialogue{cmd: exec.Command(argv[0], argv[1:]...), more: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = d, d
	d.cmd.SysProcAttr = ownGroup()
	d.cmd.WaitDelay = outputGrace
	var err error
	if d.input, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		err := d.cmd.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.ended, d.err = true, err
		close(d.more)
	}()
	return d, nil
}

// Write implements io.Writer for the process.
func (d *Dialogue) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range p {
		if d.escape.next(c) {
			d.output = append(d.output, c)
		}
	}
	close(d.more)
	d.more = make(chan struct{})
	return len(p), nil
}

// sequence is where in an escape sequence a terminal's input is. A text screen that
// is shown on a serial line has them between any two characters.
type sequence uint8

const (
	outside sequence = iota
	begun            // after ESC
	inside           // after ESC [
)

// next takes a character and reports whether it is a part of the text.
func (s *sequence) next(c byte) bool {
	switch {
	case c == 0x1b:
		*s = begun
	case *s == begun && c == '[':
		*s = inside
	case *s == begun || *s == inside && c >= '@':
		*s = outside
	case *s == outside:
		return true
	}
	return false
}

// Expect waits for a text in the output behind what was expected before, and
// returns what was between the two.
func (d *Dialogue) Expect(ctx context.Context, text string) (string, error) {
	for {
		d.mu.Lock()
		rest := string(d.output[d.read:])
		if before, _, ok := strings.Cut(rest, text); ok {
			d.read += len(before) + len(text)
			d.mu.Unlock()
			return before, nil
		}
		ended, err, more := d.ended, d.err, d.more
		d.mu.Unlock()
		if ended {
			return rest, fmt.Errorf("the machine ended (%v) before it said %q", err, text)
		}
		select {
		case <-more:
		case <-ctx.Done():
			return rest, fmt.Errorf("the machine does not say %q: %w", text, ctx.Err())
		}
	}
}

// Type types at the console.
func (d *Dialogue) Type(keys string) error {
	_, err := io.WriteString(d.input, keys)
	return err
}

// Wait waits for the end of the process, and returns an error if that was not with
// exit status 0.
func (d *Dialogue) Wait(ctx context.Context) error {
	for {
		d.mu.Lock()
		ended, err, more := d.ended, d.err, d.more
		d.mu.Unlock()
		if ended {
			return err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("the machine has not ended: %w", ctx.Err())
		}
	}
}

// Output is all that the machine said.
func (d *Dialogue) Output() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.output)
}

// Stop ends the process if it still runs: first in order, then by force.
func (d *Dialogue) Stop() {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = syscall.Kill(-d.cmd.Process.Pid, sig) // fails only if it ended meanwhile
		ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
		_ = d.Wait(ctx)
		ended := ctx.Err() == nil
		cancel()
		if ended {
			return
		}
	}
}
