package main

import (
	"bytes"
	"path/filepath"
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
	// Nor is what is said before something is tried that may fail.
	both.Reset()
	a := &app{stdout: &both, stderr: &both}
	if a.img(qemuImgName, "raw", []string{"create", "-f", "qcow2", "-o", "compat=0.42", filepath.Join(t.TempDir(), "a"), "1M"}) == nil || !strings.HasPrefix(both.String(), "Formatting ") {
		t.Errorf("create: %q", both.String())
	}
}
