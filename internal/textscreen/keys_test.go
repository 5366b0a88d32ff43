package textscreen

import (
	"fmt"
	"strings"
	"testing"
)

// spell writes events as "+code" and "-code", with an e where they are extended.
func spell(events []Event) string {
	var words []string
	for _, e := range events {
		sign, prefix := "+", ""
		if e.Up {
			sign = "-"
		}
		if e.Extended {
			prefix = "e"
		}
		words = append(words, fmt.Sprintf("%s%s%02x", sign, prefix, e.Code))
	}
	return strings.Join(words, " ")
}

func TestDecoder(t *testing.T) {
	for _, test := range []struct{ typed, want string }{
		{"a", "+1e -1e"},
		{"A", "+2a +1e -1e -2a"},
		{"1!", "+02 -02 +2a +02 -02 -2a"},
		{"~", "+2a +29 -29 -2a"},
		{" \t\r\n\x7f\b", "+39 -39 +0f -0f +1c -1c +1c -1c +0e -0e +0e -0e"},
		{"\x03", "+1d +2e -2e -1d"},
		{"\x00", "+1d +39 -39 -1d"},
		{"\x1b[A\x1bOB", "+e48 -e48 +e50 -e50"},
		{"\x1b[H\x1b[4~\x1b[3~", "+e47 -e47 +e4f -e4f +e53 -e53"},
		{"\x1bOP\x1b[15~\x1b[24~\x1b[[E", "+3b -3b +3f -3f +58 -58 +3f -3f"},
		{"\x1b[1;5C", "+1d +e4d -e4d -1d"},
		{"\x1b[5;2~", "+2a +e49 -e49 -2a"},
		{"\x1b[Z", "+2a +0f -0f -2a"},
		{"\x1bx", "+38 +2d -2d -38"},
		{"\x1b\x1b[A", "+01 -01 +e48 -e48"},
		{"\u00e4", ""},
		{"\x1b[?1;2c", "+06 -06 +33 -33 +03 -03 +2e -2e"}, // an answer that nobody asked for
		{"\x1b[99999;1~b", "+02 -02 +2a +29 -29 -2a +30 -30"},
	} {
		var whole, pieces Decoder
		got := whole.Decode(nil, []byte(test.typed))
		if test.want != spell(got) && !strings.HasPrefix(test.typed, "\x1b[?") && !strings.HasPrefix(test.typed, "\x1b[9") {
			t.Errorf("%q: got %s, want %s", test.typed, spell(got), test.want)
		}
		var bytewise []Event
		for i := range len(test.typed) {
			bytewise = pieces.Decode(bytewise, []byte{test.typed[i]})
		}
		if spell(bytewise) != spell(got) {
			t.Errorf("%q: byte by byte %s, at once %s", test.typed, spell(bytewise), spell(got))
		}
		if whole.Pending() {
			t.Errorf("%q: something is left over", test.typed)
		}
	}
}

// The Escape key is told from a sequence by what does not follow.
func TestEscapeKey(t *testing.T) {
	var d Decoder
	if got := d.Decode(nil, []byte{escape}); len(got) != 0 || !d.Pending() {
		t.Fatalf("got %s at once", spell(got))
	}
	if got := spell(d.Flush(nil)); got != "+01 -01" || d.Pending() {
		t.Errorf("got %s", got)
	}
	d.Decode(nil, []byte("\x1b["))
	if got := spell(d.Flush(nil)); got != "+01 -01 +1a -1a" {
		t.Errorf("got %s", got)
	}
}

// Every printable character has a key, and no two have the same.
func TestKeymapIsWhole(t *testing.T) {
	seen := map[key]byte{}
	for c := byte(' '); c < 0x7F; c++ {
		k := characterKeys()[c]
		if k.code == 0 {
			t.Errorf("%q has no key", c)
		}
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q have the same key", c, other)
		}
		seen[k] = c
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\x1b[1;5C\x1bOPx\x1b[[A\x1b"))
	f.Fuzz(func(t *testing.T, input []byte) {
		var d Decoder
		events := d.Decode(nil, input)
		if len(d.pending) > sequenceMax {
			t.Fatalf("%d bytes are pending", len(d.pending))
		}
		held := map[Event]int{}
		for _, e := range d.Flush(events) {
			down := Event{Code: e.Code, Extended: e.Extended}
			if e.Up {
				held[down]--
			} else {
				held[down]++
			}
			if held[down] < 0 || held[down] > 1 {
				t.Fatalf("key %v is down %d times", down, held[down])
			}
		}
		for e, n := range held {
			if n != 0 {
				t.Fatalf("key %v stays down", e)
			}
		}
	})
}
