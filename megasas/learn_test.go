package megasas

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// learner is a guest with a good battery, whose clock moves only when the test says
// so: of two volumes, the first is write-back with the battery, the second always.
type learner struct {
	*guest
	cfg   Config
	now   *atomic.Int64
	disks [2]*disk
}

func newLearner(t *testing.T) *learner {
	l := &learner{now: new(atomic.Int64)}
	l.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	for i, cache := range []raid.CachePolicy{raid.WriteBackWithBattery, raid.WriteBack} {
		l.disks[i] = newDisk(1 << 20)
		l.cfg.Drives = append(l.cfg.Drives, DriveConfig{Drive: drive(l.disks[i], uint8(i)), Cache: cache})
	}
	l.cfg.Battery = BatteryGood
	l.cfg.Learn = LearnTimes{Discharge: 2 * time.Hour, Charge: 3 * time.Hour}
	l.cfg.NVRAM = NVRAMFile(filepath.Join(t.TempDir(), "card.nvram"))
	l.cfg.Clock = func() time.Time { return time.Unix(0, l.now.Load()).UTC() }
	l.guest = running(t, l.cfg, 64)
	return l
}

func (l *learner) pass(d time.Duration) { l.now.Add(int64(d)) }

// battery is what the commands about it say.
func (l *learner) battery() (firmware uint32, charge uint16, current int16) {
	l.t.Helper()
	s, c := memory(l.mustDCMD(mfi.OpBBUGetStatus, 64)), memory(l.mustDCMD(mfi.OpBBUGetCapacity, 48))
	firmware, charge, current = s.u32(8), s.u16(34), int16(s.u16(4))
	empty, full := c.u16(8) != mfi.BBUNever, c.u16(12) != mfi.BBUNever
	if c.u16(0) != charge || empty != (current < 0) || full != (current > 0) ||
		firmware&mfi.BBUDischarging != 0 != (current < 0) || firmware&mfi.BBUCharging != 0 != (current > 0) ||
		s.u16(32)&mfi.GaugeDischarging != 0 != (current < 0) || empty && c.u16(10) != c.u16(8) {
		l.t.Errorf("status % x and capacity % x do not agree", s, c)
	}
	return firmware, charge, current
}

// writes says how many flushes a write to each volume costs.
func (l *learner) writes() (flushes [2]int64) {
	l.t.Helper()
	for i, d := range l.disks {
		before := d.flushes.Load()
		x, _ := l.blocks(mfi.CmdLDWrite, 0, 512)
		x.Target = uint8(i)
		if _, s := l.poll(x); s != mfi.StatusOK {
			l.t.Fatal(s)
		}
		flushes[i] = d.flushes.Load() - before
	}
	return flushes
}

func (l *learner) props() []byte { return bytes.Clone(l.mustDCMD(mfi.OpBBUGetProp, 32)) }

// TestLearnCycle follows a cycle from its start to its end: what the commands say,
// the events, and what becomes of the write cache meanwhile.
func TestLearnCycle(t *testing.T) {
	l := newLearner(t)
	first := newest(l.guest) + 1
	cycles := memory(l.mustDCMD(mfi.OpBBUGetCapacity, 48)).u16(14)
	x, _ := l.blocks(mfi.CmdLDWrite, 0, 512)
	l.poll(x)
	flushes := l.disks[0].flushes.Load()
	l.mustDCMD(mfi.OpBBUStartLearn, 0)
	if l.disks[0].flushes.Load() == flushes {
		t.Error("the battery learns, and what was accepted is not durable")
	}
	if _, s := l.dcmd(mfi.OpBBUStartLearn, 0); s != mfi.StatusWrongState {
		t.Errorf("BBU_START_LEARN of a battery that learns: %v", s)
	}
	last, phase := uint16(100), uint32(mfi.BBUDischarging|mfi.BBULearnActive)
	for i := range 10 {
		l.pass(30 * time.Minute)
		if i == 3 { // two hours
			phase, last = mfi.BBUCharging|mfi.BBULearnActive, 0
		}
		if i == 9 {
			break
		}
		firmware, charge, _ := l.battery()
		if rising := phase&mfi.BBUCharging != 0; firmware != phase || rising == (charge < last) {
			t.Errorf("after %d half hours: firmware %#x, want %#x; charge %d after %d", i+1, firmware, phase, charge, last)
		}
		last = memory(l.mustDCMD(mfi.OpBBUGetStatus, 64)).u16(34)
		if got := l.writes(); got != [2]int64{1, 0} {
			t.Errorf("while it learns, writes cost %v flushes", got)
		}
		if def, current := cacheBitsOf(l.guest); def&1 == 0 || current&1 != 0 {
			t.Errorf("while it learns, cache policy %#x, in force %#x", def, current)
		}
	}
	if firmware, charge, _ := l.battery(); firmware != 0 || charge < 95 {
		t.Errorf("after all: firmware %#x, charge %d", firmware, charge)
	}
	if got := l.writes(); got != [2]int64{0, 0} {
		t.Errorf("after all, writes cost %v flushes", got)
	}
	if n := memory(l.mustDCMD(mfi.OpBBUGetCapacity, 48)).u16(14); n != cycles+1 {
		t.Errorf("%d cycles, want %d", n, cycles+1)
	}
	want := []mfi.EventCode{
		mfi.EventLearnStarted, mfi.EventBatteryDischarging, mfi.EventLearnInProgress, mfi.EventBBUDisabled,
		mfi.EventBatteryCharging, mfi.EventBatteryCharged, mfi.EventLearnCompleted, mfi.EventBBUEnabled,
	}
	if got := l.codes(first); !slices.Equal(got, want) {
		t.Errorf("events %x, want %x", got, want)
	}
	if next := binary.LittleEndian.Uint32(l.props()[4:]); next != mfi.Seconds(l.cfg.Clock())+uint32(learnPeriod/time.Second) {
		t.Errorf("the next cycle is at %d", next)
	}
}

// TestLearnWhenFull asks a battery to learn that is being charged: it does when that
// is over.
func TestLearnWhenFull(t *testing.T) {
	l := newLearner(t)
	if err := l.c.SetBattery(BatteryCharging); err != nil {
		t.Fatal(err)
	}
	first := newest(l.guest) + 1
	l.mustDCMD(mfi.OpBBUStartLearn, 0)
	if firmware, _, _ := l.battery(); firmware != mfi.BBUCharging|mfi.BBULearnRequested {
		t.Errorf("firmware %#x", firmware)
	}
	if err := l.c.SetBattery(BatteryGood); err != nil {
		t.Fatal(err)
	}
	if firmware, _, _ := l.battery(); firmware != mfi.BBUDischarging|mfi.BBULearnActive {
		t.Errorf("firmware %#x", firmware)
	}
	if got := l.codes(first); got[0] != mfi.EventLearnPending || !slices.Contains(got, mfi.EventLearnStarted) {
		t.Errorf("events %x", got)
	}
	// It fails in the middle of that.
	if err := l.c.SetBattery(BatteryFailed); err != nil {
		t.Fatal(err)
	}
	if firmware, _, _ := l.battery(); firmware != mfi.BBUVoltageLow|mfi.BBULearnFailed {
		t.Errorf("firmware %#x", firmware)
	}
	if _, s := l.dcmd(mfi.OpBBUStartLearn, 0); s != mfi.StatusWrongState {
		t.Errorf("BBU_START_LEARN of a battery that has failed: %v", s)
	}
	if got := l.writes(); got != [2]int64{1, 0} {
		t.Errorf("writes cost %v flushes", got)
	}
}

// TestLearnByItself has a battery learn by itself: warned of four days, two days, one
// day and five hours before, after its delay, and again a period after its end.
func TestLearnByItself(t *testing.T) {
	l := newLearner(t)
	p := l.props()
	binary.LittleEndian.PutUint32(p, 20*24*3600)
	p[8], p[9] = 24, mfi.AutoLearnOn
	if s := l.send(mfi.OpBBUSetProp, p); s != mfi.StatusOK {
		t.Fatal(s)
	}
	const day = 24 * time.Hour
	for _, step := range []struct {
		pass time.Duration
		want []mfi.EventCode
	}{
		{16 * day, nil}, // of 20, and a day's delay
		{day, []mfi.EventCode{mfi.EventLearnIn4Days}},
		{2 * day, []mfi.EventCode{mfi.EventLearnIn2Days}},
		{day, []mfi.EventCode{mfi.EventLearnIn1Day}},
		{20 * time.Hour, []mfi.EventCode{mfi.EventLearnIn5Hours}},
		{4 * time.Hour, []mfi.EventCode{mfi.EventLearnStarted, mfi.EventBatteryDischarging, mfi.EventLearnInProgress, mfi.EventBBUDisabled}},
		{5 * time.Hour, []mfi.EventCode{mfi.EventBatteryCharging, mfi.EventBatteryCharged, mfi.EventLearnCompleted, mfi.EventBBUEnabled}},
		{16 * day, nil},
		{5*day - time.Hour, []mfi.EventCode{mfi.EventLearnIn4Days, mfi.EventLearnIn2Days, mfi.EventLearnIn1Day, mfi.EventLearnIn5Hours}},
		{time.Hour, []mfi.EventCode{mfi.EventLearnStarted, mfi.EventBatteryDischarging, mfi.EventLearnInProgress, mfi.EventBBUDisabled}},
	} {
		first := newest(l.guest) + 1
		l.pass(step.pass)
		l.battery()
		if got := l.codes(first); !slices.Equal(got, step.want) {
			t.Errorf("after %v: events %x, want %x", step.pass, got, step.want)
		}
	}
}

// TestLearnWarn has the card only say that a cycle is due.
func TestLearnWarn(t *testing.T) {
	l := newLearner(t)
	p := l.props()
	p[9] = mfi.AutoLearnWarn
	if s := l.send(mfi.OpBBUSetProp, p); s != mfi.StatusOK {
		t.Fatal(s)
	}
	if firmware, _, _ := l.battery(); firmware != 0 {
		t.Errorf("firmware %#x", firmware)
	}
	l.pass(learnPeriod)
	if firmware, _, _ := l.battery(); firmware != mfi.BBULearnRequired {
		t.Errorf("firmware %#x", firmware)
	}
}

// TestLearningIsKept restarts the card, and saves and restores it in the middle of a
// cycle: properties and cycles stay, and a cycle goes on where it was, but not
// through a restart.
func TestLearningIsKept(t *testing.T) {
	l := newLearner(t)
	p := l.props()
	p[8], p[9] = 48, mfi.AutoLearnOn
	if s := l.send(mfi.OpBBUSetProp, p); s != mfi.StatusOK {
		t.Fatal(s)
	}
	p = l.props()
	l.mustDCMD(mfi.OpBBUStartLearn, 0)
	l.pass(time.Hour)
	_, before, _ := l.battery()
	l.move(l.cfg)
	if firmware, charge, _ := l.battery(); firmware != mfi.BBUDischarging|mfi.BBULearnActive || charge != before {
		t.Errorf("firmware %#x, charge %d, was %d", firmware, charge, before)
	}
	if got := l.writes(); got != [2]int64{1, 0} {
		t.Errorf("writes cost %v flushes", got)
	}
	l.pass(4 * time.Hour)
	if firmware, _, _ := l.battery(); firmware != 0 {
		t.Errorf("firmware %#x", firmware)
	}
	closeNow(t, l.guest)
	l.guest = running(t, l.cfg, 64)
	now := l.props()
	if !bytes.Equal(now[8:], p[8:]) || !bytes.Equal(now[:4], p[:4]) {
		t.Errorf("properties % x, were % x", now, p)
	}
	if n := memory(l.mustDCMD(mfi.OpBBUGetCapacity, 48)).u16(14); n != learnCyclesBefore+1 {
		t.Errorf("%d cycles", n)
	}
}

// TestLearnInTime runs a cycle in real time, short as it is: nobody has to ask.
func TestLearnInTime(t *testing.T) {
	cfg, _ := oneDisk()
	cfg.Battery, cfg.Learn = BatteryGood, LearnTimes{Discharge: 10 * time.Millisecond, Charge: 10 * time.Millisecond}
	g := running(t, cfg, 64)
	first := newest(g) + 1
	g.mustDCMD(mfi.OpBBUStartLearn, 0)
	g.await("the end of the cycle", func() bool { return slices.Contains(g.codes(first), mfi.EventLearnCompleted) })
}
