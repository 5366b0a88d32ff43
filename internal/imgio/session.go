package imgio

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
)

// Session carries out commands on one image at a time.
type Session struct {
	// Name is what the program calls itself in messages.
	Name string
	// Out is where results go, Err where messages go.
	Out, Err io.Writer
	// Misalign makes buffers begin 16 bytes after an address that suits direct
	// I/O.
	Misalign bool
	// ImageOptions says that open takes options in place of a name.
	ImageOptions bool
	// Objects are passphrases and TLS credentials that options refer to.
	Objects *blockopt.Objects

	mu sync.Mutex // one line of Out at a time

	disk    *disk // nil if none is open
	running int   // asynchronous requests that have not reported
	done    chan func()
	busy    []*asyncRequest
	quit    bool
}

// NewSession returns a session without an image.
func NewSession(name string, out, err io.Writer) *Session {
	return &Session{Name: name, Out: out, Err: err, done: make(chan func())}
}

// printf prints a result. It may be called from any goroutine.
func (s *Session) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.Out, format, args...)
}

// flushOut writes what Out holds back, if it does that.
func (s *Session) flushOut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.Out.(interface{ Flush() error }); ok {
		_ = f.Flush() // the writer keeps its error
	}
}

// complain prints a message of the program.
func (s *Session) complain(format string, args ...any) {
	fmt.Fprintf(s.Err, s.Name+": "+format+"\n", args...)
}

// warn prints a warning.
func (s *Session) warn(text string) { s.complain("warning: %s", text) }

// Quit reports whether the command quit was given.
func (s *Session) Quit() bool { return s.quit }

// Run carries out a command line, and reports whether it succeeded.
func (s *Session) Run(line string) bool {
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' })
	if len(words) == 0 {
		return true
	}
	c := findCommand(words[0])
	if c == nil {
		fmt.Fprintf(s.Err, "command \"%s\" not found\n", words[0])
		return false
	}
	if !c.anytime && s.disk == nil {
		fmt.Fprintf(s.Err, "no file open, try 'help open'\n")
		return false
	}
	switch n := len(words) - 1; {
	case n >= c.min && (n <= c.max || c.max < 0):
	case c.max < 0:
		fmt.Fprintf(s.Err, "bad argument count %d to %s, expected at least %d arguments\n", n, words[0], c.min)
		return false
	case c.min == c.max:
		fmt.Fprintf(s.Err, "bad argument count %d to %s, expected %d arguments\n", n, words[0], c.min)
		return false
	default:
		fmt.Fprintf(s.Err, "bad argument count %d to %s, expected between %d and %d arguments\n", n, words[0], c.min, c.max)
		return false
	}
	if c.writes && s.disk != nil && s.disk.dev.ReadOnly() {
		s.complain("Block node is read-only")
		return false
	}
	return c.run(s, c, words)
}

// options takes the options of a command, and prints how it is used if they are
// wrong, or if the number of other arguments is not between min and max.
func (s *Session) options(c *command, words []string, min, max int) (flags, bool) {
	f, ok := parse(words[0], words[1:], lettersOf(c.letters), s.Err)
	if !ok || len(f.args) < min || len(f.args) > max {
		s.usage(c)
		return f, false
	}
	return f, true
}

// Close ends requests that are running, and closes the image.
func (s *Session) Close() error {
	if s.disk == nil {
		return nil
	}
	if s.disk.debug != nil {
		s.disk.debug.ResumeAll()
	}
	s.wait()
	err := s.disk.dev.Close()
	s.disk = nil
	return err
}

// sayClose prints why an image was not closed well. Of one to which nothing was written
// qemu-io says nothing, nor where a flush has failed already; good reports that.
func (s *Session) sayClose(d *disk, err error) (good bool) {
	switch {
	case s.Name == qemuIO && errors.Is(err, qcow2.ErrMetadata):
		s.complain("Failed to flush the L2 table cache: %s", text(err))
		s.complain("Failed to flush the refcount block cache: %s", text(err))
	case s.Name == qemuIO && (!d.changed.Load() || d.unflushed.Load()):
		return true
	default:
		why := slices.Compact(strings.Split(err.Error(), "\n")) // the image and its data file may say the same
		s.complain("close: %s", strings.Join(why, "; "))
	}
	return false
}

// text is the message of the C library for an error of a request.
func text(err error) string {
	var number syscall.Errno
	switch {
	case errors.As(err, &number):
	case errors.Is(err, qcow2.ErrAlignment), errors.Is(err, syscall.EINVAL):
		number = syscall.EINVAL
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, qcow2.ErrUnsupported):
		number = syscall.ENOTSUP
	case errors.Is(err, qcow2.ErrTooLarge):
		number = syscall.EFBIG
	case errors.Is(err, qcow2.ErrClosed):
		return "No medium found"
	default:
		number = syscall.EIO
	}
	message := number.Error()
	return strings.ToUpper(message[:1]) + message[1:]
}
