package blockopt

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// JSON as QEMU reads it (RFC 8259): strings may also have single quotes and \', words other
// than true, false and null are told as such, and no member of an object has the name of
// another. Its errors are in QEMU's words.

// maxNesting bounds how deep objects and lists may lie in each other.
const maxNesting = 1024

// decodeJSON reads one value: a map[string]any, []any, string, json.Number, bool or nil.
func decodeJSON(s string) (any, error) {
	l := &jsonLexer{rest: s}
	var list []jsonToken
	var value any
	done, depth := false, [2]int{} // of braces and of brackets
	for {
		t := l.next()
		list = append(list, t)
		switch {
		case t.kind == jsonEnd && len(list) == 1:
			if !done {
				return nil, errors.New("Expecting a JSON value")
			}
			return value, nil
		case done:
			// Whatever comes behind the value, broken or not.
			if t.kind != jsonEnd && t.kind != jsonStray && !t.closes(&depth) {
				continue
			}
			return nil, errors.New("Expecting at most one JSON value")
		case t.kind == jsonStray:
			return nil, jsonErrorf("stray '%s'", t.text)
		case t.kind == jsonEnd:
			list = list[:len(list)-1]
		case !t.closes(&depth):
			if depth[0]+depth[1] > maxNesting {
				return nil, errors.New("JSON nesting depth limit exceeded")
			}
			continue
		}
		var err error
		if value, err = (&jsonParser{list}).value(); err != nil {
			return nil, err
		}
		list, done, depth = nil, true, [2]int{}
	}
}

func jsonErrorf(format string, args ...any) error {
	return fmt.Errorf("JSON parse error, "+format, args...)
}

// jsonToken is a token: kind is the character itself for those of structure.
type jsonToken struct {
	kind byte
	text string
}

// Kinds of tokens other than characters.
const (
	jsonEnd    = iota
	jsonStray  // what no token begins with, or goes on with
	jsonString // with its quotes
	jsonNumber
	jsonWord
)

// jsonLexer cuts a text into tokens.
type jsonLexer struct{ rest string }

const jsonStructure = "{}[]:,"

// next takes a token; behind the last it is jsonEnd.
func (l *jsonLexer) next() jsonToken {
	l.rest = strings.TrimLeft(l.rest, " \t\r\n")
	if l.rest == "" {
		return jsonToken{}
	}
	kind, n := byte(jsonStray), 1
	switch c := l.rest[0]; {
	case strings.IndexByte(jsonStructure, c) >= 0:
		kind = c
	case c == '"', c == '\'':
		kind, n = quoted(l.rest)
	case c == '-', digit(c):
		kind, n = number(l.rest)
	case c >= 'a' && c <= 'z':
		kind, n = jsonWord, len(l.rest)-len(strings.TrimLeft(l.rest, "abcdefghijklmnopqrstuvwxyz"))
	}
	t := jsonToken{kind, l.rest[:n]}
	l.rest = l.rest[n:]
	return t
}

// closes counts braces and brackets in depth, and reports whether a value ends with the token.
func (t jsonToken) closes(depth *[2]int) bool {
	switch t.kind {
	case '{':
		depth[0]++
	case '}':
		depth[0]--
	case '[':
		depth[1]++
	case ']':
		depth[1]--
	}
	return depth[0] < 0 || depth[1] < 0 || depth[0] == 0 && depth[1] == 0
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// quoted measures a string. What ends it that may not be in it is part of what is stray.
func quoted(s string) (kind byte, n int) {
	for i := 1; i < len(s); i++ {
		escaped := s[i] == '\\'
		if escaped {
			if i++; i == len(s) {
				break
			}
		}
		switch c := s[i]; {
		case c < ' ' || c > 0xFD:
			return jsonStray, i + 1
		case c == s[0] && !escaped:
			return jsonString, i + 1
		}
	}
	return jsonStray, len(s)
}

// number measures a number, of which each part needs a digit.
func number(s string) (kind byte, n int) {
	i := 0
	digits := func() bool {
		from := i
		for i < len(s) && digit(s[i]) {
			i++
		}
		return i > from
	}
	at := func(set string) bool { return i < len(s) && strings.IndexByte(set, s[i]) >= 0 }
	stray := func() (byte, int) { return jsonStray, min(i+1, len(s)) }
	if s[0] == '-' {
		i++
	}
	zero := at("0")
	if zero {
		if i++; i < len(s) && digit(s[i]) {
			return stray()
		}
	} else if !digits() {
		return stray()
	}
	fraction := at(".")
	if fraction {
		if i++; !digits() {
			return stray()
		}
	}
	if at("eE") && (fraction || !zero) {
		if i++; at("+-") {
			i++
		}
		if !digits() {
			return stray()
		}
	}
	return jsonNumber, i
}

// jsonParser makes values of tokens.
type jsonParser struct{ list []jsonToken }

func (p *jsonParser) peek() (jsonToken, error) {
	if len(p.list) == 0 {
		return jsonToken{}, jsonErrorf("premature EOI")
	}
	return p.list[0], nil
}

func (p *jsonParser) pop() (jsonToken, error) {
	t, err := p.peek()
	if err == nil {
		p.list = p.list[1:]
	}
	return t, err
}

func (p *jsonParser) value() (any, error) {
	t, err := p.pop()
	if err != nil {
		return nil, err
	}
	switch t.kind {
	case '{':
		m := make(map[string]any)
		return m, p.elements('}', "dict", func() error { return p.member(m) })
	case '[':
		list := make([]any, 0)
		err := p.elements(']', "list", func() error {
			v, err := p.value()
			list = append(list, v)
			return err
		})
		return list, err
	case jsonNumber:
		return json.Number(t.text), nil
	case jsonString:
		return unquote(t.text)
	case jsonWord:
		switch t.text {
		case "true", "false":
			return t.text == "true", nil
		case "null":
			return nil, nil
		}
		return nil, jsonErrorf("invalid keyword '%s'", t.text)
	}
	return nil, jsonErrorf("expecting value")
}

// elements reads what stands between commas up to the end of an object or list.
func (p *jsonParser) elements(end byte, what string, element func() error) error {
	if t, err := p.peek(); err != nil {
		return err
	} else if t.kind == end {
		_, err = p.pop()
		return err
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch t, err := p.pop(); {
		case err != nil:
			return err
		case t.kind == end:
			return nil
		case t.kind != ',':
			return jsonErrorf("expected separator in %s", what)
		}
	}
}

// member reads a member of an object into m.
func (p *jsonParser) member(m map[string]any) error {
	k, err := p.value()
	if err != nil {
		return err
	}
	key, ok := k.(string)
	if !ok {
		return jsonErrorf("key is not a string in object")
	}
	if t, err := p.pop(); err != nil {
		return err
	} else if t.kind != ':' {
		return jsonErrorf("missing : in object pair")
	}
	v, err := p.value()
	if err != nil {
		return err
	}
	if _, twice := m[key]; twice {
		return jsonErrorf("duplicate key")
	}
	m[key] = v
	return nil
}

// escapes are the characters behind a backslash, but u, and what they stand for.
const escapes = "\"\"''\\\\//b\bf\fn\nr\rt\t"

// unquote returns what a string token stands for.
func unquote(t string) (string, error) {
	var b strings.Builder
	for s := t[1 : len(t)-1]; s != ""; {
		if s[0] != '\\' {
			r, n := utf8.DecodeRuneInString(s)
			if strings.HasPrefix(s, "\xc0\x80") { // a zero, so that a string has none
				r, n = 0, 2
			}
			if r == utf8.RuneError && n == 1 || noCharacter(r) {
				return "", jsonErrorf("invalid UTF-8 sequence in string")
			}
			b.WriteString(s[:n])
			s = s[n:]
			continue
		}
		if s[1] == 'u' {
			r, n := unicodeEscape(s)
			if r < 0 || noCharacter(r) {
				return "", jsonErrorf("%s is not a valid Unicode character", (s + t[len(t)-1:])[:min(n, len(s)+1)])
			}
			if r == 0 {
				b.WriteString("\xc0\x80")
			} else {
				b.WriteRune(r)
			}
			s = s[n:]
			continue
		}
		found := false
		for i := 0; i < len(escapes) && !found; i += 2 {
			if found = escapes[i] == s[1]; found {
				b.WriteByte(escapes[i+1])
			}
		}
		if !found {
			return "", jsonErrorf("invalid escape sequence in string")
		}
		s = s[2:]
	}
	return b.String(), nil
}

// noCharacter reports whether a code point is one that Unicode keeps free, or half of one.
func noCharacter(r rune) bool {
	return r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE || r >= 0xD800 && r <= 0xDFFF || r > utf8.MaxRune
}

// unicodeEscape reads the escape that s begins with, or the two of a pair, and measures it.
// What is no character is below 0.
func unicodeEscape(s string) (r rune, n int) {
	const short = len(`\u0000`)
	r = hex4(s)
	if r < 0xD800 || r > 0xDBFF || !strings.HasPrefix(s[short:], `\u`) {
		return r, short
	}
	low := hex4(s[short:])
	if low < 0xDC00 || low > 0xDFFF {
		return -1, short
	}
	return 0x10000 + (r&0x3FF)<<10 + low&0x3FF, 2 * short
}

// hex4 reads the four digits behind \u, below 0 if there are not as many.
func hex4(s string) (r rune) {
	for i := 2; i < 6; i++ {
		if i >= len(s) {
			return -1
		}
		d := strings.IndexByte("0123456789abcdef", s[i]|0x20)
		if d < 0 {
			return -1
		}
		r = r<<4 | rune(d)
	}
	return r
}
