package qmp

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// parser makes values of a text (QEMU, qobject/json-parser.c): objects are
// map[string]any, arrays []any, numbers json.Number.
type parser struct {
	rest []byte
}

// parse returns the value that a text of [texts] has. Its errors have QEMU's words.
func parse(text []byte) (any, error) {
	p := &parser{text}
	return p.value()
}

func wrong(format string, args ...any) error {
	return Errorf(GenericError, "JSON parse error, "+format, args...)
}

// peek is the first byte of the next token, 0 if there is none.
func (p *parser) peek() byte {
	p.rest = bytes.TrimLeft(p.rest, " \t\r\n")
	if len(p.rest) == 0 {
		return 0
	}
	return p.rest[0]
}

// skip takes the next token if it is this one.
func (p *parser) skip(b byte) bool {
	if p.peek() != b {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *parser) value() (any, error) {
	switch b := p.peek(); {
	case b == '{':
		return p.object()
	case b == '[':
		return p.array()
	case b == '"' || b == '\'':
		return p.string()
	case b == '-' || isDigit(b):
		return p.number(), nil
	case b >= 'a' && b <= 'z':
		return p.keyword()
	}
	return nil, wrong("expecting value")
}

func (p *parser) object() (any, error) {
	object := map[string]any{}
	p.skip('{')
	if p.skip('}') {
		return object, nil
	}
	for {
		name, err := p.value()
		if err != nil {
			return nil, err
		}
		key, ok := name.(string)
		switch {
		case !ok:
			return nil, wrong("key is not a string in object")
		case !p.skip(':'):
			return nil, wrong("missing : in object pair")
		}
		value, err := p.value()
		if err != nil {
			return nil, err
		}
		if _, dup := object[key]; dup {
			return nil, wrong("duplicate key")
		}
		object[key] = value
		switch {
		case p.skip('}'):
			return object, nil
		case !p.skip(','):
			return nil, wrong("expected separator in dict")
		}
	}
}

func (p *parser) array() (any, error) {
	array := []any{}
	p.skip('[')
	if p.skip(']') {
		return array, nil
	}
	for {
		value, err := p.value()
		if err != nil {
			return nil, err
		}
		array = append(array, value)
		switch {
		case p.skip(']'):
			return array, nil
		case !p.skip(','):
			return nil, wrong("expected separator in list")
		}
	}
}

// number takes a number. The texts have none that does not end well.
func (p *parser) number() json.Number {
	n := 1 // a sign, or a digit
	digits := func() {
		for n < len(p.rest) && isDigit(p.rest[n]) {
			n++
		}
	}
	digits()
	if n < len(p.rest) && p.rest[n] == '.' {
		n++
		digits()
	}
	if n < len(p.rest) && (p.rest[n] == 'e' || p.rest[n] == 'E') {
		n += 2 // a sign, or a digit
		digits()
	}
	number := json.Number(p.rest[:n])
	p.rest = p.rest[n:]
	return number
}

func (p *parser) keyword() (any, error) {
	n := 0
	for n < len(p.rest) && p.rest[n] >= 'a' && p.rest[n] <= 'z' {
		n++
	}
	word := string(p.rest[:n])
	p.rest = p.rest[n:]
	switch word {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	}
	return nil, wrong("invalid keyword '%s'", word)
}

func (p *parser) string() (string, error) {
	var s strings.Builder
	quote := p.rest[0]
	for p.rest = p.rest[1:]; p.rest[0] != quote; {
		if p.rest[0] == '\\' {
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			s.WriteRune(r)
			continue
		}
		r, n := utf8.DecodeRune(p.rest)
		if r == utf8.RuneError && n == 1 {
			return "", wrong("invalid UTF-8 sequence in string")
		}
		s.WriteRune(r)
		p.rest = p.rest[n:]
	}
	p.rest = p.rest[1:]
	return s.String(), nil
}

// escape is the character for a backslash and what follows.
func (p *parser) escape() (rune, error) {
	c := p.rest[1]
	if c == 'u' {
		return p.codePoint()
	}
	p.rest = p.rest[2:]
	if i := strings.IndexByte("bfnrt", c); i >= 0 {
		return rune("\b\f\n\r\t"[i]), nil
	}
	if strings.IndexByte(`"'\/`, c) < 0 {
		return 0, wrong("invalid escape sequence in string")
	}
	return rune(c), nil
}

// codePoint is the character for \uXXXX, or for two of them.
func (p *parser) codePoint() (rune, error) {
	const size = 6 // of the escape sequence
	text := p.rest[:min(size, len(p.rest))]
	r, ok := hex4(text)
	if ok && utf16.IsSurrogate(r) {
		low, _ := hex4(p.rest[size:min(2*size, len(p.rest))])
		r = utf16.DecodeRune(r, low)
		ok = r != utf8.RuneError
		p.rest = p.rest[size:]
	}
	if !ok {
		end := 2 // of the digits
		for end < len(text)-1 && strings.IndexByte("0123456789abcdefABCDEF", text[end]) >= 0 {
			end++
		}
		return 0, wrong("%s is not a valid Unicode character", text[:end+1])
	}
	p.rest = p.rest[size:]
	return r, nil
}

// hex4 reads \uXXXX.
func hex4(text []byte) (rune, bool) {
	digits, ok := bytes.CutPrefix(text, []byte(`\u`))
	if !ok || len(digits) != 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits), 16, 16)
	return rune(n), err == nil
}

// encode is the JSON text of a value, in ASCII and in one line, as the protocol
// wants it.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return ascii(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// ascii writes all characters beyond what ASCII can print, which JSON has in strings
// only, as escape sequences.
func ascii(text []byte) []byte {
	const last = '~'
	if bytes.IndexFunc(text, func(r rune) bool { return r > last }) < 0 {
		return text
	}
	var b []byte
	for _, r := range string(text) {
		if r <= last {
			b = append(b, byte(r))
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			b = append(b, '\\', 'u')
			for shift := 12; shift >= 0; shift -= 4 {
				b = append(b, "0123456789abcdef"[unit>>shift&15])
			}
		}
	}
	return b
}
