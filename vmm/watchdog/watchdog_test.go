package watchdog

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/govmm/govmm/vmm/chipset"
)

// clock is a Clock that a test moves.
type clock struct {
	now    time.Duration
	timers []*timer
}

type timer struct {
	c    *clock
	when time.Duration
	f    func()
}

func (c *clock) Now() time.Time { return time.Unix(0, 0).Add(c.now) }

func (c *clock) AfterFunc(d time.Duration, f func()) chipset.Timer {
	t := &timer{c, c.now + d, f}
	c.timers = append(c.timers, t)
	return t
}

func (t *timer) Stop() bool {
	i := slices.Index(t.c.timers, t)
	if i >= 0 {
		t.c.timers = slices.Delete(t.c.timers, i, i+1)
	}
	return i >= 0
}

// advance moves the clock, and calls what is due on the way.
func (c *clock) advance(d time.Duration) {
	end := c.now + d
	for {
		i := slices.IndexFunc(c.timers, func(t *timer) bool { return t.when <= end })
		if i < 0 {
			break
		}
		t := c.timers[i]
		c.timers = slices.Delete(c.timers, i, i+1)
		c.now = max(c.now, t.when)
		t.f()
	}
	c.now = end
}

// bench is a watchdog with somebody who uses it as Linux does.
type bench struct {
	*Watchdog
	clock *clock
	fires int
}

func newBench() *bench {
	b := &bench{clock: &clock{}}
	b.Watchdog = New(Config{Clock: b.clock, Fire: func() { b.fires++ }})
	return b
}

func (b *bench) write(off uint64, v uint32, n int) {
	window{b.Watchdog}.Write(off, binary.LittleEndian.AppendUint32(nil, v)[:n])
}

func (b *bench) read(off uint64) uint32 {
	var p [4]byte
	window{b.Watchdog}.Read(off, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

func (b *bench) unlocked(off uint64, v uint32, n int) {
	b.write(regReload, unlockFirst, 1)
	b.write(regReload, unlockSecond, 1)
	b.write(off, v, n)
}

func (b *bench) setLockRegister(v uint8) { b.fn.WriteConfig(configLock, []byte{v}) }

// seconds sets both stages to half of it.
func (b *bench) seconds(n uint32) {
	b.unlocked(regPreload1, n<<9, 4)
	b.unlocked(regPreload2, n<<9, 4)
}

func (b *bench) keepAlive() { b.unlocked(regReload, reloadTimer, 2) }

func (b *bench) want(t *testing.T, when string, fires int) {
	t.Helper()
	if b.fires != fires {
		t.Errorf("%s: it has fired %d times, want %d", when, b.fires, fires)
	}
}

func TestFiresUnlessKeptAlive(t *testing.T) {
	b := newBench()
	b.seconds(30)
	b.setLockRegister(lockEnable)
	for range 10 {
		b.clock.advance(29 * time.Second)
		b.keepAlive()
	}
	b.want(t, "kept alive", 0)
	b.clock.advance(16 * time.Second)
	if b.read(regInterrupt)&interruptStage1 == 0 {
		t.Error("no sign of the end of the first stage")
	}
	b.write(regInterrupt, interruptStage1, 4)
	if b.read(regInterrupt) != 0 {
		t.Error("the status of the first stage stays")
	}
	b.clock.advance(16 * time.Second)
	b.want(t, "left alone", 1)
	b.clock.advance(time.Hour)
	b.want(t, "after it has fired", 1)
	if b.read(regReload) != reloadFired {
		t.Error("it does not say that it has fired")
	}
	b.reset()
	if b.read(regReload) != reloadFired {
		t.Error("it does not say so after a reset, when it is asked")
	}
	b.unlocked(regReload, reloadFired|reloadTimer, 2)
	if b.read(regReload) != 0 {
		t.Error("it still says that it has fired")
	}
}

func TestProtectedRegisters(t *testing.T) {
	b := newBench()
	b.write(regPreload1, 7, 4)
	b.write(regReload, unlockSecond, 1)
	b.write(regPreload1, 7, 4)
	if v := b.read(regPreload1); v != preloadMask {
		t.Errorf("a locked register was written: %#x", v)
	}
	b.unlocked(regPreload1, 0xfff00007, 4)
	b.write(regPreload1, 8, 4) // unlocked for one write only
	if v := b.read(regPreload1); v != 7 {
		t.Errorf("preload %#x, want 7", v)
	}
	b.setLockRegister(lockLocked | lockEnable)
	b.setLockRegister(0)
	b.clock.advance(time.Hour)
	b.want(t, "locked and switched off", 1)
}

func TestWithoutOutput(t *testing.T) {
	b := newBench()
	b.seconds(1)
	b.fn.WriteConfig(configConfig, []byte{configNoOutput, 0})
	b.setLockRegister(lockEnable)
	b.clock.advance(time.Minute)
	b.want(t, "without output", 0)
	if b.read(regReload) != reloadFired {
		t.Error("it does not say that it has expired")
	}
}

func TestPauseStopsTheTimer(t *testing.T) {
	b := newBench()
	b.seconds(30)
	b.setLockRegister(lockEnable)
	b.clock.advance(10 * time.Second)
	if err := b.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.clock.advance(time.Hour)
	b.want(t, "paused", 0)
	b.Resume()
	b.clock.advance(29 * time.Second)
	b.want(t, "resumed", 0)
	b.clock.advance(29 * time.Second)
	b.want(t, "left alone", 1)
	if err := b.Close(t.Context()); err != nil || len(b.clock.timers) != 0 {
		t.Errorf("close: %v, %d timers", err, len(b.clock.timers))
	}
}

func FuzzWatchdog(f *testing.F) {
	f.Add([]byte{2, 0xc, 0x80, 0, 2, 0xc, 0x86, 0, 2, 0, 1, 0, 1, 0x68, 2, 9})
	f.Fuzz(func(t *testing.T, input []byte) {
		b := newBench()
		for ; len(input) >= 4; input = input[4:] {
			n := 1 << (input[0] >> 2 & 3)
			off := uint64(input[1]) % windowSize
			p := slices.Repeat([]byte{input[2]}, n)
			switch input[0] & 3 {
			case 0:
				window{b.Watchdog}.Read(off, p)
			case 1:
				b.fn.WriteConfig(configConfig+int(input[1]%16), p[:min(n, 4)])
			default:
				window{b.Watchdog}.Write(off, p)
			}
			b.clock.advance(time.Duration(input[3]) * time.Millisecond)
		}
		if err := b.Close(t.Context()); err != nil || len(b.clock.timers) != 0 {
			t.Errorf("%d timers after the end, %v", len(b.clock.timers), err)
		}
	})
}
