package nbd

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller makes Go's scheduler look at sockets before the caller goes on. It does so by
// itself only when no goroutine is ready to run, and runtime.Gosched leaves one ready. It is
// used by one goroutine at a time.
type poller struct {
	file  *os.File // an eventfd
	conn  syscall.RawConn
	step  func(fd uintptr) bool // bound once, so that look does not allocate
	asked bool
	one   [8]byte // what makes the descriptor ready
}

// newPoller returns nil if the host has no descriptor for it.
func newPoller() *poller {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil
	}
	p := &poller{file: os.NewFile(uintptr(fd), "eventfd"), one: [8]byte{1}}
	if p.conn, err = p.file.SyscallConn(); err != nil {
		p.close()
		return nil
	}
	p.step = p.ask
	return p
}

func (p *poller) close() { _ = p.file.Close() }

// look lets those run whose sockets have become ready.
func (p *poller) look() {
	p.asked = false
	_ = p.conn.Read(p.step)
	runtime.Gosched() // it may have been the first that was found
}

// ask makes the descriptor one that has become ready, and waits for that.
func (p *poller) ask(fd uintptr) bool {
	if p.asked {
		return true
	}
	p.asked = true
	_, err := unix.Write(int(fd), p.one[:])
	return err != nil
}
