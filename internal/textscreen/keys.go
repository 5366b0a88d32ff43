package textscreen

import "sync"

// Event is a key going down or up, by its scan code of set 1 as IBM's keyboards
// have it.
type Event struct {
	Code     uint8
	Extended bool // with the prefix E0
	Up       bool
}

// key is what is pressed to get something typed.
type key struct {
	code             uint8
	extended         bool
	shift, ctrl, alt bool
}

// Scan codes of keys without a character.
const (
	codeEscape    = 0x01
	codeBackspace = 0x0E
	codeTab       = 0x0F
	codeEnter     = 0x1C
	codeCtrl      = 0x1D
	codeShift     = 0x2A
	codeAlt       = 0x38
	codeSpace     = 0x39
	codeF1        = 0x3B // to F10, in a row
	codeHome      = 0x47
	codeUp        = 0x48
	codePageUp    = 0x49
	codeLeft      = 0x4B
	codeRight     = 0x4D
	codeEnd       = 0x4F
	codeDown      = 0x50
	codePageDown  = 0x51
	codeInsert    = 0x52
	codeDelete    = 0x53
	codeF11       = 0x57
	codeF12       = 0x58
)

// keyRows are the keys of a US keyboard with characters: each row's first scan
// code, its characters and those with Shift.
var keyRows = []struct {
	first          uint8
	plain, shifted string
}{
	{0x02, "1234567890-=", "!@#$%^&*()_+"},
	{0x10, "qwertyuiop[]", "QWERTYUIOP{}"},
	{0x1E, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
	{0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
	{codeSpace, " ", " "},
}

// characterKeys finds the key of an ASCII character. Control characters are keys
// of their own, or a letter with Ctrl.
var characterKeys = sync.OnceValue(func() *[128]key {
	keys := new([128]key)
	for _, row := range keyRows {
		for i := range len(row.plain) {
			code := row.first + uint8(i)
			keys[row.shifted[i]] = key{code: code, shift: true}
			keys[row.plain[i]] = key{code: code}
			if c := row.plain[i]; c >= 'a' && c <= 'z' || c == '[' || c == '\\' || c == ']' {
				keys[c&0x1F] = key{code: code, ctrl: true}
			}
		}
	}
	keys[0] = key{code: codeSpace, ctrl: true}
	keys[0x1E] = key{code: 0x07, ctrl: true} // Ctrl-^, the 6
	keys[0x1F] = key{code: 0x0C, ctrl: true} // Ctrl-_, the hyphen
	keys['\b'] = key{code: codeBackspace}
	keys[0x7F] = key{code: codeBackspace}
	keys['\t'] = key{code: codeTab}
	keys['\r'] = key{code: codeEnter}
	keys['\n'] = key{code: codeEnter}
	keys[escape] = key{code: codeEscape}
	return keys
})

// cursorKeys are the keys of sequences that end in a letter: "ESC [ A", "ESC O A".
var cursorKeys = [256]key{
	'A': {code: codeUp, extended: true},
	'B': {code: codeDown, extended: true},
	'C': {code: codeRight, extended: true},
	'D': {code: codeLeft, extended: true},
	'F': {code: codeEnd, extended: true},
	'H': {code: codeHome, extended: true},
	'P': {code: codeF1},
	'Q': {code: codeF1 + 1},
	'R': {code: codeF1 + 2},
	'S': {code: codeF1 + 3},
	'Z': {code: codeTab, shift: true},
}

// numberedKeys are the keys of sequences with a number: "ESC [ 3 ~".
var numberedKeys = [...]key{
	1: {code: codeHome, extended: true}, 7: {code: codeHome, extended: true},
	2: {code: codeInsert, extended: true}, 3: {code: codeDelete, extended: true},
	4: {code: codeEnd, extended: true}, 8: {code: codeEnd, extended: true},
	5: {code: codePageUp, extended: true}, 6: {code: codePageDown, extended: true},
	11: {code: codeF1}, 12: {code: codeF1 + 1}, 13: {code: codeF1 + 2}, 14: {code: codeF1 + 3}, 15: {code: codeF1 + 4},
	17: {code: codeF1 + 5}, 18: {code: codeF1 + 6}, 19: {code: codeF1 + 7}, 20: {code: codeF1 + 8}, 21: {code: codeF1 + 9},
	23: {code: codeF11}, 24: {code: codeF12},
}

// modified is the key with the modifiers that a sequence names by a number: one
// more than a sum of Shift 1, Alt 2, Ctrl 4.
func (k key) modified(n int) key {
	if n > 1 {
		n--
		k.shift, k.alt, k.ctrl = k.shift || n&1 != 0, k.alt || n&2 != 0, k.ctrl || n&4 != 0
	}
	return k
}

// events appends the key's going down and up again, within its modifiers.
func (k key) events(dst []Event) []Event {
	if k.code == 0 {
		return dst
	}
	begin := len(dst)
	for _, m := range []struct {
		code uint8
		held bool
	}{{codeCtrl, k.ctrl}, {codeAlt, k.alt}, {codeShift, k.shift}} {
		if m.held {
			dst = append(dst, Event{Code: m.code})
		}
	}
	dst = append(dst, Event{Code: k.code, Extended: k.extended})
	for i := len(dst) - 1; i >= begin; i-- {
		e := dst[i]
		e.Up = true
		dst = append(dst, e)
	}
	return dst
}
