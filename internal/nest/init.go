package nest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Init is the whole life of process 1 of the nest. It returns only if it is
// called anywhere else.
func Init() error {
	if os.Getpid() != 1 {
		return errors.New("this is for process 1 of a nested machine")
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "nest:", err) // the console
	}
	for {
		// With -no-reboot the end of QEMU.
		unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
		time.Sleep(time.Second)
	}
}

// serve runs the one command. An error is one of the connection to the host;
// what goes wrong with the command is reported over it.
func serve() error {
	if err := mount(mountPoint{"devtmpfs", "/dev", "devtmpfs", "", 0}, mountPoint{"proc", "/proc", "proc", "", 0}); err != nil {
		return err
	}
	if err := loadModules("/" + moduleDir); err != nil {
		return err
	}
	control, err := openPort(controlPort)
	if err != nil {
		return err
	}
	host := newHost(control)
	status, err := runCommand(host)
	r := reply{Exit: status}
	if err != nil {
		r.Error = err.Error()
	}
	if err := host.send(r); err != nil {
		return err
	}
	// The host ends the machine when it has got all; a lost host is the end, too.
	host.obey(func(syscall.Signal) {})
	return nil
}

// host is the nest's end of the control connection.
type host struct {
	requests *json.Decoder
	obeying  sync.Mutex // held while requests are read

	mu      sync.Mutex // two say that they are alive, or what became of the command
	replies *json.Encoder
}

func newHost(control io.ReadWriter) *host {
	return &host{requests: json.NewDecoder(control), replies: json.NewEncoder(control)}
}

func (h *host) send(r reply) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.replies.Encode(r)
}

// obey does what the host asks for until it is lost: signals go to the command, the
// host gets its answers, and a heartbeat becomes one for every processor. If another
// goroutine is at it, it waits for that one first.
func (h *host) obey(signal func(syscall.Signal)) {
	h.obeying.Lock()
	defer h.obeying.Unlock()
	runtime.LockOSThread() // for poke
	defer runtime.UnlockOSThread()
	for {
		var r request
		if h.requests.Decode(&r) != nil {
			return
		}
		if r.Signal != 0 {
			signal(syscall.Signal(r.Signal))
			continue
		}
		poke()
		if r.Ask && h.send(reply{Alive: true}) != nil {
			return
		}
	}
}

// loadModules loads all modules in a directory, by name.
func loadModules(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		f, err := os.Open(filepath.Join(dir, file.Name()))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("load kernel module %s: %w", file.Name(), err)
		}
	}
	return nil
}

// hostRoot is where the host's root directory is mounted, selfPath where the
// command finds this executable in it.
const (
	hostRoot = "/host"
	selfPath = "/dev/" + binaryName
)

type mountPoint struct {
	source, target, fstype, data string
	flags                        uintptr
}

func mount(points ...mountPoint) error {
	for _, p := range points {
		if err := unix.Mount(p.source, p.target, p.fstype, p.flags, p.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", p.fstype, p.target, err)
		}
	}
	return nil
}

// mountHost makes the host's tree ready for the command. Nothing of the host is
// cached in the nest: what one side writes, the other reads at once.
func mountHost() error {
	// The largest message of the virtio transport: 128 descriptors of a page,
	// less the three that headers take.
	const options = "trans=virtio,version=9p2000.L,msize=512000,cache=none"
	err := mount(
		mountPoint{mountTag, hostRoot, "9p", options, 0},
		mountPoint{"proc", hostRoot + "/proc", "proc", "", 0},
		mountPoint{"sysfs", hostRoot + "/sys", "sysfs", "", 0},
		mountPoint{"devtmpfs", hostRoot + "/dev", "devtmpfs", "", 0},
	)
	if err != nil {
		return err
	}
	for _, dir := range []string{"/dev/pts", "/dev/shm"} {
		if err := os.MkdirAll(hostRoot+dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(hostRoot+selfPath, nil, 0o755); err != nil {
		return err
	}
	return mount(
		mountPoint{"devpts", hostRoot + "/dev/pts", "devpts", "", 0},
		mountPoint{"tmpfs", hostRoot + "/dev/shm", "tmpfs", "mode=1777", 0},
		mountPoint{"/" + binaryName, hostRoot + selfPath, "", "", unix.MS_BIND},
	)
}

// runCommand takes the command from the host and runs it to its end.
func runCommand(host *host) (status int, err error) {
	var first request
	if err := host.requests.Decode(&first); err != nil {
		return 0, fmt.Errorf("receive the command: %w", err)
	}
	if first.Start == nil {
		return 0, errors.New("the first request is not a command")
	}
	if err := mountHost(); err != nil {
		return 0, err
	}
	s := first.Start
	unix.Umask(s.Umask)
	cmd := &exec.Cmd{
		Path:        s.Args[0],
		Args:        s.Args,
		Env:         s.Env,
		Dir:         s.Dir,
		SysProcAttr: &syscall.SysProcAttr{Chroot: hostRoot, Setsid: true},
	}
	st, err := openStreams(s.Streams)
	if err != nil {
		return 0, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = st.files[0], st.files[1], st.files[2], st.files[3:]
	err = cmd.Start()
	st.closeFiles()
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go serveHost(host, cmd.Process, syscall.Signal(s.Stop), ended)
	cmd.Wait()
	close(ended)
	st.outgoing.Wait()
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// serveHost obeys the host. If it is lost, that ends the command, by the signal stop, and
// the machine: nobody takes what the streams still hold.
func serveHost(host *host, p *os.Process, stop os.Signal, ended <-chan struct{}) {
	host.obey(func(sig syscall.Signal) { p.Signal(sig) })
	p.Signal(stop)
	select {
	case <-ended:
	case <-time.After(StopTimeout):
	}
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// streams are the ends of the command's streams in the nest.
type streams struct {
	files    []*os.File // for the command, by file descriptor
	outgoing sync.WaitGroup
}

func openStreams(dirs []directions) (*streams, error) {
	st := &streams{}
	for fd, d := range dirs {
		if err := st.open(fd, d); err != nil {
			st.closeFiles()
			return nil, fmt.Errorf("stream %d: %w", fd, err)
		}
	}
	return st, nil
}

func (st *streams) closeFiles() {
	for _, f := range st.files {
		f.Close()
	}
}

func (st *streams) open(fd int, d directions) error {
	if !d.Read && !d.Write {
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		st.files = append(st.files, null)
		return err
	}
	port, err := openPort(streamPort + fd)
	if err != nil {
		return err
	}
	theirs, in, out, err := connect(d)
	if err != nil {
		return err
	}
	st.files = append(st.files, theirs)
	if d.Read {
		go func() {
			receiveStream(in, port)
			closeWrite(in)
		}()
	}
	if d.Write {
		st.outgoing.Go(func() { sendStream(port, out) })
	}
	if d.Write && !d.Read {
		go func() {
			if receiveStream(io.Discard, port) == nil {
				out.Close() // nobody reads any more: the command gets SIGPIPE
			}
		}()
	}
	return nil
}

// connect makes a pipe for one direction, or a socket pair for both. theirs is
// for the command, which reads what is written to in and writes what out reads.
func connect(d directions) (theirs, in, out *os.File, err error) {
	switch {
	case d.Read && d.Write:
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, nil, nil, err
		}
		ours := os.NewFile(uintptr(fds[0]), "stream")
		return os.NewFile(uintptr(fds[1]), "stream"), ours, ours, nil
	case d.Read:
		theirs, in, err = os.Pipe()
	default:
		out, theirs, err = os.Pipe()
	}
	return theirs, in, out, err
}

// closeWrite ends what the command reads, and of a socket only that.
func closeWrite(f *os.File) {
	half := false
	if conn, err := f.SyscallConn(); err == nil {
		conn.Control(func(fd uintptr) { half = unix.Shutdown(int(fd), unix.SHUT_WR) == nil })
	}
	if !half {
		f.Close()
	}
}
