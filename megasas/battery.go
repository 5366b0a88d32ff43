package megasas

import (
	"errors"
	"fmt"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// Battery is how the battery backup unit is that keeps the write cache while there
// is no power. It stands for what the host promises instead: a volume that is
// write-back with a battery is so while the battery is good, and write-through
// otherwise.
type Battery uint8

// States of the battery.
const (
	NoBattery       Battery = iota
	BatteryGood             // charged
	BatteryCharging         // with too little in it to keep the cache
	BatteryFailed           // holds no charge
)

var batteryNames = [...]string{NoBattery: "none", BatteryGood: "good", BatteryCharging: "charging", BatteryFailed: "failed"}

// BatteryStates are the states by their names.
func BatteryStates() map[string]Battery {
	m := map[string]Battery{}
	for b, name := range batteryNames {
		m[name] = Battery(b)
	}
	return m
}

// String returns the state's name.
func (b Battery) String() string {
	if int(b) < len(batteryNames) {
		return batteryNames[b]
	}
	return fmt.Sprintf("Battery(%d)", uint8(b))
}

// Battery returns the battery's state now.
func (c *Controller) Battery() Battery { return Battery(c.battery.Load()) }

// SetBattery changes the battery's state while the controller runs. When it has
// returned nil, the volumes whose cache depends on it are as it says: without a good
// battery every write that was completed is durable. The guest is told by events.
func (c *Controller) SetBattery(b Battery) error {
	if int(b) >= len(batteryNames) {
		return fmt.Errorf("no such state of a battery: %v", b)
	}
	c.settings.changing.Lock()
	defer c.settings.changing.Unlock()
	was, kept := c.Battery(), c.batteryKeeps()
	if was == b {
		return nil
	}
	if requested := c.learning.phase == learnRequested && b != BatteryFailed && b != NoBattery; !requested {
		c.cutOffLearning()
	}
	c.battery.Store(uint32(b))
	err := c.followBattery(kept)
	c.logBattery(was, b)
	if b == BatteryGood && c.learning.phase == learnRequested {
		err = errors.Join(err, c.requestLearn(c.now()))
	}
	c.learning.nudge()
	return err
}

// cacheInForce is what is done of a cache policy with the battery as it is.
func (c *Controller) cacheInForce(p raid.CachePolicy) raid.CachePolicy {
	switch {
	case p != raid.WriteBackWithBattery:
		return p
	case c.batteryKeeps():
		return raid.WriteBack
	}
	return raid.WriteThrough
}

// logBattery logs a change of the battery.
func (c *Controller) logBattery(was, now Battery) {
	switch {
	case was == NoBattery && now != NoBattery:
		c.logBBU(mfi.EventBatteryPresent, mfi.ClassInfo, "Battery present")
	case now == NoBattery && was != NoBattery:
		c.logBBU(mfi.EventBatteryAbsent, mfi.ClassWarning, "Battery not present")
	}
	if now == BatteryCharging {
		c.logBBU(mfi.EventBatteryCharging, mfi.ClassInfo, "Battery started charging")
	}
	if now == BatteryGood || was == BatteryGood || was == NoBattery {
		c.logCacheKept(now == BatteryGood)
	}
}

// logCacheKept logs that the battery keeps the write cache from now on, or does not.
func (c *Controller) logCacheKept(kept bool) {
	e := mfi.Event{
		Code: mfi.EventBBUEnabled, Filter: mfi.Filter(mfi.ClassInfo, mfi.LocaleLD),
		Description: "BBU enabled; changing WT virtual drives to WB",
	}
	if !kept {
		e.Code, e.Filter = mfi.EventBBUDisabled, mfi.Filter(mfi.ClassWarning, mfi.LocaleLD)
		e.Description = "BBU disabled; changing WB virtual drives to WT"
	}
	c.events.add(e)
}
