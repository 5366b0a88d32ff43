package vmm

import (
	"bytes"
	"context"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/loglimit"
	"github.com/govmm/govmm/internal/payload"
)

// start runs a machine and returns how it ends.
func start(t testing.TB, m *Machine) <-chan Outcome {
	t.Helper()
	ended := make(chan Outcome, 1)
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	t.Cleanup(cancel)
	go func() {
		outcome, err := m.Run(ctx)
		if err != nil {
			t.Error(err)
		}
		ended <- outcome
	}()
	return ended
}

// waitFor waits until an event like e has happened.
func (r *recorder) waitFor(t testing.TB, e Event) {
	t.Helper()
	for deadline := time.Now().Add(runLimit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, got := range r.events() {
			if got == e {
				return
			}
		}
	}
	t.Fatalf("no event %#v; there were %#v", e, r.events())
}

func TestPanicReactions(t *testing.T) {
	panics := func(p *payload.Program) {
		countBoot(p)
		p.If32(0xff, 2, func() { p.PowerOff() })
		supported := p.Word()
		p.In8(portPanic)
		p.Save32(supported)
		p.Out8(portPanic, 2) // a crash that the guest takes care of itself
		p.Out8(portPanic, 1)
		p.PowerOff()
	}
	for _, tt := range []struct {
		reaction Reaction
		want     Outcome
		events   []Event
	}{
		{Ignore, PowerOff, []Event{Ended{PowerOff, GuestPowerOff}}},
		{End, Panicked, []Event{Ended{Panicked, GuestPanic}}},
		{Restart, PowerOff, []Event{ResetDone{GuestPanic}, Ended{PowerOff, GuestPowerOff}}},
	} {
		t.Run(tt.reaction.String(), func(t *testing.T) {
			p := payload.New()
			panics(p)
			var events recorder
			runTo(t, newMachine(t, p, Config{OnPanic: tt.reaction, Notify: events.notify}), tt.want)
			want := append([]Event{GuestCrashLoaded{}, GuestPanicked{tt.reaction}}, tt.events...)
			if got := events.events(); !reflect.DeepEqual(got, want) {
				t.Errorf("events %#v, want %#v", got, want)
			}
		})
	}
	t.Run("pause", func(t *testing.T) {
		p := payload.New()
		panics(p)
		var events recorder
		m := newMachine(t, p, Config{OnPanic: PauseIt, CPUs: 2, Notify: events.notify})
		ended := start(t, m)
		events.waitFor(t, Paused{})
		if s := m.Status(); s != PausedByPanic {
			t.Errorf("status %v", s)
		}
		if err := m.Resume(t.Context()); err != nil {
			t.Error(err)
		}
		if o := <-ended; o != PowerOff {
			t.Errorf("ended with %v", o)
		}
	})
}

func TestExitPort(t *testing.T) {
	p := payload.New()
	p.Out8(portExit, 42)
	p.PowerOff()
	m := newMachine(t, p, Config{ExitPort: true})
	runTo(t, m, Exited)
	if v := m.ExitValue(); v != 42 {
		t.Errorf("exit value %d", v)
	}
	p = payload.New()
	p.Out32(portExit, 42)
	p.PowerOff()
	runTo(t, newMachine(t, p, Config{}), PowerOff) // there is no port
}

// armWatchdog has the watchdog expire after two stages of about a millisecond.
func armWatchdog(p *payload.Program, bar uint32) {
	const (
		unlock1, unlock2 = 0x80, 0x86
		config, lock     = 0x60, 0x68
		memory           = 2
		reload           = 0xc
	)
	p.ConfigWrite32(slotWatchdog, 0, 0x10, bar)
	p.ConfigWrite16(slotWatchdog, 0, 0x04, memory)
	p.ConfigWrite16(slotWatchdog, 0, config, 0x0003)
	for _, reg := range []uint64{0, 4} {
		p.Store8(uint64(bar)+reload, unlock1)
		p.Store8(uint64(bar)+reload, unlock2)
		p.Store32(uint64(bar)+reg, 1)
	}
	p.ConfigWrite16(slotWatchdog, 0, lock, 2)
}

func TestWatchdogReactions(t *testing.T) {
	const (
		bar   = 0xd0100000
		fired = 1 << 9
	)
	t.Run("restart", func(t *testing.T) {
		p := payload.New()
		countBoot(p)
		p.If32(0xff, 2, func() {
			p.ConfigWrite32(slotWatchdog, 0, 0x10, bar)
			p.ConfigWrite16(slotWatchdog, 0, 0x04, 2)
			p.Load32(bar + 0xc)
			p.If32(fired, fired, func() { p.PowerOff() })
			p.Out8(portExit, 1)
		})
		armWatchdog(p, bar)
		p.Halt()
		runTo(t, newMachine(t, p, Config{ExitPort: true, Watchdog: &WatchdogConfig{Restart}}), PowerOff)
	})
	t.Run("exit", func(t *testing.T) {
		p := payload.New()
		armWatchdog(p, bar)
		p.Halt()
		runTo(t, newMachine(t, p, Config{Watchdog: &WatchdogConfig{End}}), Expired)
	})
	t.Run("pause", func(t *testing.T) {
		p := payload.New()
		armWatchdog(p, bar)
		p.Halt()
		var events recorder
		m := newMachine(t, p, Config{Notify: events.notify, Watchdog: &WatchdogConfig{PauseIt}})
		ended := start(t, m)
		events.waitFor(t, Paused{})
		m.Stop()
		if o := <-ended; o != Stopped {
			t.Errorf("ended with %v", o)
		}
	})
	t.Run("nmi", func(t *testing.T) {
		const vectorNMI = 2
		p := payload.New()
		p.OnInterrupt(vectorNMI, func() { p.PowerOff() })
		p.EnableInterrupts()
		armWatchdog(p, bar)
		p.Halt()
		runTo(t, newMachine(t, p, Config{Watchdog: &WatchdogConfig{InterruptIt}}), PowerOff)
	})
}

// The button is an interrupt to a guest that wants to hear of it, and is noted for
// one that does not yet.
func TestPowerButton(t *testing.T) {
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
		p.If32(powerButton, powerButton, func() { // there are KVMs that deliver it twice
			p.Save32(pressed)
			p.Out16(status, powerButton)
		})
	})
	p.EnableInterrupts()
	p.RouteIOAPIC(sci, vector, true)
	p.Out8(payload.COM1, 'a')
	p.WaitPort8(status+1, powerButton>>8, powerButton>>8)
	p.Out16(status, powerButton)
	p.Out16(enable, powerButton)
	p.Out8(payload.COM1, 'b')
	p.HaltUntil32(pressed, powerButton, powerButton)
	p.PowerOff()

	heard := make(map[byte]bool)
	var m *Machine
	out := writerFunc(func(b []byte) (int, error) {
		for _, c := range b {
			heard[c] = m.PressPowerButton()
		}
		return len(b), nil
	})
	m = newMachine(t, p, Config{Serial: []SerialConfig{{Out: out}}})
	runTo(t, m, PowerOff)
	if heard['a'] || !heard['b'] {
		t.Errorf("the guest hears the button: %v, want only the second", heard)
	}
}

// A guest that provokes warnings without end does not fill the host's log.
func TestGuestCannotFillTheLog(t *testing.T) {
	p := payload.New()
	p.Repeat(200, func() {
		p.Out8(portPanic, 2)                              // crash loaded
		p.ConfigWrite32(slotISA, functionPM, 0x40, 0x3c1) // the PM block, over the ports of COM1
		p.ConfigWrite32(slotISA, functionPM, 0x40, 0x601)
	})
	p.PowerOff()
	var log bytes.Buffer
	m := newMachine(t, p, Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Serial: []SerialConfig{{}}})
	runTo(t, m, PowerOff)
	if n := strings.Count(log.String(), "level=WARN"); n != loglimit.Burst {
		t.Errorf("%d warnings, want %d", n, loglimit.Burst)
	}
}
