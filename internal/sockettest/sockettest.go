// Package sockettest has tests find places for sockets, and wait for servers.
package sockettest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Path is a place for a Unix socket, in a directory of its own that goes with the test. Of the 107
// bytes that there are for it, the name of the test takes none.
func Path(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "s")
}

// limit is far more than a server takes to come.
const limit = 5 * time.Minute

// Await waits until somebody listens at the path of a Unix socket, which must be the one that
// the server was given, without making a connection. That the file is there does not say so:
// between bind(2) and listen(2) connections are refused.
func Await(t testing.TB, path string) {
	t.Helper()
	for begun := time.Now(); !listening(t, path); time.Sleep(2 * time.Millisecond) {
		if time.Since(begun) > limit {
			t.Fatalf("nobody listens at %s", path)
		}
	}
}

// listening reports whether a socket of that name accepts connections, by what the kernel lists:
// of those that do the flags are __SO_ACCEPTCON, the fourth word of a line.
func listening(t testing.TB, path string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutSuffix(strings.TrimSuffix(line, "\n"), " "+path)
		if words := strings.Fields(rest); ok && len(words) == 7 && words[3] == "00010000" {
			return true
		}
	}
	return false
}
