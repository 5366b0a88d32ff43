package blockopt

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestDecodeJSON reads what QEMU reads.
func TestDecodeJSON(t *testing.T) {
	for text, want := range map[string]any{
		"{}": map[string]any{}, "[ ]": []any{}, " 'a' ": "a", `"a'b"`: "a'b", `'a"b\'c'`: `a"b'c`, "null": nil, "true": true,
		"-0": json.Number("-0"), "1.5e+3": json.Number("1.5e+3"), "\t{'a':[1,{'b':false}]}\r\n": map[string]any{"a": []any{json.Number("1"), map[string]any{"b": false}}},
		`"\b\f\n\r\t\/\\\u00e9\ud834\udd1e"`: "\b\f\n\r\t/\\\u00e9\U0001d11e", `"\u0000"`: "\xc0\x80", "'\xc0\x80'": "\xc0\x80",
		strings.Repeat("[", maxNesting-1) + strings.Repeat("]", maxNesting-1): nested(maxNesting - 1),
	} {
		if got, err := decodeJSON(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.40q: %v, %v; want %v", text, got, err, want)
		}
	}
}

func nested(depth int) any {
	v := []any{}
	for range depth - 1 {
		v = []any{v}
	}
	return v
}

// TestBrokenJSON finds what QEMU finds wrong.
func TestBrokenJSON(t *testing.T) {
	const parse = "JSON parse error, "
	for text, want := range map[string]string{
		"": "Expecting a JSON value", " \n": "Expecting a JSON value", "1 2": "Expecting at most one JSON value", "{}x": "Expecting at most one JSON value",
		"{}{": "Expecting at most one JSON value", "{": parse + "premature EOI", "{'a'": parse + "premature EOI", "[1": parse + "premature EOI", "{'a':1,": parse + "premature EOI",
		"}": parse + "expecting value", "[1,]": parse + "expecting value", "{,}": parse + "expecting value", "{'a':}": parse + "expecting value",
		"{]": parse + "expecting value", "{'a' 1}": parse + "missing : in object pair", "{'a':1 'b':2}": parse + "expected separator in dict",
		"[1 2]": parse + "expected separator in list", "{1:2}": parse + "key is not a string in object", "{'a':1,'a':2}": parse + "duplicate key",
		"{a:1}": parse + "invalid keyword 'a'", "qcow2": parse + "invalid keyword 'qcow'", "nul": parse + "invalid keyword 'nul'", "{'a':0x1}": parse + "expected separator in dict",
		"{'a':;}": parse + "stray ';'", "True": parse + "stray 'T'", "01": parse + "stray '01'", "1.x": parse + "stray '1.x'", "1.": parse + "stray '1.'",
		"1e+": parse + "stray '1e+'", "[-]": parse + "stray '-]'", "-": parse + "stray '-'", `{"a":"b}`: parse + `stray '"b}'`, "'x\\": parse + `stray ''x\'`,
		"\"a\tb\"": parse + "stray '\"a\t'", "'\xff'": parse + "stray ''\xff'", "'\xc3'": parse + "invalid UTF-8 sequence in string", "'\xef\xbf\xbf'": parse + "invalid UTF-8 sequence in string",
		`'\q'`: parse + "invalid escape sequence in string", `'\u12c'`: parse + `\u12c' is not a valid Unicode character`, `'\ud800'`: parse + `\ud800 is not a valid Unicode character`,
		`'\ud834\u0041'`: parse + `\ud834 is not a valid Unicode character`, strings.Repeat("[", maxNesting+1): "JSON nesting depth limit exceeded",
		strings.Repeat("[", maxNesting): parse + "premature EOI",
	} {
		if got, err := decodeJSON(text); fmt.Sprint(err) != want {
			t.Errorf("%.40q: %v, %v; want %s", text, got, err, want)
		}
	}
}

// TestWarnings are of forms of options and sizes that are taken, but better not used.
func TestWarnings(t *testing.T) {
	disk(t)
	for text, want := range map[string]string{
		"driver=raw,file.filename=raw,read-only": "short-form boolean option 'read-only' deprecated\nPlease use read-only=on instead",
		"file.filename=raw,noread-only":          "short-form boolean option 'noread-only' deprecated\nPlease use read-only=off instead",
		"driver=raw,file.filename=raw,size=0x1k": "Using a multiplier suffix on hex numbers is deprecated: 0x1k",
		"driver=qcow2,file.filename=raw,backing": "short-form boolean option 'backing' deprecated\nPlease use backing=on instead",
		"driver=qcow2,file.filename=a,backing=":  `Use of "backing": "" is deprecated; use "backing": null instead`,
		"driver=raw,file.filename=raw,size=0x1b": "", "driver=raw,file.filename=raw,size=512": "", "raw": "",
	} {
		got := ""
		warn := func(s string) { got += s }
		o := NewObjects()
		o.Warn = warn
		_, _ = ParseOptions(text, warn).Resolve(o) // some can't be opened
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// FuzzDecodeJSON reads what is JSON as encoding/json does, and survives what is not.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-0.5e3,"\u00e9\ud83d\ude00\\",true],'b':{"c":null}}`, `"\`, `"\u12`, `'\ud800\udc`,
		"{", "[[", `{"a":1,}`, "\xc0\x80", ` [ ] `, `{"a":1}{`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := decodeJSON(s)
		if err != nil || !json.Valid([]byte(s)) || !utf8.ValidString(s) || strings.Contains(s, `\u`) {
			return // zeroes and halves of characters are told apart here alone
		}
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%#v, want %#v, %v", got, want, err)
		}
	})
}
