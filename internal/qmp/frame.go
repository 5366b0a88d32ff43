package qmp

import (
	"bufio"
	"errors"
)

// MaxRequest is the largest request that is accepted, in bytes.
const MaxRequest = 64 << 10

var errTooLarge = errors.New("JSON text is too large")

// splitter cuts a stream into JSON texts, as far as that goes without looking into
// them: so a broken one is not the end of the stream.
type splitter struct {
	r *bufio.Reader
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }

// next returns the next text: an object or array, or a line with anything else.
// What is more than limit bytes is errTooLarge. The result is the caller's.
func (s *splitter) next(limit int) ([]byte, error) {
	var text []byte
	depth, inString, escaped := 0, false, false
	for {
		b, err := s.r.ReadByte()
		if err != nil {
			return nil, err
		}
		if len(text) == 0 && isSpace(b) {
			continue
		}
		if len(text) == limit {
			return nil, errTooLarge
		}
		text = append(text, b)
		switch {
		case inString:
			inString = escaped || b != '"'
			escaped = b == '\\' && !escaped
			if b == '\n' { // no string goes on in the next line
				return text, nil
			}
			continue
		case b == '"':
			inString, escaped = true, false
		case b == '{' || b == '[':
			depth++
		case b == '}' || b == ']':
			depth--
		}
		if depth <= 0 && (b == '}' || b == ']' || b == '\n') {
			return text, nil
		}
	}
}
