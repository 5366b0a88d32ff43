package textscreen

const escape = 0x1B

// sequenceMax is the length of the longest escape sequence of a key.
const sequenceMax = 8

// Decoder finds keys in the input of a terminal. The zero value is ready.
type Decoder struct {
	pending []byte // an escape sequence that has begun
}

// Pending reports whether the input so far ends in what may be the start of a
// key's escape sequence, or the Escape key itself. If nothing follows soon it was
// the key: see Flush.
func (d *Decoder) Pending() bool { return len(d.pending) > 0 }

// Decode appends the keys of src to dst. What has no key on a US keyboard is left
// out.
func (d *Decoder) Decode(dst []Event, src []byte) []Event {
	for _, c := range src {
		if len(d.pending) == 0 {
			if c == escape {
				d.pending = append(d.pending, c)
				continue
			}
			dst = character(c).events(dst)
			continue
		}
		if c == escape && len(d.pending) == 1 { // the one before was the key
			dst = character(escape).events(dst)
			continue
		}
		d.pending = append(d.pending, c)
		if k, done := parseSequence(d.pending); done {
			dst = k.events(dst)
			d.pending = d.pending[:0]
		}
	}
	return dst
}

// Flush appends the keys of a sequence that does not go on: Escape and the
// characters after it.
func (d *Decoder) Flush(dst []Event) []Event {
	for _, c := range d.pending {
		dst = character(c).events(dst)
	}
	d.pending = d.pending[:0]
	return dst
}

// character is the key of a character, or none.
func character(c byte) key {
	if keys := characterKeys(); int(c) < len(keys) {
		return keys[c]
	}
	return key{}
}

// numbered is the key of a sequence with a number, or none.
func numbered(n int) key {
	if n < len(numberedKeys) {
		return numberedKeys[n]
	}
	return key{}
}

// parseSequence looks at the beginning of a sequence, of two characters at least.
// It is done when no further character can belong to it; the key is the zero value
// if that is nobody's.
func parseSequence(s []byte) (k key, done bool) {
	switch s[1] {
	default: // as terminals send Alt with a character
		k = character(s[1])
		k.alt = k.code != 0
		return k, true
	case 'O':
		if len(s) == 2 {
			return key{}, false
		}
		return cursorKeys[s[2]], true
	case '[':
	}
	numbers := [2]int{}
	field := 0
	for i, c := range s[2:] {
		switch {
		case c >= '0' && c <= '9':
			numbers[field] = numbers[field]*10 + int(c-'0')
		case c == ';' && field == 0:
			field++
		case c == '[' && i == 0: // the console of Linux: ESC [ [ A is F1
			if len(s) < 4 {
				return key{}, false
			}
			if n := s[3] - 'A'; n < 5 {
				return key{code: codeF1 + n}, true
			}
			return key{}, true
		case c == '~':
			return numbered(numbers[0]).modified(numbers[1]), true
		default:
			return cursorKeys[c].modified(numbers[1]), true
		}
	}
	return key{}, len(s) >= sequenceMax
}
