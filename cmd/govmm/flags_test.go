package main

import (
	"math"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	tests := []struct {
		text string
		unit uint64
		want uint64
		err  string
	}{
		{text: "512M", unit: 1, want: 512 << 20},
		{text: "1g", unit: 1, want: 1 << 30},
		{text: "4k", unit: 1 << 20, want: 4096},
		{text: "512", unit: 1 << 20, want: 512 << 20},
		{text: "512", unit: 1, want: 512},
		{text: "100B", unit: 1 << 20, want: 100},
		{text: "1.5G", unit: 1, want: 3 << 29},
		{text: "0", unit: 1, want: 0},
		{text: "9223372036854775807", unit: 1, want: math.MaxInt64},
		{text: "9223372036854775808", unit: 1, err: "too large"},
		{text: "8E", unit: 1, err: "too large"},
		{text: "7.99999999999E", unit: 1, want: 9223372036843246592},
		{text: "9.9E", unit: 1, err: "too large"},
		{text: "", unit: 1, err: "a size is"},
		{text: "M", unit: 1, err: "a size is"},
		{text: "-1M", unit: 1, err: "a size is"},
		{text: "1e3", unit: 1, err: "a size is"},
		{text: "0x10", unit: 1, err: "a size is"},
		{text: "1.2.3M", unit: 1, err: "a size is"},
		{text: "Inf", unit: 1, err: "a size is"},
		{text: "12 M", unit: 1, err: "a size is"},
	}
	for _, tt := range tests {
		got, err := parseSize(tt.text, tt.unit)
		switch {
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("%q: %d, %v, want %d", tt.text, got, err, tt.want)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%q: %d, %v, want an error with %q", tt.text, got, err, tt.err)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 1: "1", 1000: "1000", 1024: "1K", 512 << 20: "512M", 3 << 29: "1536M", 1 << 40: "1T", 1<<20 + 1: "1048577",
	} {
		if got := formatSize(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
		if back, err := parseSize(formatSize(n), 1); err != nil || back != n {
			t.Errorf("%d comes back as %d, %v", n, back, err)
		}
	}
}

func TestOrList(t *testing.T) {
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := orList(words); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
