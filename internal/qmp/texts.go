package qmp

import (
	"bufio"
	"errors"
	"strings"
)

const (
	// MaxRequest is the largest request that is accepted, in bytes.
	MaxRequest = 64 << 10
	// maxDepth is how deep arrays and objects may lie in each other, as in QEMU.
	maxDepth = 1024
)

var errTooLarge = errors.New("JSON text is too large")

// texts cuts a stream into JSON texts as QEMU's servers do (QEMU,
// qobject/json-lexer.c and json-streamer.c): a text ends where its brackets do, and
// a byte that no JSON has in its place ends what there is of one. Strings may be in
// single quotes, too.
type texts struct {
	r     *bufio.Reader
	limit int // of a text, in bytes

	text   []byte
	depth  int
	broken bool // what the last call met, the rest of which is to be skipped
}

func newTexts(r *bufio.Reader, limit int) *texts { return &texts{r: r, limit: limit} }

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }
func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// inString reports whether a byte may be in a string as it is.
func inString(b byte) bool { return b >= ' ' && b < 0xfe }

// isBracket reports whether a byte is a token of its own.
func isBracket(b byte) bool {
	switch b {
	case '{', '}', '[', ']', ':', ',':
		return true
	}
	return false
}

// next returns the next text, which the following call overwrites. Its brackets may
// be of the wrong kind, and what is between them is only known to be made of JSON's
// words. An *Error says what the stream has that is no text at all; the texts after
// it can still be had. A text that is too large is errTooLarge, which ends it.
func (t *texts) next() ([]byte, error) {
	t.text, t.depth = t.text[:0], 0
	if t.broken {
		t.recover()
	}
	for {
		b, err := t.peek()
		if err != nil {
			return nil, err
		}
		start := len(t.text)
		switch {
		case isSpace(b):
			err = t.take()
		case isBracket(b):
			err = t.bracket(b)
		case b == '"' || b == '\'':
			err = t.string(b)
		case b == '-' || isDigit(b):
			err = t.number()
		case b >= 'a' && b <= 'z':
			err = t.while(func(b byte) bool { return b >= 'a' && b <= 'z' })
		default:
			err = t.takeIf(func(byte) bool { return false })
		}
		if errors.Is(err, errStray) {
			err = Errorf(GenericError, "JSON parse error, stray '%s'", t.text[start:])
			t.broken = true // to be skipped when it is there, not before this is told
		}
		if err != nil {
			return nil, err
		}
		switch {
		case isSpace(b) && start == 0: // nothing yet
			t.text = t.text[:0]
		case t.depth <= 0 && !isSpace(b):
			return t.text, nil
		}
	}
}

// errStray means that the last byte that was taken can't be where it is.
var errStray = errors.New("stray byte")

func (t *texts) peek() (byte, error) {
	p, err := t.r.Peek(1)
	if err != nil {
		return 0, err
	}
	return p[0], nil
}

// take moves a byte of the stream to the text.
func (t *texts) take() error {
	b, err := t.r.ReadByte()
	switch {
	case err != nil:
		return err
	case len(t.text) == t.limit:
		return errTooLarge
	}
	t.text = append(t.text, b)
	return nil
}

// takeIf takes a byte that must be one of a kind.
func (t *texts) takeIf(kind func(byte) bool) error {
	if err := t.take(); err != nil {
		return err
	}
	if !kind(t.text[len(t.text)-1]) {
		return errStray
	}
	return nil
}

// while takes bytes for as long as they are of a kind.
func (t *texts) while(kind func(byte) bool) error {
	for {
		b, err := t.peek()
		if err != nil || !kind(b) {
			return err
		}
		if err := t.take(); err != nil {
			return err
		}
	}
}

func (t *texts) bracket(b byte) error {
	switch b {
	case '{', '[':
		t.depth++
	case '}', ']':
		t.depth--
	}
	if err := t.take(); err != nil {
		return err
	}
	if t.depth > maxDepth {
		return Errorf(GenericError, "JSON nesting depth limit exceeded")
	}
	return nil
}

func (t *texts) string(quote byte) error {
	if err := t.take(); err != nil {
		return err
	}
	for {
		if err := t.takeIf(inString); err != nil {
			return err
		}
		switch t.text[len(t.text)-1] {
		case quote:
			return nil
		case '\\':
			if err := t.takeIf(inString); err != nil {
				return err
			}
		}
	}
}

// number takes what JSON's grammar has of one. A byte beyond it is the next token's,
// but for one that leaves the number without an end.
func (t *texts) number() error {
	if err := t.take(); err != nil {
		return err
	}
	if t.text[len(t.text)-1] == '-' {
		if err := t.takeIf(isDigit); err != nil {
			return err
		}
	}
	if t.text[len(t.text)-1] == '0' {
		b, err := t.peek()
		if err == nil && isDigit(b) {
			err = t.takeIf(func(byte) bool { return false })
		}
		if err != nil {
			return err
		}
	}
	if err := t.while(isDigit); err != nil {
		return err
	}
	if err := t.part(".", ""); err != nil {
		return err
	}
	return t.part("eE", "+-")
}

// part takes a part of a number, if it is there: one of the bytes in begin, perhaps
// one of sign, and digits.
func (t *texts) part(begin, sign string) error {
	b, err := t.peek()
	if err != nil || strings.IndexByte(begin, b) < 0 {
		return err
	}
	if err := t.take(); err != nil {
		return err
	}
	if b, err = t.peek(); err == nil && strings.IndexByte(sign, b) >= 0 {
		err = t.take()
	}
	if err == nil {
		err = t.takeIf(isDigit)
	}
	if err != nil {
		return err
	}
	return t.while(isDigit)
}

// recover skips what is left of something broken.
func (t *texts) recover() {
	t.broken = false
	for {
		b, err := t.peek()
		if err != nil || !inString(b) || isBracket(b) {
			return
		}
		_, _ = t.r.Discard(1)
	}
}
