package nest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Self is, as the first argument of a [Command], the executable that the nest
// was built with. It is in the nest's memory already.
const Self = selfPath

// Config is a machine to run commands in.
type Config struct {
	Dir      string   // the directory with the kernel and its modules
	QEMU     string   // the emulator; "qemu-system-x86_64" in PATH if empty
	Binary   string   // a static executable that has Init in it; the running one if empty
	InitArgs []string // the arguments that make Binary call Init
	CPUs     int      // of the nest; 1 if zero
	Memory   uint64   // bytes for the command, beside what the nest itself needs
	PoolPage uint64   // size of the pages of a pool (hugetlb) for Memory, in bytes; 0: no pool

	// Console gets what the kernel of the nest prints. If it is nil, only the
	// end is kept, for the report of a failure.
	Console io.Writer
}

// Command is what runs in the nest.
type Command struct {
	Args   []string // Args[0] is a path, as on the host, or Self
	Env    []string // the caller's if nil
	Dir    string   // the caller's if empty
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Streams are the command's file descriptors from 3 on.
	Streams []Stream
	// Signals are passed on to the command.
	Signals <-chan os.Signal
	// Abort ends the machine at once when it is closed, whatever the command does; nil
	// is never.
	Abort <-chan struct{}
	// Stop is the signal that tells the command to stop; SIGTERM if zero.
	Stop syscall.Signal
}

// Stream is a file descriptor of the command. The command reads what R gives
// and W gets what the command writes; either may be nil. If W has a method
// CloseWrite, it is called when the command has closed the descriptor.
type Stream struct {
	R io.Reader
	W io.Writer
}

// streams lists the command's streams by file descriptor.
func (c Command) streams() []Stream {
	return append([]Stream{{R: c.Stdin}, {W: c.Stdout}, {W: c.Stderr}}, c.Streams...)
}

// StopTimeout is how long a command may take to end after it was told to.
const StopTimeout = 90 * time.Second

// Run runs the command in a new machine and returns its exit status; that of a
// command that a signal ended is 128 plus the signal's number, as in a shell.
// An error means that the command was not run, or not to its end.
//
// When ctx ends, the command gets its Stop signal; if it is still there after
// StopTimeout, the machine is killed. Should the calling process die, it is killed
// at once. A machine whose kernel has died, so that it does not answer any more, is
// an error after a minute.
//
// Run does not wait for reads from Stdin or a Stream that are under way.
func Run(ctx context.Context, cfg Config, cmd Command) (int, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return 0, err
	}
	start, err := cmd.start()
	if err != nil {
		return 0, err
	}
	m, err := boot(cfg, len(start.Streams))
	if err != nil {
		return 0, err
	}
	defer m.kill()
	return m.run(ctx, start, cmd)
}

func (cfg Config) complete() (Config, error) {
	if cfg.QEMU == "" {
		cfg.QEMU = "qemu-system-x86_64"
	}
	if cfg.CPUs == 0 {
		cfg.CPUs = 1
	}
	if cfg.Binary == "" {
		exe, err := os.Executable()
		if err != nil {
			return cfg, err
		}
		cfg.Binary = exe
	}
	return cfg, nil
}

func (c Command) start() (start, error) {
	if len(c.Args) == 0 {
		return start{}, errors.New("nest: no command")
	}
	s := start{Args: c.Args, Env: c.Env, Dir: c.Dir, Umask: umask(), Stop: int(c.Stop)}
	if s.Stop == 0 {
		s.Stop = int(syscall.SIGTERM)
	}
	if s.Env == nil {
		s.Env = os.Environ()
	}
	if s.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return start{}, err
		}
		s.Dir = dir
	}
	for _, stream := range c.streams() {
		s.Streams = append(s.Streams, directions{Read: stream.R != nil, Write: stream.W != nil})
	}
	return s, nil
}

// tail is a writer that keeps the last bytes that it got.
type tail struct {
	buf []byte
}

// tailSize is about a screenful of a kernel's last words.
const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// explain adds to the failure of a machine what QEMU and the kernel of the nest had to say. It ends
// the machine first, so that nobody writes to the tails any more.
func (m *machine) explain(err error) error {
	m.kill()
	for _, last := range []struct {
		what string
		text []byte
	}{{"qemu", m.stderr.buf}, {"the kernel of the nest", m.console.buf}} {
		if text := bytes.TrimSpace(last.text); len(text) > 0 {
			err = fmt.Errorf("%w\n%s said:\n%s", err, last.what, text)
		}
	}
	return fmt.Errorf("nest: %w", err)
}
