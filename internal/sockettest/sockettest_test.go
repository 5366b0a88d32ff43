package sockettest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestBoundIsNotListening looks at a socket in every state on its way: only the last is the one
// that clients can connect to.
func TestBoundIsNotListening(t *testing.T) {
	path := Path(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	want := func(when string, want bool) {
		t.Helper()
		if listening(t, path) != want {
			t.Errorf("%s: somebody listens: %v", when, !want)
		}
	}
	want("before", false)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	want("bound", false)
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	want("listening", true)
	Await(t, path)
}
