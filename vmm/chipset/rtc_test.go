package chipset_test

import (
	"testing"
	"time"

	"github.com/govmm/govmm/vmm/chipset"
)

// rtcGuest reads and writes the clock's bytes through its ports.
type rtcGuest struct {
	*chipset.RTC
	clock *fakeClock
	irq   wire
}

func newRTC() *rtcGuest {
	g := &rtcGuest{clock: newClock()}
	g.RTC = chipset.NewRTC(chipset.RTCConfig{
		Clock: g.clock, IRQ: g.irq.set, LowMemory: 3 << 30, HighMemory: 5 << 30, CPUs: 4,
	})
	return g
}

func (g *rtcGuest) get(i byte) byte {
	out(g, 0, i|0x80) // bit 7 is not part of the index
	return in(g, 1)
}

func (g *rtcGuest) set(i, v byte) {
	out(g, 0, i)
	out(g, 1, v)
}

// fields are seconds, minutes, hours, weekday, day, month, year, century.
func (g *rtcGuest) fields() (f [8]byte) {
	for n, i := range []byte{0, 2, 4, 6, 7, 8, 9, 0x32} {
		f[n] = g.get(i)
	}
	return f
}

func (g *rtcGuest) setFields(f [8]byte) {
	for n, i := range []byte{0, 2, 4, 6, 7, 8, 9, 0x32} {
		g.set(i, f[n])
	}
}

func TestRTCReadsTheClock(t *testing.T) {
	g := newRTC() // 2026-02-03 14:05:06, a Tuesday
	for _, tt := range []struct {
		name string
		b    byte
		want [8]byte
	}{
		{"BCD, 24 h", 0x02, [8]byte{0x06, 0x05, 0x14, 3, 0x03, 0x02, 0x26, 0x20}},
		{"binary, 24 h", 0x06, [8]byte{6, 5, 14, 3, 3, 2, 26, 20}},
		{"BCD, 12 h", 0x00, [8]byte{0x06, 0x05, 0x82, 3, 0x03, 0x02, 0x26, 0x20}},
		{"binary, 12 h", 0x04, [8]byte{6, 5, 0x82, 3, 3, 2, 26, 20}},
	} {
		g.set(0x0B, tt.b)
		if got := g.fields(); got != tt.want {
			t.Errorf("%s: %x, want %x", tt.name, got, tt.want)
		}
	}
	g.set(0x0B, 0x02)
	g.clock.Advance(9*time.Hour + 54*time.Minute + 54*time.Second)
	if got, want := g.fields(), [8]byte{0, 0, 0, 4, 0x04, 0x02, 0x26, 0x20}; got != want {
		t.Errorf("at midnight: %x, want %x", got, want)
	}
	if g.get(0x0A) != 0x26 || g.get(0x0B) != 0x02 || g.get(0x0C) == 0 || g.get(0x0D) != 0x80 {
		t.Error("registers A to D are not at their defaults")
	}
}

func TestRTCHourFormats(t *testing.T) {
	g := newRTC()
	for hour, want := range map[int]byte{0: 0x12, 1: 0x01, 11: 0x11, 12: 0x92, 13: 0x81, 23: 0x91} {
		g.set(0x0B, 0x82)
		g.setFields([8]byte{0, 0, byte(hour/10<<4 | hour%10), 0, 1, 1, 0x26, 0x20})
		g.set(0x0B, 0x02)
		g.set(0x0B, 0x00)
		if got := g.get(4); got != want {
			t.Errorf("hour %d is %#x in 12-hour format, want %#x", hour, got, want)
		}
		g.set(0x0B, 0x80) // and the other way round
		g.set(4, want)
		g.set(0x0B, 0x00)
		g.set(0x0B, 0x06)
		if got := g.get(4); got != byte(hour) {
			t.Errorf("%#x in 12-hour format became hour %d, want %d", want, got, hour)
		}
	}
}

// TestRTCUpdateInProgress looks for the bit as a guest does that waits for it.
func TestRTCUpdateInProgress(t *testing.T) {
	g := newRTC()
	var high time.Duration
	const step = 100 * time.Microsecond
	for range int(2 * time.Second / step) {
		if g.get(0x0A)&0x80 != 0 {
			high += step
			before := g.get(0)
			g.clock.Advance(2 * time.Millisecond)
			if g.get(0x0A)&0x80 != 0 || g.get(0) == before {
				t.Fatal("the update did not end with a new second within 2 ms")
			}
			high += 2 * time.Millisecond
		}
		g.clock.Advance(step)
	}
	if high == 0 || high > 5*time.Millisecond {
		t.Errorf("high for about %v in two seconds", high)
	}
	g.set(0x0B, 0x82)
	for range int(time.Second / step) {
		if g.get(0x0A)&0x80 != 0 {
			t.Fatal("an update while the clock is being set")
		}
		g.clock.Advance(step)
	}
}

// TestRTCSet sets the clock as Linux does: stopped, with the divider in reset.
func TestRTCSet(t *testing.T) {
	g := newRTC()
	g.clock.Advance(300 * time.Millisecond)
	g.set(0x0B, 0x82)
	g.set(0x0A, 0x76)
	want := [8]byte{0x59, 0x59, 0x23, 6, 0x31, 0x12, 0x99, 0x19} // a Friday
	g.setFields(want)
	g.clock.Advance(5 * time.Second)
	if got := g.fields(); got != want {
		t.Errorf("reads %x while it is being set, want %x", got, want)
	}
	g.set(0x0B, 0x02)
	g.set(0x0A, 0x26)
	g.clock.Advance(499 * time.Millisecond)
	if got := g.fields(); got != want {
		t.Errorf("reads %x, want %x", got, want)
	}
	g.clock.Advance(time.Millisecond)
	if got, want := g.fields(), [8]byte{0, 0, 0, 7, 0x01, 0x01, 0x00, 0x20}; got != want {
		t.Errorf("half a second later %x, want %x", got, want)
	}
	g.Reset()
	if got := g.get(9); got != 0 {
		t.Errorf("the year is %#x after a reset of the machine", got)
	}
	g.set(9, 0x42) // without stopping the clock
	if got := g.get(9); got != 0x42 {
		t.Errorf("the year is %#x, want 42", got)
	}
}

func TestRTCInvalidTime(t *testing.T) {
	g := newRTC()
	g.set(0x0B, 0x82)
	g.setFields([8]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})
	g.set(0x0B, 0x02)
	if got := g.get(8); got < 0x01 || got > 0x12 {
		t.Errorf("the month is %#x", got)
	}
}

func TestRTCPeriodicInterrupt(t *testing.T) {
	g := newRTC()
	if g.clock.waiting() != 0 {
		t.Error("a timer runs though no interrupt is enabled")
	}
	g.get(0x0C)
	g.clock.Advance(time.Second)
	if got := g.get(0x0C); got != 0x50 {
		t.Errorf("polled flags are %#x, want periodic and update", got)
	}
	for _, tt := range []struct {
		rate byte
		hz   int
	}{{0x06, 1024}, {0x03, 8192}, {0x0F, 2}, {0x01, 256}, {0x02, 128}} {
		g.set(0x0A, 0x20|tt.rate)
		g.set(0x0B, 0x42)
		g.get(0x0C)
		g.irq.rose()
		interrupts := 0
		end := g.clock.Now().Add(time.Second + time.Microsecond)
		for g.clock.Now().Before(end) {
			g.clock.Advance(time.Second / 32768)
			if g.irq.high() {
				interrupts++
				if got := g.get(0x0C); got&0xC0 != 0xC0 {
					t.Fatalf("interrupt without flags: %#x", got)
				}
			}
		}
		if interrupts < tt.hz-1 || interrupts > tt.hz+1 {
			t.Errorf("rate %d: %d interrupts in a second, want %d", tt.rate, interrupts, tt.hz)
		}
	}
	g.irq.rose()
	g.clock.Advance(time.Second)
	if g.irq.rose() != 1 || g.clock.waiting() != 0 {
		t.Error("a pending interrupt is not merged with the next ones")
	}
	g.set(0x0A, 0x20)
	g.get(0x0C)
	g.clock.Advance(time.Second)
	if g.irq.high() {
		t.Error("periodic interrupts at rate 0")
	}
}

func TestRTCUpdateInterrupt(t *testing.T) {
	g := newRTC()
	g.clock.Advance(250 * time.Millisecond)
	g.set(0x0B, 0x12)
	for range 3 {
		g.clock.Advance(749 * time.Millisecond)
		if g.irq.high() {
			t.Error("an update interrupt before the end of the second")
		}
		g.clock.Advance(time.Millisecond)
		if !g.irq.high() || g.get(0x0C)&0x90 != 0x90 || g.irq.high() {
			t.Error("no update interrupt, or reading register C does not end it")
		}
		g.clock.Advance(250 * time.Millisecond)
	}
	g.Close()
	if g.clock.waiting() != 0 || g.get(0x0B) != 0x02 {
		t.Error("interrupts are enabled after Close")
	}
}

func TestRTCAlarm(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		seconds, minutes, hour byte
		wait                   time.Duration // from 14:05:06
	}{
		{"time of day", 0x00, 0x30, 0x15, time.Hour + 24*time.Minute + 54*time.Second},
		{"tomorrow", 0x06, 0x05, 0x14, 24 * time.Hour},
		{"every second", 0xFF, 0xFF, 0xFF, time.Second},
		{"every minute", 0x00, 0xC0, 0xFF, 54 * time.Second},
		{"every hour", 0x00, 0x00, 0xFF, 54*time.Minute + 54*time.Second},
		{"a second of an hour", 0x30, 0xFF, 0x13, 22*time.Hour + 55*time.Minute + 24*time.Second},
	} {
		g := newRTC()
		g.set(1, tt.seconds)
		g.set(3, tt.minutes)
		g.set(5, tt.hour)
		g.set(0x0B, 0x22)
		g.clock.Advance(tt.wait - time.Millisecond)
		if g.irq.high() {
			t.Errorf("%s: too early", tt.name)
		}
		g.clock.Advance(time.Millisecond)
		if !g.irq.high() || g.get(0x0C)&0xA0 != 0xA0 || g.irq.high() {
			t.Errorf("%s: no alarm, or reading register C does not end it", tt.name)
		}
	}
	g := newRTC()
	g.set(5, 0x25) // no such hour
	g.set(0x0B, 0x22)
	g.clock.Advance(48 * time.Hour)
	if g.irq.high() || g.clock.waiting() != 0 {
		t.Error("an alarm at an hour that does not exist")
	}
}

func TestRTCMemory(t *testing.T) {
	g := newRTC()
	for _, tt := range []struct {
		what string
		at   byte
		want []byte
	}{
		{"base memory", 0x15, []byte{0x80, 0x02}},
		{"extended memory", 0x17, []byte{0xFF, 0xFF}},
		{"extended memory", 0x30, []byte{0xFF, 0xFF}},
		{"above 16 MiB", 0x34, []byte{0x00, 0xBF}},
		{"above 4 GiB", 0x5B, []byte{0x00, 0x40, 0x01}},
		{"boot order: hard disk, CD-ROM", 0x3D, []byte{0x32}},
		{"processors", 0x5F, []byte{3}},
		{"floppy drives", 0x10, []byte{0}},
	} {
		for i, want := range tt.want {
			if got := g.get(tt.at + byte(i)); got != want {
				t.Errorf("%s: byte %#x is %#x, want %#x", tt.what, tt.at+byte(i), got, want)
			}
		}
	}
	g.set(0x0F, 0x0A)
	g.set(0x7F, 0x55)
	out(g, 2, 0xFF)
	out(g, 3, 0x66) // the second bank
	g.Reset()
	if g.get(0x0F) != 0x0A || g.get(0x7F) != 0x55 {
		t.Error("the memory did not survive a reset")
	}
	out(g, 2, 0x7F)
	if in(g, 3) != 0x66 || in(g, 0) != 0xFF || in(g, 2) != 0xFF {
		t.Error("the second bank or the index ports read wrong")
	}
}
