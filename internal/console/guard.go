package console

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"
)

// File descriptors of the guard process beside the terminal, its stdin.
const (
	guardReadyFD = 3 // written once by the guard: it knows the terminal's modes
	guardLifeFD  = 4 // read by the guard: a byte dismisses it, the end is death
)

// guard is the program's end of its guard process.
type guard struct {
	cmd  *exec.Cmd
	life *os.File
}

// startGuard starts cmd as the guard of tty and waits until it has saved the
// modes of the terminal.
func startGuard(cmd *exec.Cmd, tty *os.File) (*guard, error) {
	ready, readyChild, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	lifeChild, life, err := os.Pipe()
	if err != nil {
		readyChild.Close()
		return nil, err
	}
	cmd.Stdin = tty
	cmd.ExtraFiles = []*os.File{readyChild, lifeChild}
	// A process group of its own: a signal sent to the program's group, SIGKILL
	// in the worst case, spares the guard.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	readyChild.Close()
	lifeChild.Close()
	if err != nil {
		life.Close()
		return nil, err
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		life.Close()
		cmd.Wait()
		return nil, fmt.Errorf("%s did not start: %w", cmd, err)
	}
	return &guard{cmd: cmd, life: life}, nil
}

// dismiss ends the guard without letting it touch the terminal.
func (g *guard) dismiss() {
	g.life.Write([]byte{0})
	g.life.Close()
	g.cmd.Wait()
}

// Guard is the whole life of a guard process, started by Open: it waits until
// the program that started it has died or has dismissed it, and restores the
// terminal in the first case.
func Guard() error {
	// It is a background process for the terminal, where setting modes needs
	// SIGTTOU ignored; the others would end it before its time.
	signal.Ignore(unix.SIGTTOU, unix.SIGTTIN, unix.SIGTSTP,
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	saved, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("read the modes of the terminal: %w", err)
	}
	if _, err := unix.Write(guardReadyFD, []byte{0}); err != nil {
		return fmt.Errorf("report the guard as ready: %w", err)
	}
	// A plain blocking read, not the runtime's poller: between the program's
	// death and the shell's next look at the terminal every microsecond counts.
	var b [1]byte
	n, err := unix.Read(guardLifeFD, b[:])
	for err == unix.EINTR {
		n, err = unix.Read(guardLifeFD, b[:])
	}
	if n == 1 {
		return nil
	}
	return unix.IoctlSetTermios(0, unix.TCSETS, saved)
}
