package megasas

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// A battery learns how much it holds by being emptied and charged again. While it
// does, it keeps no write cache: volumes that are write-back with a battery are
// write-through. The order of the phases, that a cycle begins only with a full
// battery and waits for that, and the bits and events that tell of it are those of
// FreeBSD's mfireg.h and mfiutil, OpenBSD's mfireg.h, and the event list and BBU
// commands of LSI's MegaRAID SAS Software User Guide. How long a phase takes, what
// the gauge reads meanwhile, and that learning is off until somebody turns it on, are
// choices of this firmware.

// LearnTimes are how long the phases of a battery's learn cycle take.
type LearnTimes struct {
	Discharge time.Duration // until it is empty. 0 is two hours
	Charge    time.Duration // until it is full again. 0 is four hours
}

// learnPhase is where a battery is with learning.
type learnPhase uint8

const (
	learnIdle        learnPhase = iota
	learnRequested              // as soon as it is full
	learnDischarging            // the cycle is active in this phase and the next
	learnCharging
)

// learning is a battery's learn cycle, and when there is to be one. It is guarded by
// settings.changing.
type learning struct {
	times  LearnTimes
	phase  learnPhase
	since  time.Time // by the host's clock: when the phase began
	failed bool      // the last cycle was cut off
	warned uint32    // how many of learnWarnings were logged for the next cycle
	wake   chan struct{}

	kept atomic.Pointer[batteryLife] // replaced with settings.changing held
}

// batteryLife is what the NVRAM keeps of a battery. It does not change.
type batteryLife struct {
	props  mfi.BBUProperties
	cycles uint16 // that it has learned
}

// What the battery comes with: cycles in its years, and a period of 30 days.
const (
	learnCyclesBefore  = 17
	learnPeriod        = 30 * 24 * time.Hour
	maxLearnDelayHours = 7 * 24
)

// learnWarnings are logged when a cycle that begins by itself is as near as this.
var learnWarnings = [...]struct {
	before time.Duration
	code   mfi.EventCode
	text   string
}{
	{4 * 24 * time.Hour, mfi.EventLearnIn4Days, "Battery relearn will start in 4 days"},
	{2 * 24 * time.Hour, mfi.EventLearnIn2Days, "Battery relearn will start in 2 days"},
	{24 * time.Hour, mfi.EventLearnIn1Day, "Battery relearn will start in 1 day"},
	{5 * time.Hour, mfi.EventLearnIn5Hours, "Battery relearn will start in 5 hours"},
}

func (l *learning) init(times LearnTimes) {
	l.times = LearnTimes{
		Discharge: orElse(times.Discharge, 2*time.Hour),
		Charge:    orElse(times.Charge, 4*time.Hour),
	}
	l.kept.Store(&batteryLife{
		props:  mfi.BBUProperties{LearnPeriod: uint32(learnPeriod / time.Second), AutoLearn: mfi.AutoLearnOff},
		cycles: learnCyclesBefore,
	})
	l.wake = make(chan struct{}, 1)
}

// active reports whether the battery is being emptied, or charged after that.
func (l *learning) active() bool { return l.phase >= learnDischarging }

// length is how long the present phase takes.
func (l *learning) length() time.Duration {
	if l.phase == learnDischarging {
		return l.times.Discharge
	}
	return l.times.Charge
}

// startLearn is BBU_START_LEARN. A battery that is being charged learns when it is
// full. A cycle that is under way is not begun again.
func startLearn(c *Controller, r *request) mfi.Status {
	c.settings.changing.Lock()
	defer c.settings.changing.Unlock()
	if _, err := c.followLearning(); err != nil {
		c.log.Error("flushing a volume failed", "err", err)
	}
	switch b := c.Battery(); {
	case b == NoBattery:
		return mfi.StatusNoHWPresent
	case b == BatteryFailed:
		return r.refuse(&mfi.Error{Status: mfi.StatusWrongState, Reason: "a battery that has failed cannot learn"})
	case c.learning.phase != learnIdle:
		return r.refuse(&mfi.Error{Status: mfi.StatusWrongState, Reason: "the battery learns already"})
	}
	if err := c.requestLearn(c.now()); err != nil {
		c.log.Error("flushing a volume failed", "err", err)
		return mfi.StatusFlushFailed
	}
	c.learning.nudge()
	return mfi.StatusOK
}

// requestLearn begins a cycle at a moment, or has it begin when the battery is full.
//
// Preconditions: settings.changing is held.
func (c *Controller) requestLearn(at time.Time) error {
	l := &c.learning
	l.failed, l.since = false, at
	if c.Battery() != BatteryGood {
		l.phase = learnRequested
		c.logBBU(mfi.EventLearnPending, mfi.ClassInfo, "Battery relearn pending: Battery is under charge")
		return nil
	}
	was := c.batteryKeeps()
	l.phase = learnDischarging
	c.logBBU(mfi.EventLearnStarted, mfi.ClassInfo, "Battery relearn started")
	c.logBBU(mfi.EventBatteryDischarging, mfi.ClassInfo, "Battery is discharging")
	c.logBBU(mfi.EventLearnInProgress, mfi.ClassInfo, "Battery relearn in progress")
	err := c.followBattery(was)
	c.logCacheKept(false)
	return err
}

// followLearning brings the cycle to where it has to be by now, and begins one that
// is due. It returns when there is something to do again; zero is never.
//
// Preconditions: settings.changing is held.
func (c *Controller) followLearning() (next time.Time, err error) {
	l := &c.learning
	if !l.active() && l.kept.Load().props.AutoLearn != mfi.AutoLearnOn {
		return time.Time{}, nil
	}
	var errs []error
	now := c.now()
	for l.active() && !now.Before(l.since.Add(l.length())) {
		l.since = l.since.Add(l.length())
		if l.phase == learnDischarging {
			l.phase = learnCharging
			c.logBBU(mfi.EventBatteryCharging, mfi.ClassInfo, "Battery started charging")
			continue
		}
		was := c.batteryKeeps()
		l.phase = learnIdle
		life := *l.kept.Load()
		life.cycles++
		c.schedule(life)
		c.logBBU(mfi.EventBatteryCharged, mfi.ClassInfo, "Battery charge complete")
		c.logBBU(mfi.EventLearnCompleted, mfi.ClassInfo, "Battery relearn completed")
		errs = append(errs, c.followBattery(was))
		c.logCacheKept(true)
	}
	if l.active() {
		return l.since.Add(l.length()), errors.Join(errs...)
	}
	due, ok := c.learnDue()
	if !ok {
		return time.Time{}, errors.Join(errs...)
	}
	left := due.Sub(now)
	for ; int(l.warned) < len(learnWarnings) && left <= learnWarnings[l.warned].before; l.warned++ {
		if w := learnWarnings[l.warned]; left > 0 {
			c.logBBU(w.code, mfi.ClassInfo, w.text)
		}
	}
	switch {
	case left <= 0:
		errs = append(errs, c.requestLearn(now))
		next = now.Add(l.length())
	case int(l.warned) < len(learnWarnings):
		next = due.Add(-learnWarnings[l.warned].before)
	default:
		next = due
	}
	return next, errors.Join(errs...)
}

// learnDue is when a cycle begins by itself, by the host's clock. It reports false if
// none does.
//
// Preconditions: settings.changing is held.
func (c *Controller) learnDue() (time.Time, bool) {
	l := &c.learning
	if l.kept.Load().props.AutoLearn != mfi.AutoLearnOn || l.phase != learnIdle || c.Battery() != BatteryGood {
		return time.Time{}, false
	}
	return c.now().Add(time.Duration(c.untilLearn()) * time.Second), true
}

// untilLearn is how many seconds there are until the next cycle is due, its delay
// included; negative if it is overdue.
//
// Preconditions: settings.changing is held.
func (c *Controller) untilLearn() int64 {
	p := &c.learning.kept.Load().props
	return int64(p.NextLearn) + int64(p.LearnDelay)*3600 - int64(mfi.Seconds(c.clock.now()))
}

// schedule takes a life of the battery whose next cycle is a period from now on.
//
// Preconditions: settings.changing is held.
func (c *Controller) schedule(life batteryLife) {
	next := uint64(mfi.Seconds(c.clock.now())) + uint64(life.props.LearnPeriod)
	life.props.NextLearn = uint32(min(next, 1<<32-1))
	c.learning.kept.Store(&life)
	c.learning.warned = 0
}

// cutOffLearning ends a cycle that cannot go on, since the battery is another.
//
// Preconditions: settings.changing is held.
func (c *Controller) cutOffLearning() {
	l := &c.learning
	l.failed = l.phase != learnIdle
	l.phase = learnIdle
}

// nudge has the learner look again.
func (l *learning) nudge() {
	select {
	case l.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// learner follows the battery's learning as time goes by. It is a goroutine of its
// own.
func (c *Controller) learner() {
	for {
		c.life.RLock() // a paused controller's battery waits
		c.settings.changing.Lock()
		next, err := c.followLearning()
		c.settings.changing.Unlock()
		c.life.RUnlock()
		if err != nil && c.failures.Allow(c.now()) {
			c.log.Error("flushing a volume failed", "controller", c.name, "err", err)
		}
		timer := time.NewTimer(time.Hour) // the clock may be put ahead
		if !next.IsZero() {
			timer.Reset(min(max(next.Sub(c.now()), time.Millisecond), time.Hour))
		}
		select {
		case <-timer.C:
		case <-c.learning.wake:
			timer.Stop()
		case <-c.done:
			timer.Stop()
			return
		}
	}
}

// batteryKeeps reports whether the battery keeps a write cache now.
func (c *Controller) batteryKeeps() bool {
	return c.Battery() == BatteryGood && !c.discharged.Load()
}

// followBattery has volumes follow the battery, which kept a write cache before or
// not. With the end of a cache all that was accepted becomes durable.
//
// Preconditions: settings.changing is held.
func (c *Controller) followBattery(was bool) error {
	c.discharged.Store(c.learning.active())
	is := c.batteryKeeps()
	if was == is {
		return nil
	}
	var errs []error
	v := c.set.View()
	for _, l := range v.Volumes {
		if ld := c.logicals[l.Target].Load(); ld != nil && l.Cache == raid.WriteBackWithBattery {
			errs = append(errs, ld.unit.SetWriteCache(is))
		}
	}
	return errors.Join(errs...)
}

// logBBU logs an event about the battery.
func (c *Controller) logBBU(code mfi.EventCode, class mfi.EventClass, text string) {
	c.events.add(mfi.Event{Code: code, Filter: mfi.Filter(class, mfi.LocaleBBU), Description: text})
}
