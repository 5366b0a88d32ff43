package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Power ends the guest: it powers off, or restarts, and does not return.
type Power func(restart bool)

// Server is the guest's end of the channel.
type Server struct {
	rw    io.ReadWriter
	power Power
	mu    sync.Mutex // held while a frame is written
}

// NewServer returns a server on rw that ends the guest through power.
func NewServer(rw io.ReadWriter, power Power) *Server {
	return &Server{rw: rw, power: power}
}

// Hello tells the host that the guest is up.
func (s *Server) Hello(h Hello) error { return s.write(message{Hello: &h}) }

// Report tells the host how the demonstration went.
func (s *Server) Report(r Report) error { return s.write(message{Report: &r}) }

// Serve answers requests, each in a goroutine of its own, until the stream
// ends. It returns nil if that was between two requests.
func (s *Server) Serve() error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		var r request
		attachments, err := readFrame(s.rw, &r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch r.Op {
		case opPowerOff, opReboot:
			s.power(r.Op == opReboot)
		case opRun:
			var stdin []byte
			if len(attachments) > 0 {
				stdin = attachments[0]
			}
			running.Go(func() { s.run(r, stdin) })
		default:
			return fmt.Errorf("%w: operation %q", errFrame, r.Op)
		}
	}
}

func (s *Server) write(m message, attachments ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeFrame(s.rw, m, attachments...)
}

func (s *Server) run(r request, stdin []byte) {
	res := result{ID: r.ID}
	var stdout, stderr bytes.Buffer
	var err error
	res.Exit, res.TimedOut, err = execute(r, stdin, &stdout, &stderr)
	if err != nil {
		res.Error = err.Error()
	}
	// A host that is gone is noticed by Serve.
	_ = s.write(message{Result: &res}, stdout.Bytes(), stderr.Bytes())
}

// execute runs the program of r to its end or to its timeout, in a process
// group of its own so that the timeout reaches all that it started.
func execute(r request, stdin []byte, stdout, stderr io.Writer) (exit int, timedOut bool, err error) {
	if len(r.Argv) == 0 {
		return 0, false, errors.New("run: no program named")
	}
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Argv[0], r.Argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A grandchild that kept the output open must not hold the answer back.
	cmd.WaitDelay = 10 * time.Second

	err = cmd.Run()
	if cmd.ProcessState == nil {
		return 0, false, err
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), ctx.Err() != nil, nil
	}
	return status.ExitStatus(), ctx.Err() != nil, nil
}
