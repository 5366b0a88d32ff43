package main

import (
	"bufio"
	"io"
	"os"

	"golang.org/x/term"
)

// streamed returns where the standard output of the image tools goes: to w through a buffer,
// as that of any C program, unless w is a terminal. So where both outputs go to one file,
// messages and results stand there in the order in which qemu-img and qemu-io leave them.
// flush writes the rest.
func streamed(w io.Writer) (out io.Writer, flush func() error) {
	const size = 4096 // of the C library's buffer
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return w, func() error { return nil }
	}
	b := bufio.NewWriterSize(w, size)
	return b, b.Flush
}
