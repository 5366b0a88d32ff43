package nbdtool

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// A program can't go on in a child of its own that has only one of its threads, so
// --fork starts it once more: the child opens everything, says on a pipe that clients
// can connect, and only then gives up the pipe that is its standard error.

// daemonVariable is in the environment of the child. Its value says whether it was
// passed a socket.
const (
	daemonVariable = "GOVMM_NBD_DAEMON"
	daemonPlain    = "plain"
	daemonPassed   = "socket"
)

// Files of the child.
const (
	daemonReady  = 3 // the pipe on which it says that clients can connect
	daemonStderr = 4 // the standard error of who called the program
	daemonSocket = 5 // the socket that a service manager has opened
)

// daemon is a process that --fork has started; nil is any other.
type daemon struct{ passed bool }

// takeDaemon finds out what this process is.
func takeDaemon() *daemon {
	v := os.Getenv(daemonVariable)
	_ = os.Unsetenv(daemonVariable)
	if v != daemonPlain && v != daemonPassed {
		return nil
	}
	return &daemon{v == daemonPassed}
}

// activated reports whether a socket was passed on.
func (d *daemon) activated() bool { return d != nil && d.passed }

// ready lets go of who waits for the server: of its terminal as well, unless the log
// goes there.
func (d *daemon) ready(verbose bool) error {
	if d == nil {
		return nil
	}
	to := daemonStderr
	if !verbose {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer func() { _ = null.Close() }()
		to = int(null.Fd())
	}
	pipe := os.NewFile(daemonReady, "ready")
	_, err := pipe.Write([]byte{1})
	if err == nil {
		err = unix.Dup3(to, syscall.Stderr, 0)
	}
	_ = unix.Close(daemonStderr)
	_ = pipe.Close()
	return err
}

// exitStatus ends the program when all there is to say has been said.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// daemonize starts the server in a session of its own, and waits until clients can
// connect. What it has to say until then is printed, and makes the exit status 1.
func (t *Tool) daemonize(passed bool) error {
	said, saying, err := os.Pipe()
	if err != nil {
		return err
	}
	ready, readying, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", t.Args...)
	cmd.Args[0] = t.Program
	cmd.Stderr = saying
	cmd.ExtraFiles = []*os.File{readying, os.Stderr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	kind := daemonPlain
	if passed {
		kind = daemonPassed
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(activationFD, "socket"))
	}
	cmd.Env = append(os.Environ(), daemonVariable+"="+kind)
	if err := cmd.Start(); err != nil {
		return err
	}
	_, _ = saying.Close(), readying.Close()
	n, _ := io.Copy(t.Stderr, said)
	good, _ := io.Copy(io.Discard, ready)
	if n > 0 || good == 0 {
		return exitStatus(1)
	}
	return nil
}
