package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFileLoad has the load write until it is told to stop, and sha256sum compare the
// files with what it says that they are.
func TestFileLoad(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	device := filepath.Join(dir, "device")
	if err := os.WriteFile(device, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := os.OpenFile(device, os.O_RDONLY|unix.O_DIRECT, 0); errors.Is(err, unix.EINVAL) {
		t.Skip("no direct I/O in the temporary directory")
	} else if err == nil {
		f.Close()
	}
	if err := os.Mkdir(filepath.Join(state, "sums"), 0o700); err != nil {
		t.Fatal(err)
	}
	status := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		status <- fileLoad([]string{"--dir", dir, "--dev", device, "--state", state}, &stderr)
	}()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Millisecond) {
		if n, err := os.ReadFile(filepath.Join(state, "written")); err == nil && len(n) > 1 { // ten of them
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is written")
		}
	}
	if err := os.WriteFile(filepath.Join(state, "stop"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := <-status; s != 0 {
		t.Fatalf("status %d: %s", s, &stderr)
	}
	sums, err := filepath.Glob(filepath.Join(state, "sums", "*"))
	if err != nil || len(sums) < 10 {
		t.Fatalf("%d sums, %v", len(sums), err)
	}
	cmd := exec.Command("sha256sum", append([]string{"--check", "--quiet", "--strict"}, sums...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

// A load whose disk fails says so, and ends.
func TestFileLoadFails(t *testing.T) {
	state := t.TempDir()
	var stderr bytes.Buffer
	if s := fileLoad([]string{"--dir", filepath.Join(state, "none"), "--dev", filepath.Join(state, "none"), "--state", state}, &stderr); s != 1 {
		t.Errorf("status %d", s)
	}
	for _, name := range []string{"failed", "ended"} {
		if _, err := os.Stat(filepath.Join(state, name)); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(stderr.String(), "no such file") {
		t.Errorf("it says %q", &stderr)
	}
}
