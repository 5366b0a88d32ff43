package console

import (
	"fmt"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Terminal is a terminal in raw mode.
type Terminal struct {
	tty   *os.File
	saved unix.Termios
	guard *guard

	once sync.Once
	err  error
}

// Open puts tty in raw mode: no echo, no line editing, no signals from keys.
// Output is still processed, so that a plain newline of the program's own
// messages starts a new line.
//
// guardArgs are the arguments that make the running executable call Guard.
func Open(tty *os.File, guardArgs ...string) (*Terminal, error) {
	saved, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read the modes of terminal %s: %w", tty.Name(), err)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g, err := startGuard(exec.Command(exe, guardArgs...), tty)
	if err != nil {
		return nil, fmt.Errorf("guard terminal %s: %w", tty.Name(), err)
	}
	t := &Terminal{tty: tty, saved: *saved, guard: g}
	raw := makeRaw(*saved)
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, &raw); err != nil {
		t.Close()
		return nil, fmt.Errorf("put terminal %s in raw mode: %w", tty.Name(), err)
	}
	return t, nil
}

// Close restores the terminal. Only the first call does anything. It may be
// called from any goroutine.
func (t *Terminal) Close() error {
	t.once.Do(func() {
		t.err = unix.IoctlSetTermios(int(t.tty.Fd()), unix.TCSETS, &t.saved)
		t.guard.dismiss()
	})
	return t.err
}

// makeRaw is cfmakeraw(3), but with output processing left on.
func makeRaw(m unix.Termios) unix.Termios {
	m.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP |
		unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	m.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	m.Cflag = m.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	m.Cc[unix.VMIN], m.Cc[unix.VTIME] = 1, 0
	return m
}
