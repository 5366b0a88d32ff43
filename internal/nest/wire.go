package nest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A stream crosses a virtio-serial port as frames: a length, 32 bits
// little-endian, and that many bytes. A frame of length zero is the end of the
// stream: the port itself has no end that both sides could agree on, and data
// may still be under way when the process that wrote it is gone.
//
// Both directions of a port work alike. Where a stream goes only one way, the
// end frame of the other direction says that its reader has gone.

// maxFrame is the largest payload of a frame that is sent or accepted.
const maxFrame = 64 << 10

// sendStream copies src to the port until it ends, and then ends the stream.
func sendStream(port io.Writer, src io.Reader) error {
	buf := make([]byte, 4+maxFrame)
	for {
		n, err := src.Read(buf[4:])
		if n > 0 {
			binary.LittleEndian.PutUint32(buf, uint32(n))
			if _, err := port.Write(buf[:4+n]); err != nil {
				return err
			}
		}
		if err != nil {
			return errors.Join(ignoreEOF(err), endStream(port))
		}
	}
}

// endStream sends the end frame.
func endStream(port io.Writer) error {
	_, err := port.Write(make([]byte, 4))
	return err
}

// receiveStream copies the frames of the port to dst until the end frame.
func receiveStream(dst io.Writer, port io.Reader) error {
	buf := make([]byte, maxFrame)
	for {
		if _, err := io.ReadFull(port, buf[:4]); err != nil {
			return err
		}
		n := binary.LittleEndian.Uint32(buf)
		if n == 0 {
			return nil
		}
		if n > maxFrame {
			return fmt.Errorf("frame of %d bytes, at most %d are allowed", n, maxFrame)
		}
		if _, err := io.ReadFull(port, buf[:n]); err != nil {
			return err
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return &writeError{err}
		}
	}
}

// writeError is a failure of the far end of a relay, not of the port.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// A message of the control port, one JSON object each.

// request goes to the nest: first Start, then Signal any number of times. One
// without both is a heartbeat. With Ask the nest is to say that it is alive.
type request struct {
	Start  *start `json:"start,omitempty"`
	Signal int    `json:"signal,omitempty"`
	Ask    bool   `json:"ask,omitempty"`
}

// start is the command as Init needs it.
type start struct {
	Args    []string     `json:"args"`
	Env     []string     `json:"env"`
	Dir     string       `json:"dir"`
	Umask   int          `json:"umask"`
	Stop    int          `json:"stop"`    // the signal that tells it to stop
	Streams []directions `json:"streams"` // by file descriptor, from 0 on
}

// directions says which ways a stream goes, seen from the command. One that
// goes nowhere is /dev/null.
type directions struct {
	Read  bool `json:"read,omitempty"`
	Write bool `json:"write,omitempty"`
}

// reply comes from the nest: Alive any number of times, as it was asked for, and
// once the result.
type reply struct {
	Alive bool   `json:"alive,omitempty"`
	Exit  int    `json:"exit"`
	Error string `json:"error,omitempty"` // the command could not be run
}
