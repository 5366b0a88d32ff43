package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// read takes all texts of a stream, and writes what each is.
func read(stream string) []string {
	var list []string
	texts := newTexts(bufio.NewReader(strings.NewReader(stream)), MaxRequest)
	for {
		text, err := texts.next()
		var value any
		if err == nil {
			value, err = parse(text)
		}
		var broken *Error
		switch {
		case errors.As(err, &broken):
			list = append(list, strings.TrimPrefix(broken.Desc, "JSON parse error, "))
		case err != nil:
			return list
		default:
			line, err := encode(value)
			if err != nil {
				line = []byte(err.Error())
			}
			list = append(list, string(line))
		}
	}
}

// What QEMU 7.2 answers to the same bytes.
func TestTextsAsQEMUReadsThem(t *testing.T) {
	for stream, want := range map[string][]string{
		"{\"a\":1}{\"b\":[ true,false , null]}": {`{"a":1}`, `{"b":[true,false,null]}`},
		"\"abc\"{}":                             {`"abc"`, `{}`},
		"1 2 3 ":                                {"1", "2", "3"},
		"1a ":                                   {"1", "invalid keyword 'a'"},
		"-0.5e+3 ":                              {"-0.5e+3"},
		"{\"a\":1\xff{}":                        {"stray '\xff'", "{}"},
		"{\"a\":\"x\xff{}":                      {"stray '\"x\xff'", "{}"},
		"\x01{}":                                {"stray '\x01'", "{}"},
		"{\"id\":\x01}":                         {"stray '\x01'", "expecting value"},
		"{\"id\":\"a\tb\"}":                     {"stray '\"a\t'", "expecting value"},
		"{\"id\":\"a\\\nb\"}":                   {"stray '\"a\\\n'", "expecting value"},
		"{\"id\":\"\\q\"}":                      {"invalid escape sequence in string"},
		"{\"id\":\"\\u00\"}":                    {"\\u00\" is not a valid Unicode character"},
		"{\"id\":\"\\ud800\"}":                  {"\\ud800 is not a valid Unicode character"},
		"{\"id\":\"\\ud83d\\ude00\\b\\f\\/\"}":  {`{"id":"\ud83d\ude00\b\f/"}`},
		"{\"id\":\"\xc3\xa9\"}":                 {`{"id":"\u00e9"}`},
		"{\"id\":\"\xc3\"}":                     {"invalid UTF-8 sequence in string"},
		"{\"id\":\"\xed\xa0\x80\"}":             {"invalid UTF-8 sequence in string"},
		"{'id':'a\"\\'b'}":                      {`{"id":"a\"'b"}`},
		"{\"id\":01}":                           {"stray '01'", "expecting value"},
		"{\"id\":+1}":                           {"stray '+'", "expecting value"},
		"{\"id\":1.}{}":                         {"stray '1.}'", "{}"},
		"{\"id\":-}{}":                          {"stray '-}'", "{}"},
		"{\"id\":1E5e3}":                        {"expected separator in dict"},
		"[-0.5E-07,0,-1e+5]":                    {"[-0.5E-07,0,-1e+5]"},
		"{\"id\":%d}":                           {"stray '%'", "expecting value"},
		"{\"id\":True}":                         {"stray 'T'", "expecting value"},
		"{\"id\":1 /* x */}":                    {"stray '/'", "expecting value"},
		"{\"id\":tru}":                          {"invalid keyword 'tru'"},
		"{foo}":                                 {"invalid keyword 'foo'"},
		"[1,]":                                  {"expecting value"},
		"[1 2]":                                 {"expected separator in list"},
		"[,]":                                   {"expecting value"},
		"{,}":                                   {"expecting value"},
		"{\"a\":1 \"b\":2}":                     {"expected separator in dict"},
		"{\"a\":1,}":                            {"expecting value"},
		"{1:2}":                                 {"key is not a string in object"},
		"{\"a\"}":                               {"missing : in object pair"},
		"{\"a\":}":                              {"expecting value"},
		"{\"a\":1,\"a\":2}":                     {"duplicate key"},
		"{\"id\":]}":                            {"expecting value", "expecting value"},
		"[{\"b\":]}":                            {"expecting value"},
		"}":                                     {"expecting value"},
		",:":                                    {"expecting value", "expecting value"},
		"{\"a\":1}}":                            {`{"a":1}`, "expecting value"},
		strings.Repeat("[", 1025) + "\n{}":      {"JSON nesting depth limit exceeded", "{}"},
	} {
		if got := read(stream); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", stream, got, want)
		}
	}
	deep := strings.Repeat("[", 1024) + strings.Repeat("]", 1024)
	if got := read(deep); len(got) != 1 || got[0] != deep {
		t.Errorf("arrays in arrays: %.80q", got)
	}
}

// FuzzRequests sends anything to a server. Whatever it was, a byte that no JSON has
// makes the server understand the next request, and values are those that package
// encoding/json sees.
func FuzzRequests(f *testing.F) {
	f.Add([]byte(`{"execute":"qmp_capabilities"}{"execute":"add","arguments":{"a":1}}`))
	f.Add([]byte("{\"execute\": \"x\\\"}\n\n[{}}"))
	f.Add([]byte(`{'execute':'add','arguments':{"a":-1.5e3,"how":{"mode":"loud"}},"id":[{}]}`))
	f.Add([]byte("\"\\ud83d\\ude00\" \"\\u12\" tru 01 \xff"))
	f.Fuzz(func(t *testing.T, input []byte) {
		texts := newTexts(bufio.NewReader(bytes.NewReader(input)), MaxRequest)
		for total := 0; ; {
			text, err := texts.next()
			var broken *Error
			if errors.As(err, &broken) {
				continue
			}
			if err != nil {
				break
			}
			if total += len(text); len(text) == 0 || total > len(input) {
				t.Fatalf("%d bytes of texts from %d bytes", total, len(input))
			}
			checkValue(t, text)
		}
		s, _ := newTestServer(t)
		c := connect(t, s)
		c.receive()
		go func() {
			_, _ = c.Write(append(input, "\xff\n{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"add\",\"arguments\":{\"a\":1,\"b\":100000},\"id\":\"last\"}\n"...))
		}()
		for line := ""; !strings.Contains(line, `{"sum":100001},"id":"last"`); {
			if line = c.receive(); !json.Valid([]byte(line)) || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
				t.Fatalf("the server said %q", line)
			}
		}
	})
}

// checkValue compares the value of a text with what package encoding/json makes of it.
func checkValue(t *testing.T, text []byte) {
	t.Helper()
	got, err := parse(text)
	if err != nil {
		return
	}
	again, err := encode(got)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if value, err := parse(again); err != nil || !reflect.DeepEqual(value, got) {
		t.Fatalf("%q is %#v, and that again %#v, %v", text, got, value, err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var want any
	if d.Decode(&want) == nil && fmt.Sprintf("%#v", want) != fmt.Sprintf("%#v", got) {
		t.Fatalf("%q is %#v, want %#v", text, got, want)
	}
}
