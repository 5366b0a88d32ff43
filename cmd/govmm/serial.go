package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// serialKind is what is at the other end of a serial port.
type serialKind string

const (
	serialStdio serialKind = "stdio" // the terminal, or standard input and output
	serialNone  serialKind = "none"
	serialUnix  serialKind = "unix" // a listening Unix socket
	serialFile  serialKind = "file"
	serialFD    serialKind = "fd" // an inherited descriptor
)

// serialSpec is a value of --serial.
type serialSpec struct {
	kind serialKind
	path string // of unix and file
	fd   int
}

func parseSerial(text string) (serialSpec, error) {
	kind, rest, named := strings.Cut(text, ":")
	s := serialSpec{kind: serialKind(kind)}
	switch s.kind {
	case serialStdio, serialNone:
		if named {
			return s, fmt.Errorf("%q: %s takes nothing after it", text, kind)
		}
	case serialUnix, serialFile:
		if rest == "" {
			return s, fmt.Errorf("%q: %s needs a path, as in %s:PATH", text, kind, kind)
		}
		s.path = rest
	case serialFD:
		fd, err := strconv.Atoi(rest)
		if err != nil || fd < 3 {
			return s, fmt.Errorf("%q: fd needs the number of a descriptor that was inherited, 3 or more", text)
		}
		s.fd = fd
	default:
		return s, fmt.Errorf("%q: must be stdio, none, unix:PATH, file:PATH or fd:NUMBER", text)
	}
	return s, nil
}

func (s serialSpec) String() string {
	switch s.kind {
	case serialUnix, serialFile:
		return string(s.kind) + ":" + s.path
	case serialFD:
		return fmt.Sprintf("fd:%d", s.fd)
	}
	return string(s.kind)
}

// serialFlag is the --serial flag, which may be given several times.
type serialFlag struct {
	specs []serialSpec
	given bool
}

func (f *serialFlag) Type() string { return "stdio|none|unix:PATH|file:PATH|fd:N" }

func (f *serialFlag) String() string {
	var words []string
	for _, s := range f.specs {
		words = append(words, s.String())
	}
	return strings.Join(words, " ")
}

func (f *serialFlag) Set(text string) error {
	s, err := parseSerial(text)
	if err != nil {
		return err
	}
	if !f.given {
		f.specs, f.given = nil, true // the default does not count
	}
	if s.kind == serialStdio && slices.ContainsFunc(f.specs, func(o serialSpec) bool { return o.kind == serialStdio }) {
		return errors.New("only one serial port can be on stdio")
	}
	f.specs = append(f.specs, s)
	return nil
}

// serialEnd is an open other end of a serial port.
type serialEnd struct {
	in    io.Reader // what the guest receives, or nil
	out   io.Writer // what the guest sends, or nil
	close func() error
}

func nothing() error { return nil }

// open opens the other end; openStdio does it for stdio.
func (s serialSpec) open(openStdio func() (serialEnd, error)) (serialEnd, error) {
	switch s.kind {
	case serialStdio:
		return openStdio()
	case serialUnix:
		conn, err := net.Dial("unix", s.path)
		if err != nil {
			return serialEnd{}, fmt.Errorf("serial port %s: %w", s, err)
		}
		return serialEnd{conn, conn, conn.Close}, nil
	case serialFile:
		f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
		if err != nil {
			return serialEnd{}, fmt.Errorf("serial port %s: %w", s, err)
		}
		return serialEnd{nil, f, f.Close}, nil
	case serialFD:
		// Not blocking, so that closing ends a read that is under way.
		if err := unix.SetNonblock(s.fd, true); err != nil {
			return serialEnd{}, fmt.Errorf("serial port %s: %w", s, err)
		}
		f := os.NewFile(uintptr(s.fd), s.String())
		return serialEnd{f, f, f.Close}, nil
	}
	return serialEnd{close: nothing}, nil
}
