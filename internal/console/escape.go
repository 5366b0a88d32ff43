package console

import "io"

// escapeKey is Ctrl-A.
const escapeKey = 0x01

// Command is something that the user asked of the console rather than of the
// guest.
type Command uint8

const (
	None Command = iota
	Help
	Quit
)

func (c Command) String() string {
	switch c {
	case None:
		return "none"
	case Help:
		return "help"
	case Quit:
		return "quit"
	}
	return "unknown command"
}

// HelpText lists the commands, with line ends that suit a raw terminal.
const HelpText = "\r\n" +
	"Ctrl-A X       stop the machine\r\n" +
	"Ctrl-A H       show this help\r\n" +
	"Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n"

// Escape finds commands in a stream of keys. The zero value is ready.
type Escape struct {
	pending bool // the last key was the escape key
}

// Next appends to dst the keys of src that are for the guest, up to the first
// command. It returns the longer slice, the command (None if src ends before
// there is one) and the rest of src after the command.
func (e *Escape) Next(dst, src []byte) (out []byte, c Command, rest []byte) {
	for i, key := range src {
		if !e.pending {
			if key == escapeKey {
				e.pending = true
			} else {
				dst = append(dst, key)
			}
			continue
		}
		e.pending = false
		switch key {
		case escapeKey, 'a', 'A':
			dst = append(dst, escapeKey)
		case 'x', 'X':
			return dst, Quit, src[i+1:]
		case 'h', 'H', '?':
			return dst, Help, src[i+1:]
		}
	}
	return dst, None, nil
}

// Reader is the guest's side of a terminal: the keys of Source without the
// commands, which are given to Do as they are met. Not safe for use by several
// goroutines.
type Reader struct {
	Source io.Reader
	Do     func(Command)

	escape Escape
	raw    [512]byte
	ready  []byte
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.ready) == 0 {
		n, err := r.Source.Read(r.raw[:])
		r.scan(r.raw[:n])
		if err != nil && len(r.ready) == 0 {
			return 0, err
		}
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

func (r *Reader) scan(keys []byte) {
	r.ready = nil
	for len(keys) > 0 {
		var c Command
		r.ready, c, keys = r.escape.Next(r.ready, keys)
		if c != None {
			r.Do(c)
		}
	}
}
