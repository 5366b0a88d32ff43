package main

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/govmm/govmm/internal/payload"
	"github.com/spf13/cobra"
)

func TestExitStatuses(t *testing.T) {
	const panicPort, exitPort = 0x505, 0x501
	for _, tt := range []struct {
		name   string
		do     func(p *payload.Program)
		flags  []string
		status int
		stderr string
	}{
		{"panic", func(p *payload.Program) { p.Out8(panicPort, 1) }, nil, 3, "kernel panicked"},
		{"panic, ignored", func(p *payload.Program) { p.Out8(panicPort, 1) }, []string{"--on-panic", "ignore"}, 0, "the guest panicked"},
		{"exit 0", func(p *payload.Program) { p.Out8(exitPort, 0) }, []string{"--exit-port"}, 64, ""},
		{"exit 41", func(p *payload.Program) { p.Out8(exitPort, 41) }, []string{"--exit-port"}, 105, ""},
		{"exit 300", func(p *payload.Program) { p.Out32(exitPort, 300) }, []string{"--exit-port"}, 127, ""},
		{"no exit port", func(p *payload.Program) { p.Out8(exitPort, 5) }, nil, 0, ""},
		{"reset", func(p *payload.Program) { p.Out8(0xcf9, 6) }, nil, 2, "reset the machine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := payload.New()
			tt.do(p)
			p.PowerOff()
			status, _, stderr := govmm(runArgs(kernel(t, p), tt.flags...)...)
			if status != tt.status || !strings.Contains(stderr, tt.stderr) || tt.stderr == "" && stderr != "" {
				t.Errorf("status %d, %q; want %d, %q", status, stderr, tt.status, tt.stderr)
			}
		})
	}
}

// The flags that a machine's reactions are written as mean the same again.
func TestReactionsAsFlags(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"--on-reboot", "restart", "--on-panic", "pause", "--shutdown-timeout", "5s", "--watchdog", "nmi", "--exit-port"},
		{"--on-reboot", "exit", "--on-panic", "ignore", "--watchdog", "restart"},
	} {
		parse := func(args []string) reactions {
			var f reactionFlags
			cmd := &cobra.Command{}
			f.register(cmd)
			if err := cmd.ParseFlags(args); err != nil {
				t.Fatal(err)
			}
			return f.reactions(true)
		}
		want := parse(args)
		if got := parse(want.args()); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, and by %q %+v", args, want, want.args(), got)
		}
	}
}

// listening is a program that says "ready" when it listens to the power button, and
// switches the machine off when it is pressed often enough. An interrupt counts only if
// the status says so: there are KVMs that deliver a level-triggered one twice.
func listening(presses uint32) *payload.Program {
	return whenPressed(presses, func(*payload.Program) {})
}

// whenPressed is listening that does something before it switches the machine off.
func whenPressed(presses uint32, do func(p *payload.Program)) *payload.Program {
	const (
		vector      = 0x55
		sci         = 9
		status      = 0x600
		enable      = 0x602
		powerButton = 1 << 8
	)
	p := payload.New()
	pressed := p.Word()
	p.OnInterrupt(vector, func() {
		p.In16(status)
		p.If32(powerButton, powerButton, func() {
			p.Out16(status, powerButton)
			p.Increment32(pressed)
		})
	})
	p.EnableInterrupts()
	p.RouteIOAPIC(sci, vector, true)
	p.Out16(enable, powerButton)
	p.OutString(payload.COM1, "ready\n")
	p.HaltUntil32(pressed, 0xff, presses)
	do(p)
	p.PowerOff()
	return p
}

func TestSIGTERMPressesThePowerButton(t *testing.T) {
	const never = 100 // presses
	term := func() { _ = syscall.Kill(os.Getpid(), syscall.SIGTERM) }
	for _, tt := range []struct {
		name    string
		presses uint32
		timeout string
		twice   bool
		status  int
	}{
		{"the guest shuts down", 1, "1m", false, 0},
		{"the guest takes too long", never, "20ms", false, 143},
		{"a second signal", never, "1m", true, 143},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var stderr bytes.Buffer
			out := &onReady{do: term}
			errs := writerFunc(func(p []byte) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				stderr.Write(p)
				if tt.twice && strings.Contains(stderr.String(), "asked the guest to shut down") {
					tt.twice = false
					term()
				}
				return len(p), nil
			})
			args := runArgs(kernel(t, listening(tt.presses)), "--shutdown-timeout", tt.timeout)
			status := run(t.Context(), args, strings.NewReader(""), out, errs)
			mu.Lock()
			defer mu.Unlock()
			if status != tt.status || !strings.Contains(stderr.String(), "asked the guest to shut down") {
				t.Errorf("status %d, want %d; %q", status, tt.status, &stderr)
			}
		})
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
