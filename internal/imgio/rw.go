package imgio

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"time"
)

// buffer returns n bytes of a value.
func (s *Session) buffer(n int64, fill byte) []byte {
	const misalign = 16
	p := make([]byte, n+misalign)
	if s.Misalign {
		p = p[misalign:]
	} else {
		p = p[:n]
	}
	if fill != 0 {
		for i := range p {
			p[i] = fill
		}
	}
	return p
}

// place parses the offset and the length of a request, which is to be no longer
// than a request may be; hint is part of the message if it is.
func (s *Session) place(args []string, hint string, bounded bool) (off, n int64, ok bool) {
	if off, ok = s.number(args[0]); !ok {
		return 0, 0, false
	}
	if n, ok = s.number(args[1]); !ok {
		return 0, 0, false
	}
	if bounded && n > maxRequest {
		s.printf("length cannot exceed %d%s, given %s\n", maxRequest, hint, args[1])
		return 0, 0, false
	}
	return off, n, true
}

// sectors refuses a place that is not made of whole sectors.
func (s *Session) sectors(off, n int64) bool {
	if off%512 != 0 {
		s.printf("%d is not a sector-aligned value for 'offset'\n", off)
		return false
	}
	if n%512 != 0 {
		s.printf("%d is not a sector-aligned value for 'count'\n", n)
		return false
	}
	return true
}

func (s *Session) read(c *command, words []string) bool {
	f, ok := s.options(c, words, 0, math.MaxInt)
	if !ok {
		return false
	}
	var fill byte
	var from, count int64
	for _, x := range f.seen {
		switch x.letter {
		case 'P':
			fill, ok = s.pattern(x.value)
		case 's':
			from, ok = s.number(x.value)
		case 'l':
			count, ok = s.number(x.value)
		}
		if !ok {
			return false
		}
	}
	if len(f.args) != 2 {
		s.usage(c)
		return false
	}
	off, n, ok := s.place(f.args, "", true)
	if !ok {
		return false
	}
	if !f.has('P') && (f.has('l') || f.has('s')) {
		s.usage(c)
		return false
	}
	if !f.has('l') {
		count = n - from
	}
	if count < 0 || from > n-count {
		s.printf("pattern verification range exceeds end of read data\n")
		return false
	}
	if f.has('b') && !s.sectors(off, n) {
		return false
	}
	p := s.buffer(n, 0)
	begin := time.Now()
	var err error
	if f.has('b') {
		err = s.disk.readState(p, off)
	} else {
		err = s.disk.dev.ReadV([][]byte{p}, off)
	}
	took := time.Since(begin)
	s.deliver()
	if err != nil {
		s.printf("read failed: %s\n", text(err))
		return false
	}
	return s.judge(&f, p, off, took, fill, from, count)
}

// judge prints what came of a read, and compares it with a pattern.
func (s *Session) judge(f *flags, p []byte, off int64, took time.Duration, fill byte, from, count int64) bool {
	good := true
	if f.has('P') {
		part := p[from : from+count]
		if bytes.Count(part, []byte{fill}) != len(part) {
			s.printf("Pattern verification failed at offset %d, %d bytes\n", off+from, count)
			good = false
		}
	}
	if f.has('q') {
		return good
	}
	if f.has('v') {
		s.dump(p, off)
	}
	n := int64(len(p))
	s.report("read", took, off, n, n, f.has('C'))
	return good
}

func (s *Session) write(c *command, words []string) bool {
	f, ok := s.options(c, words, 0, math.MaxInt)
	if !ok {
		return false
	}
	fill, file := byte(0xcd), ""
	for _, x := range f.seen {
		switch x.letter {
		case 'P':
			if fill, ok = s.pattern(x.value); !ok {
				return false
			}
		case 's':
			file = x.value
		}
	}
	if len(f.args) != 2 {
		s.usage(c)
		return false
	}
	if problem := writeConflict(&f); problem != "" {
		s.printf("%s\n", problem)
		return false
	}
	off, n, ok := s.place(f.args, " without -n", !f.has('n'))
	if !ok || (f.has('b') || f.has('c')) && !s.sectors(off, n) {
		return false
	}
	var p []byte
	if !f.has('z') {
		if f.has('s') {
			if p, ok = s.contents(file, n); !ok {
				return false
			}
		} else {
			p = s.buffer(n, fill)
		}
	}
	begin := time.Now()
	var err error
	switch {
	case f.has('b'):
		err = s.disk.writeState(p, off)
	case f.has('z'):
		err = s.disk.writeZeroes(off, n, f.has('u'), f.has('n'), f.has('f'))
	case f.has('c'):
		err = s.disk.writeCompressed(p, off)
	default:
		err = s.disk.write([][]byte{p}, off, f.has('f'))
	}
	took := time.Since(begin)
	s.deliver()
	if err != nil {
		s.printf("write failed: %s\n", text(err))
		return false
	}
	if !f.has('q') {
		s.report("wrote", took, off, n, n, f.has('C'))
	}
	return true
}

// writeConflict says which options of write exclude each other.
func writeConflict(f *flags) string {
	sources := 0
	for _, letter := range []byte("zPs") {
		if f.has(letter) {
			sources++
		}
	}
	switch {
	case f.has('b') && f.has('z'):
		return "-b and -z cannot be specified at the same time"
	case f.has('f') && (f.has('b') || f.has('c')):
		return "-f and -b or -c cannot be specified at the same time"
	case f.has('n') && !f.has('z'):
		return "-n requires -z to be specified"
	case f.has('u') && !f.has('z'):
		return "-u requires -z to be specified"
	case sources > 1:
		return "Only one of -z, -P, and -s can be specified at the same time"
	}
	return ""
}

// contents returns n bytes of a file, which is repeated if it is shorter.
func (s *Session) contents(file string, n int64) ([]byte, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintf(s.Err, "%s: %s\n", file, text(err))
		return nil, false
	}
	if len(data) == 0 {
		fmt.Fprintf(s.Err, "%s: file is empty\n", file)
		return nil, false
	}
	p := s.buffer(n, 0)
	for at := 0; at < len(p); {
		at += copy(p[at:], data)
	}
	return p, true
}

// vector makes buffers of the lengths in args, one behind the other in memory.
func (s *Session) vector(args []string, fill byte) (whole []byte, bufs [][]byte, ok bool) {
	var sizes []int64
	total := int64(0)
	for _, arg := range args {
		n, ok := s.number(arg)
		switch {
		case !ok:
			return nil, nil, false
		case n > maxRequest:
			s.printf("Argument '%s' exceeds maximum size %d\n", arg, maxRequest)
			return nil, nil, false
		case total > maxRequest-n:
			s.printf("The total number of bytes exceed the maximum size %d\n", maxRequest)
			return nil, nil, false
		}
		sizes, total = append(sizes, n), total+n
	}
	whole = s.buffer(total, fill)
	rest := whole
	for _, n := range sizes {
		bufs, rest = append(bufs, rest[:n]), rest[n:]
	}
	return whole, bufs, true
}

// vectored parses what readv, writev and their asynchronous kin have in common.
func (s *Session) vectored(c *command, words []string, fill byte) (f flags, pattern byte, ok bool) {
	if f, ok = s.options(c, words, 0, math.MaxInt); !ok {
		return
	}
	pattern = fill
	for _, x := range f.seen {
		if x.letter == 'P' {
			if pattern, ok = s.pattern(x.value); !ok {
				return
			}
		}
	}
	return f, pattern, true
}

// offset takes the first of the arguments, of which there must be two.
func (s *Session) offset(c *command, f *flags) (int64, bool) {
	if len(f.args) < 2 {
		s.usage(c)
		return 0, false
	}
	return s.number(f.args[0])
}

func (s *Session) readv(c *command, words []string) bool {
	f, fill, ok := s.vectored(c, words, 0)
	if !ok {
		return false
	}
	off, ok := s.offset(c, &f)
	if !ok {
		return false
	}
	p, bufs, ok := s.vector(f.args[1:], 0)
	if !ok {
		return false
	}
	begin := time.Now()
	err := s.disk.dev.ReadV(bufs, off)
	took := time.Since(begin)
	s.deliver()
	if err != nil {
		s.printf("readv failed: %s\n", text(err))
		return false
	}
	return s.judge(&f, p, off, took, fill, 0, int64(len(p)))
}

func (s *Session) writev(c *command, words []string) bool {
	f, fill, ok := s.vectored(c, words, 0xcd)
	if !ok {
		return false
	}
	off, ok := s.offset(c, &f)
	if !ok {
		return false
	}
	p, bufs, ok := s.vector(f.args[1:], fill)
	if !ok {
		return false
	}
	begin := time.Now()
	err := s.disk.write(bufs, off, f.has('f'))
	took := time.Since(begin)
	s.deliver()
	if err != nil {
		s.printf("writev failed: %s\n", text(err))
		return false
	}
	if !f.has('q') {
		n := int64(len(p))
		s.report("wrote", took, off, n, n, f.has('C'))
	}
	return true
}
