package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/nest"
)

// deadNest is a nested machine that takes what it is sent, which it writes to a file, and does
// nothing.
func deadNest(t *testing.T) (cfg nest.Config, log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "log")
	static := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...) // the header of a static executable
	static[16], static[18], static[20], static[52], static[54] = 2, 62, 1, 64, 56
	write(t, "", dir, "vmlinux")
	write(t, strings.Join(nest.Modules(), ".ko\n")+".ko\n", dir, "modules", "modules.builtin")
	write(t, string(static), dir, "static")
	qemu := write(t, fmt.Sprintf("#!/bin/sh\nwhile read -r line <&4; do echo \"$line\" >>%s; done\n", log), dir, "qemu")
	if err := os.Chmod(qemu, 0o755); err != nil {
		t.Fatal(err)
	}
	return nest.Config{Dir: dir, QEMU: qemu, Binary: filepath.Join(dir, "static")}, log
}

// A command in the nested machine is told to stop once, or twice if it has a power button; the next
// signal ends the machine, even if nobody there listens.
func TestSignalsEndANestThatHangs(t *testing.T) {
	for _, tt := range []struct {
		button bool
		asked  []syscall.Signal
		last   syscall.Signal
	}{
		{false, []syscall.Signal{syscall.SIGTERM}, syscall.SIGTERM},
		{false, []syscall.Signal{syscall.SIGINT}, syscall.SIGTERM},
		{true, []syscall.Signal{syscall.SIGINT}, syscall.SIGINT},
		{true, []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, syscall.SIGINT},
		{true, []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}, syscall.SIGTERM},
	} {
		cfg, log := deadNest(t)
		ended := make(chan error, 1)
		go func() {
			ended <- (&app{stderr: os.Stderr}).inNest(t.Context(), cfg, nest.Command{Args: []string{nest.Self}}, tt.button)
		}()
		got := func(text string, n int) {
			t.Helper()
			for deadline := time.Now().Add(testLimit); ; time.Sleep(time.Millisecond) {
				if all, _ := os.ReadFile(log); strings.Count(string(all), text) >= n {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("the nest was not sent %s", text)
				}
			}
		}
		send := func(sig syscall.Signal) {
			t.Helper()
			if err := syscall.Kill(os.Getpid(), sig); err != nil {
				t.Fatal(err)
			}
		}
		got(`"start"`, 1) // signals are caught
		for i, sig := range tt.asked {
			send(sig)
			got(`"signal"`, i+1)
		}
		select {
		case err := <-ended:
			t.Fatalf("%+v: before the last signal: %v", tt, err)
		default:
		}
		send(tt.last)
		var exit *exitError
		if err := <-ended; !errors.As(err, &exit) || exit.code != 128+int(tt.last) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
