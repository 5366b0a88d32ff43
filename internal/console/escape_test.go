package console

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReader(t *testing.T) {
	tests := []struct {
		name string
		keys string
		want string
		do   []Command
	}{
		{name: "plain", keys: "ls -l\r\x03", want: "ls -l\r\x03"},
		{name: "quit", keys: "ab\x01xcd", want: "abcd", do: []Command{Quit}},
		{name: "quit in capitals", keys: "\x01X", do: []Command{Quit}},
		{name: "help", keys: "\x01ha\x01H\x01?", want: "a", do: []Command{Help, Help, Help}},
		{name: "control-A twice", keys: "a\x01\x01b", want: "a\x01b"},
		{name: "control-A and A", keys: "\x01a\x01A", want: "\x01\x01"},
		{name: "unknown command", keys: "a\x01zb", want: "ab"},
		{name: "escape at the end", keys: "a\x01", want: "a"},
		{name: "x after an escaped escape", keys: "\x01\x01x", want: "\x01x"},
	}
	for _, tt := range tests {
		for how, source := range map[string]io.Reader{
			"at once":     strings.NewReader(tt.keys),
			"key by key":  iotest.OneByteReader(strings.NewReader(tt.keys)),
			"end with it": iotest.DataErrReader(strings.NewReader(tt.keys)),
		} {
			t.Run(tt.name+"/"+how, func(t *testing.T) {
				var do []Command
				r := &Reader{Source: source, Do: func(c Command) { do = append(do, c) }}
				got, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != tt.want {
					t.Errorf("guest got %q, want %q", got, tt.want)
				}
				if !slices.Equal(do, tt.do) {
					t.Errorf("commands %v, want %v", do, tt.do)
				}
			})
		}
	}
}

func TestReaderSmallBuffer(t *testing.T) {
	r := &Reader{Source: strings.NewReader("abc\x01\x01d"), Do: func(Command) {}}
	got, err := io.ReadAll(iotest.OneByteReader(r))
	if err != nil || string(got) != "abc\x01d" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestReaderPassesErrorOn(t *testing.T) {
	broken := errors.New("broken")
	r := &Reader{Source: io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)), Do: func(Command) {}}
	got, err := io.ReadAll(r)
	if string(got) != "ab" || !errors.Is(err, broken) {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add([]byte("a\x01xb\x01\x01"), 2)
	f.Fuzz(func(t *testing.T, keys []byte, cut int) {
		run := func(parts ...[]byte) (out []byte, do []Command) {
			var e Escape
			for _, p := range parts {
				for len(p) > 0 {
					var c Command
					out, c, p = e.Next(out, p)
					do = append(do, c)
				}
			}
			return out, slices.DeleteFunc(do, func(c Command) bool { return c == None })
		}
		if cut < 0 || cut > len(keys) {
			return
		}
		whole, doWhole := run(keys)
		split, doSplit := run(keys[:cut], keys[cut:])
		if string(whole) != string(split) || !slices.Equal(doWhole, doSplit) {
			t.Errorf("%q: whole %q %v, cut at %d %q %v", keys, whole, doWhole, cut, split, doSplit)
		}
	})
}
