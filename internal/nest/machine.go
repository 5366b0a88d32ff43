package nest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
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
	// caller to judge, and must not end QEMU.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("nest: start QEMU: %w", err)
	}
	go func() {
		defer close(m.exited)
		m.cmd.Wait()
	}()
	return m, nil
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

// heartbeat is how often the nest gets a message that means nothing. As it ends
// the emulated execution of a guest, QEMU 7.2 changes its word of pending
// interrupts without a lock, and an interrupt that is raised at that moment is
// forgotten until the next one. If it was the timer's, the kernel of the nest
// waits, with nothing to wake it, for as long as no device interrupts: this one
// does, and the nest passes it on to its other processors.
const heartbeat = 100 * time.Millisecond

// run starts the command, serves its streams and waits for its end.
func (m *machine) run(ctx context.Context, s start, c Command) (int, error) {
	requests := json.NewEncoder(m.control)
	if err := requests.Encode(request{Start: &s}); err != nil {
		return 0, m.explain(fmt.Errorf("send the command: %w", err))
	}
	var relays sync.WaitGroup
	for fd, stream := range c.streams() {
		m.serve(&relays, m.ports[fd], stream)
	}
	result := make(chan reply, 1)
	broken := make(chan error, 1)
	go func() {
		var r reply
		if err := json.NewDecoder(m.control).Decode(&r); err != nil {
			broken <- err
			return
		}
		relays.Wait()
		result <- r
	}()

	beats := time.NewTicker(heartbeat)
	defer beats.Stop()
	stop := ctx.Done()
	var timeout <-chan time.Time
	for {
		select {
		case r := <-result:
			if r.Error != "" {
				return 0, fmt.Errorf("nest: %s", r.Error)
			}
			return r.Exit, nil
		case <-m.exited:
			return 0, m.explain(fmt.Errorf("qemu ended: %s", m.cmd.ProcessState))
		case err := <-broken:
			return 0, m.explain(fmt.Errorf("lost the connection: %w", err))
		case sig := <-c.Signals:
			if n, ok := sig.(syscall.Signal); ok {
				requests.Encode(request{Signal: int(n)})
			}
		case <-beats.C:
			requests.Encode(request{})
		case <-stop:
			stop, timeout = nil, time.After(StopTimeout)
			requests.Encode(request{Signal: s.Stop})
		case <-timeout:
			return 0, m.explain(fmt.Errorf("the command was told to stop and had not after %v: %w", StopTimeout, context.Cause(ctx)))
		}
	}
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
