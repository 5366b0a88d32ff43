package nest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// portTimeout bounds the wait for the kernel to find a port, which it does in
// a few milliseconds after the driver has been loaded.
const portTimeout = 30 * time.Second

// openPort opens a port of the only virtio-serial device. The driver adds the
// ports, and learns that the host's ends are connected, some time after it has
// been loaded; reading a port that is not connected yet would give an end of
// file.
func openPort(nr int) (*os.File, error) {
	deadline := time.Now().Add(portTimeout)
	for {
		f, err := tryPort(nr)
		if err == nil {
			return f, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("virtio-serial port %d: %w", nr, err)
		}
		time.Sleep(time.Millisecond)
	}
}

func tryPort(nr int) (*os.File, error) {
	// The number of the device depends on the order of the probes.
	found, err := filepath.Glob(fmt.Sprintf("/dev/vport*p%d", nr))
	if err != nil || len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	fd, err := unix.Open(found[0], unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if !connected(fd) {
		unix.Close(fd)
		return nil, unix.ENOTCONN
	}
	return os.NewFile(uintptr(fd), found[0]), nil
}

// connected reports whether the host's end of the port is open.
func connected(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLHUP == 0
}
