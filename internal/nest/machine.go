package nest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a running QEMU.
type machine struct {
	cmd     *exec.Cmd
	control net.Conn
	ports   []net.Conn // by file descriptor of the command
	console tail
	stderr  tail

	exited chan struct{} // closed when QEMU is gone
	once   sync.Once
}

// boot starts QEMU with a control port and as many stream ports.
func boot(cfg Config, streams int) (_ *machine, err error) {
	tsc := sampleTSC()
	kernel, err := cfg.kernel()
	if err != nil {
		return nil, fmt.Errorf("nest: %w", err)
	}
	initrd, err := cfg.initramfs()
	if err != nil {
		return nil, fmt.Errorf("nest: %w", err)
	}
	defer initrd.Close()
	m := &machine{exited: make(chan struct{})}
	inherited := []*os.File{initrd}
	defer func() {
		for _, f := range inherited[1:] {
			f.Close()
		}
		if err != nil {
			m.closePorts()
		}
	}()
	for range 1 + streams {
		ours, theirs, err := socketPair()
		if err != nil {
			return nil, fmt.Errorf("nest: %w", err)
		}
		inherited = append(inherited, theirs)
		m.ports = append(m.ports, ours)
	}
	m.control, m.ports = m.ports[0], m.ports[1:]

	m.cmd = exec.Command(cfg.QEMU, cfg.qemuArgs(kernel, tsc.tscKHz(), firstFD, streams)...)
	m.cmd.ExtraFiles = inherited
	m.cmd.Stdout, m.cmd.Stderr = &m.console, &m.stderr
	if cfg.Console != nil {
		m.cmd.Stdout = io.MultiWriter(&m.console, cfg.Console)
	}
	// A session of its own: keys typed on the caller's terminal are for the
	// caller to judge, and must not end QEMU. The end of this process does.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := m.start(); err != nil {
		return nil, fmt.Errorf("nest: start QEMU: %w", err)
	}
	return m, nil
}

// start starts QEMU, from a thread that lasts as long as it does: what the kernel
// takes for the parent of a process is the thread that started it (prctl(2),
// PR_SET_PDEATHSIG).
func (m *machine) start() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good
		err := m.cmd.Start()
		started <- err
		if err == nil {
			m.cmd.Wait()
			close(m.exited)
		}
	}()
	return <-started
}

// socketPair returns the two ends of a stream: one to use here, one to inherit.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	f := os.NewFile(uintptr(fds[0]), "port")
	defer f.Close()
	theirs = os.NewFile(uintptr(fds[1]), "port")
	if ours, err = net.FileConn(f); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// kill ends QEMU at once, if it is not gone, and waits until it is. All that
// the command wrote to files is the host kernel's by then.
func (m *machine) kill() {
	m.once.Do(func() {
		m.cmd.Process.Kill()
		m.closePorts()
	})
	<-m.exited
}

func (m *machine) closePorts() {
	if m.control != nil {
		m.control.Close()
	}
	for _, p := range m.ports {
		p.Close()
	}
}

// run starts the command, serves its streams and waits for its end.
func (m *machine) run(ctx context.Context, s start, c Command) (int, error) {
	var relays sync.WaitGroup
	for fd, stream := range c.streams() {
		m.serve(&relays, m.ports[fd], stream)
	}
	beats := time.NewTicker(heartbeat)
	defer beats.Stop()
	t := talk{control: m.control, beats: beats.C, signals: c.Signals, stop: s.Stop, abort: c.Abort, exited: m.exited, drain: relays.Wait}
	r, err := t.run(ctx, s)
	switch {
	case errors.Is(err, ErrAborted):
		return 0, err
	case errors.Is(err, errExited):
		return 0, m.explain(fmt.Errorf("qemu ended: %s", m.cmd.ProcessState))
	case err != nil:
		return 0, m.explain(err)
	case r.Error != "":
		return 0, fmt.Errorf("nest: %s", r.Error)
	}
	return r.Exit, nil
}

// serve carries a stream. relays waits for what the command writes.
func (m *machine) serve(relays *sync.WaitGroup, port net.Conn, s Stream) {
	if s.R != nil {
		go sendStream(port, s.R)
	}
	if s.W == nil {
		return
	}
	relays.Go(func() {
		err := receiveStream(s.W, port)
		var w *writeError
		if errors.As(err, &w) {
			if s.R == nil {
				endStream(port) // the command is to notice, as with a pipe
			}
			receiveStream(io.Discard, port)
		}
		if half, ok := s.W.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	})
}

// umask returns the file mode creation mask of this process.
func umask() int {
	mask := unix.Umask(0o077)
	unix.Umask(mask)
	return mask
}
