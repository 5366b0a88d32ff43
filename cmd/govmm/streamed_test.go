package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestMessagesGoBeforeResults writes both outputs of the tester into one file: results are
// held back as by any C program, so that they stand where qemu-io has them.
func TestMessagesGoBeforeResults(t *testing.T) {
	var both bytes.Buffer
	args := []string{"-c", "length", "-c", "foo", "--image-opts", "driver=null-co,size=1M"}
	if code := runIO(qemuIO, args, strings.NewReader(""), &both, &both); code != 1 {
		t.Errorf("status %d", code)
	}
	if want := "command \"foo\" not found\n1 MiB\n"; both.String() != want {
		t.Errorf("%q, want %q", both.String(), want)
	}
	// A prompt is not held back.
	both.Reset()
	runIO(qemuIO, nil, strings.NewReader("foo\n"), &both, &both)
	if want := "qemu-io> command \"foo\" not found\nqemu-io> "; both.String() != want {
		t.Errorf("%q, want %q", both.String(), want)
	}
}
