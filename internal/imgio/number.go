package imgio

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/govmm/govmm/internal/blockopt"
)

// maxRequest is the largest request that a command makes, in bytes.
const maxRequest = math.MaxInt32 &^ 511

// number parses an argument, and says what is wrong with it.
func (s *Session) number(arg string) (int64, bool) {
	blockopt.WarnSize(arg, s.warn)
	n, err := blockopt.ParseSize(arg)
	switch {
	case err == nil:
		return n, true
	case errors.Is(err, syscall.ERANGE):
		s.printf("Parsing error: argument too large -- %s\n", arg)
	default:
		s.printf("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n", arg)
	}
	return 0, false
}

// pattern parses a byte to fill a buffer with.
func (s *Session) pattern(arg string) (byte, bool) {
	n, err := strconv.ParseInt(arg, 0, 64)
	if err != nil || n < 0 || n > math.MaxUint8 {
		s.printf("%s is not a valid pattern byte\n", arg)
		return 0, false
	}
	return byte(n), true
}

// amount writes a number of bytes with the largest unit that leaves one or more.
func amount(v float64) string {
	unit, text := "bytes", ""
	switch shift := 0; {
	case v < 1<<10 || math.IsNaN(v):
		text = strconv.FormatFloat(v, 'f', 6, 64)
	default:
		for shift = 10; shift < 60 && v >= math.Ldexp(1, shift+10); {
			shift += 10
		}
		unit = []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}[shift/10-1]
		text = strconv.FormatFloat(math.Ldexp(v, -shift), 'f', 3, 64)
	}
	if i := strings.Index(text, ".000"); i >= 0 {
		text = text[:i]
	}
	return text + " " + unit
}

// duration writes how long something took.
func duration(d time.Duration, clock bool) string {
	if !clock && d < time.Second {
		return fmt.Sprintf("%05.2f sec", d.Seconds())
	}
	minutes := int64(d / time.Minute)
	return fmt.Sprintf("%d:%02d:%05.2f", minutes/60, minutes%60, (d % time.Minute).Seconds())
}

// report prints the statistics of a request: total of count bytes at off.
func (s *Session) report(op string, took time.Duration, off, count, total int64, terse bool) {
	seconds := max(took, 1).Seconds()
	if terse {
		s.printf("%d,%d,%s,%.3f,%.3f\n", total, 1, duration(took, true), float64(total)/seconds, 1/seconds)
		return
	}
	s.printf("%s %d/%d bytes at offset %d\n", op, total, count, off)
	s.printf("%s, %d ops; %s (%s/sec and %.4f ops/sec)\n",
		amount(float64(total)), 1, duration(took, false), amount(float64(total)/seconds), 1/seconds)
}

// dump prints a buffer in lines of 16 bytes; off is where it comes from.
func (s *Session) dump(p []byte, off int64) {
	for i := 0; i < len(p); i += 16 {
		line := p[i:min(i+16, len(p))]
		var text strings.Builder
		fmt.Fprintf(&text, "%08x:  ", off+int64(i))
		for _, c := range line {
			fmt.Fprintf(&text, "%02x ", c)
		}
		text.WriteByte(' ')
		for _, c := range line {
			if c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z' {
				c = '.'
			}
			text.WriteByte(c)
		}
		s.printf("%s\n", text.String())
	}
}
