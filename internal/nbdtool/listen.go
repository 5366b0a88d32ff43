package nbdtool

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/govmm/govmm/internal/nbdclient"
)

// Where the server listens unless options say otherwise.
const (
	defaultPort = "10809" // assigned by IANA
	defaultBind = "0.0.0.0"
)

// activationFD is the first file that a service manager passes on.
const activationFD = 3

// activated reports whether a service manager has opened the socket already: sd_listen_fds(3).
func activated() (bool, error) {
	pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID"))
	files, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	switch {
	case pid != os.Getpid() || files < 1:
		return false, nil
	case files > 1:
		return false, errors.New("qemu-nbd does not support socket activation with LISTEN_FDS > 1")
	}
	return true, nil
}

// checkActivated refuses options about a socket that is there already.
func (s *settings) checkActivated() error {
	what := ""
	switch {
	case s.socket != "":
		what = "Unix socket"
	case s.bind != "":
		what = "The interface"
	case s.port != "":
		what = "TCP port number"
	default:
		return nil
	}
	return errors.New(what + " can't be set when using socket activation")
}

// inherited is the listener in a file that was passed on.
func inherited(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "socket")
	defer func() { _ = f.Close() }()
	return net.FileListener(f)
}

// address is where a TCP socket is.
func (s *settings) address() (bind, port string) {
	bind, port = s.bind, s.port
	if bind == "" {
		bind = defaultBind
	}
	if port == "" {
		port = defaultPort
	}
	return bind, port
}

// listen opens the socket that the options name.
func (s *settings) listen() (net.Listener, error) {
	if s.socket != "" {
		return s.listenUnix()
	}
	bind, port := s.address()
	l, err := net.Listen("tcp", net.JoinHostPort(bind, port))
	var no syscall.Errno
	var name *net.DNSError
	var address *net.AddrError
	switch {
	case err == nil:
		return l, nil
	case errors.As(err, &name) && name.Name == bind:
		return nil, fmt.Errorf("address resolution failed for %s:%s: Name or service not known", bind, port)
	case errors.As(err, &name), errors.As(err, &address):
		return nil, fmt.Errorf("address resolution failed for %s:%s: Servname not supported for ai_socktype", bind, port)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, errors.New("Failed to find an available port: Address already in use")
	case errors.As(err, &no):
		return nil, fmt.Errorf("Failed to bind socket: %s", capital(no.Error()))
	}
	return nil, err
}

// listenUnix opens a Unix socket, in place of one that is there: that of a dead server, or
// of one that goes on for the clients that it has.
func (s *settings) listenUnix() (net.Listener, error) {
	if err := nbdclient.CheckSocketPath(s.socket); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(s.socket); err == nil && info.Mode()&fs.ModeSocket != 0 {
		err := os.Remove(s.socket)
		var no syscall.Errno
		if errors.As(err, &no) && no != syscall.ENOENT {
			return nil, fmt.Errorf("Failed to unlink socket %s: %s", s.socket, capital(no.Error()))
		}
	}
	l, err := net.Listen("unix", s.socket)
	var no syscall.Errno
	if errors.As(err, &no) {
		return nil, fmt.Errorf("Failed to bind socket to %s: %s", s.socket, capital(no.Error()))
	}
	if err != nil {
		return nil, err
	}
	u := &ownSocket{UnixListener: l.(*net.UnixListener), path: s.socket}
	u.SetUnlinkOnClose(false)
	u.info, err = os.Lstat(u.path)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return u, nil
}

// ownSocket removes its socket in the end, unless another server has put its own there.
type ownSocket struct {
	*net.UnixListener
	path string
	info fs.FileInfo
}

func (l *ownSocket) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}
