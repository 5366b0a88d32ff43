package vmm

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/payload"
)

// spinner is a program that counts up a word until another is set, on two
// processors.
func spinner(p *payload.Program) (counter, stop uint64) {
	const page = 0x30000
	counter, stop = p.Word(), p.Word()
	p.StartProcessor(1, page, spin(page))
	p.Until32(stop, 0xffffffff, 1, func() { p.Increment32(counter) })
	p.PowerOff()
	return counter, stop
}

// wantMoving checks whether a word of the guest's changes.
func wantMoving(t *testing.T, m *Machine, addr uint64, want bool) {
	t.Helper()
	before := result(t, m, addr)
	if !want {
		time.Sleep(20 * time.Millisecond)
		if now := result(t, m, addr); now != before {
			t.Errorf("a paused guest changed its memory at %#x from %d to %d", addr, before, now)
		}
		return
	}
	for deadline := time.Now().Add(runLimit); result(t, m, addr) == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the guest does not run")
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	const other = 0x30800 // what the second processor counts
	p := payload.New()
	counter, stop := spinner(p)
	var events recorder
	m := newMachine(t, p, Config{CPUs: 2, Notify: events.notify})
	if err := m.Pause(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("pause before the start: %v", err)
	}
	ended := start(t, m)
	wantMoving(t, m, counter, true)
	wantMoving(t, m, other, true)
	for range 3 {
		for range 2 { // the second changes nothing
			if err := m.Pause(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if s := m.Status(); s != PausedByHost {
			t.Errorf("status %v", s)
		}
		wantMoving(t, m, counter, false)
		wantMoving(t, m, other, false)
		for range 2 {
			if err := m.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wantMoving(t, m, counter, true)
		wantMoving(t, m, other, true)
	}
	if err := m.DMA().Store32(stop, 1); err != nil {
		t.Fatal(err)
	}
	if o := <-ended; o != PowerOff {
		t.Errorf("ended with %v", o)
	}
	want := []Event{Paused{}, Resumed{}, Paused{}, Resumed{}, Paused{}, Resumed{}, Ended{PowerOff, GuestPowerOff}}
	if got := events.events(); !reflect.DeepEqual(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if err := m.Pause(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("pause after the end: %v", err)
	}
}

// A paused machine that is reset is at its first instruction, and still paused.
func TestResetWhilePaused(t *testing.T) {
	p := payload.New()
	counter, _ := spinner(p)
	var events recorder
	m := newMachine(t, p, Config{CPUs: 2, Notify: events.notify})
	ended := start(t, m)
	wantMoving(t, m, counter, true)
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Reset()
	events.waitFor(t, ResetDone{HostRequest})
	wantMoving(t, m, counter, false)
	if v := result(t, m, counter); v != 0 {
		t.Errorf("the guest has counted to %d after the reset, before it was resumed", v)
	}
	if err := m.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantMoving(t, m, counter, true)
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Stop() // also ends a machine that is paused
	if o := <-ended; o != Stopped {
		t.Errorf("ended with %v", o)
	}
}

// restless is a device that can't be paused.
type restless struct{ *gadget }

func (restless) Pause(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (restless) Resume()                         {}

func TestDeviceThatDoesNotPause(t *testing.T) {
	p := payload.New()
	counter, _ := spinner(p)
	m := newMachine(t, p, Config{CPUs: 2})
	if err := m.AddDevice(gadgetSlot, restless{newGadget(func(*gadget, uint32) {})}); err != nil {
		t.Fatal(err)
	}
	ended := start(t, m)
	wantMoving(t, m, counter, true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := m.Pause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("pause: %v", err)
	}
	wantMoving(t, m, counter, true)
	if s := m.Status(); s != Running {
		t.Errorf("status %v", s)
	}
	m.Stop()
	<-ended
}

// awaitStatus waits until a machine has come to a status.
func awaitStatus(t *testing.T, m *Machine, want Status) {
	t.Helper()
	for deadline := time.Now().Add(runLimit); m.Status() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the machine is %v, want %v", m.Status(), want)
		}
	}
}

// A device that fails, as often as it likes, pauses the machine once; Resume ends it.
func TestPauseOnIOError(t *testing.T) {
	p := payload.New()
	counter, stop := spinner(p)
	var events recorder
	m := newMachine(t, p, Config{CPUs: 2, Notify: events.notify})
	ended := start(t, m)
	wantMoving(t, m, counter, true)
	for range 3 {
		for range 3 {
			m.PauseOnIOError()
		}
		awaitStatus(t, m, PausedByIOError)
		wantMoving(t, m, counter, false)
		for range 3 { // what fails while it is paused does not pause it afterwards
			m.PauseOnIOError()
		}
		if err := m.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantMoving(t, m, counter, true)
		awaitStatus(t, m, Running)
	}
	// A reset ends what it was paused for, not the pause.
	m.PauseOnIOError()
	awaitStatus(t, m, PausedByIOError)
	m.Reset()
	awaitStatus(t, m, PausedByHost)
	if err := m.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantMoving(t, m, counter, true)
	if err := m.DMA().Store32(stop, 1); err != nil {
		t.Fatal(err)
	}
	if o := <-ended; o != PowerOff {
		t.Errorf("ended with %v", o)
	}
	want := []Event{Paused{}, Resumed{}, Paused{}, Resumed{}, Paused{}, Resumed{}, Paused{}, ResetDone{HostRequest}, Resumed{}, Ended{PowerOff, GuestPowerOff}}
	if got := events.events(); !reflect.DeepEqual(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}
