package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/govmm/govmm/guest-tests/agent"
)

const (
	// stopGrace is how long a VMM has to stop when told to, before it is killed.
	stopGrace = 20 * time.Second
	// outputGrace is how long the output of a VMM that has ended is waited for: what it has
	// started may have its pipe, too.
	outputGrace = 10 * time.Second
)

// Machine is a guest that was started.
type Machine struct {
	cmd     *exec.Cmd
	console *tail
	started time.Time
	tmp     string        // directory of the agent's socket
	client  *agent.Client // set once connected is closed
	ready   chan struct{} // closed when the VMM connected to the agent's socket
	exited  chan struct{} // closed when the process ended; err is set then
	err     error
}

// Terminal is what a guest's console is connected to. The zero value is a
// console that nobody types at, whose end is kept for Console.
type Terminal struct {
	In       *os.File
	Out, Err *os.File
}

// Start starts a guest. Whoever starts one calls Stop in the end.
func Start(vmm VMM, guest Guest, term Terminal) (*Machine, error) {
	// The path of a unix socket has at most 107 bytes: not under the caller's
	// directories, which may be deep.
	tmp, err := os.MkdirTemp("", "govmm-guest")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(tmp, "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		os.RemoveAll(tmp)
		return nil, err
	}
	argv := vmm.Command(guest, socket)
	m := &Machine{
		cmd:     exec.Command(argv[0], argv[1:]...),
		console: &tail{},
		started: time.Now(),
		tmp:     tmp,
		ready:   make(chan struct{}),
		exited:  make(chan struct{}),
	}
	m.connect(term)
	if err := m.cmd.Start(); err != nil {
		listener.Close()
		os.RemoveAll(tmp)
		return nil, err
	}
	go func() {
		m.err = m.cmd.Wait()
		listener.Close()
		close(m.exited)
	}()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return // the process ended
		}
		m.client = agent.NewClient(conn)
		close(m.ready)
	}()
	return m, nil
}

// connect gives the process its console.
func (m *Machine) connect(term Terminal) {
	if term.In != nil {
		m.cmd.Stdin, m.cmd.Stdout, m.cmd.Stderr = term.In, term.Out, term.Err
		return
	}
	m.cmd.Stdout, m.cmd.Stderr = m.console, m.console
	m.cmd.SysProcAttr = ownGroup()
	m.cmd.WaitDelay = outputGrace
}

// ownGroup gives a process a group of its own, so that a signal reaches what it started
// itself, and ends it with this one: a test that is killed, or panics after -timeout,
// leaves no guest behind. (It ends with the thread that starts it. Threads of Go stay,
// but those of goroutines that end while they are locked to one.)
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Started is when the VMM's process was started.
func (m *Machine) Started() time.Time { return m.started }

// PID is the number of the VMM's process.
func (m *Machine) PID() int { return m.cmd.Process.Pid }

// CommandLine returns what was run.
func (m *Machine) CommandLine() string { return strings.Join(m.cmd.Args, " ") }

// Console returns the end of what the VMM printed, the guest's console included.
func (m *Machine) Console() string { return m.console.String() }

// Agent waits until the VMM connected the agent's port.
func (m *Machine) Agent(ctx context.Context) (*agent.Client, error) {
	select {
	case <-m.ready:
		return m.client, nil
	case <-m.exited:
		return nil, fmt.Errorf("the machine ended before its guest was up: %w", m.ended())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Boot waits until the guest's user space is up.
func (m *Machine) Boot(ctx context.Context) (agent.Hello, error) {
	client, err := m.Agent(ctx)
	if err != nil {
		return agent.Hello{}, err
	}
	hello, err := client.Hello(ctx)
	if errors.Is(err, agent.ErrClosed) {
		return hello, fmt.Errorf("the machine ended before its guest was up: %w", err)
	}
	return hello, err
}

// Run runs a command in the guest.
func (m *Machine) Run(ctx context.Context, argv ...string) (agent.Result, error) {
	client, err := m.Agent(ctx)
	if err != nil {
		return agent.Result{}, err
	}
	return client.Run(ctx, agent.Command{Argv: argv})
}

// Output runs a command in the guest and returns its standard output. A command
// that fails is an error.
func (m *Machine) Output(ctx context.Context, argv ...string) (string, error) {
	res, err := m.Run(ctx, argv...)
	if err != nil {
		return "", fmt.Errorf("%s: %w", argv[0], err)
	}
	if res.TimedOut {
		return "", fmt.Errorf("%s: not done after %v", strings.Join(argv, " "), agent.DefaultTimeout)
	}
	if res.Exit != 0 {
		return "", fmt.Errorf("%s: exit status %d: %s", strings.Join(argv, " "), res.Exit, strings.TrimSpace(string(res.Stderr)))
	}
	return string(res.Stdout), nil
}

// PowerOff has the guest power off and waits until its machine ended.
func (m *Machine) PowerOff(ctx context.Context) error {
	client, err := m.Agent(ctx)
	if err != nil {
		return err
	}
	if err := client.PowerOff(); err != nil {
		return err
	}
	return m.Wait(ctx)
}

// Reboot has the guest restart in order, and waits until its user space is up
// again. The VMM must be one that restarts it.
func (m *Machine) Reboot(ctx context.Context) (agent.Hello, error) {
	client, err := m.Agent(ctx)
	if err != nil {
		return agent.Hello{}, err
	}
	if err := client.Reboot(); err != nil {
		return agent.Hello{}, err
	}
	return m.Boot(ctx)
}

// Wait waits until the VMM ended and returns an error if that was not with exit
// status 0.
func (m *Machine) Wait(ctx context.Context) error {
	select {
	case <-m.exited:
		return m.err
	case <-ctx.Done():
		return fmt.Errorf("the machine has not ended: %w", ctx.Err())
	}
}

// Stop ends the machine if it still runs, and waits for that: first in order,
// then by force.
func (m *Machine) Stop() {
	defer os.RemoveAll(m.tmp)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		select {
		case <-m.exited:
		default:
			m.signal(sig)
			select {
			case <-m.exited:
			case <-time.After(stopGrace):
				continue
			}
		}
		break
	}
	select {
	case <-m.ready:
		m.client.Close()
	default:
	}
}

// Kill ends the machine at once, with all that it has started, and waits until
// its processes are gone.
func (m *Machine) Kill() {
	m.signal(syscall.SIGKILL)
	<-m.exited
}

func (m *Machine) signal(sig syscall.Signal) {
	pid := m.cmd.Process.Pid
	if m.cmd.SysProcAttr != nil && m.cmd.SysProcAttr.Setpgid {
		pid = -pid
	}
	_ = syscall.Kill(pid, sig) // fails only if it ended meanwhile
}

// ended describes how the process ended. Preconditions: m.exited is closed.
func (m *Machine) ended() error {
	if m.err == nil {
		return io.EOF
	}
	return m.err
}
