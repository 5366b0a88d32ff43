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
	was := Battery(c.battery.Swap(uint32(b)))
	if was == b {
		return nil
	}
	var errs []error
	if (was == BatteryGood) != (b == BatteryGood) {
		v := c.set.View()
		for _, l := range v.Volumes {
			if ld := c.logicals[l.Target].Load(); ld != nil && l.Cache == raid.WriteBackWithBattery {
				errs = append(errs, ld.unit.SetWriteCache(c.cacheInForce(l.Cache) == raid.WriteBack))
			}
		}
	}
	c.logBattery(was, b)
	return errors.Join(errs...)
}

// cacheInForce is what is done of a cache policy with the battery as it is.
func (c *Controller) cacheInForce(p raid.CachePolicy) raid.CachePolicy {
	switch {
	case p != raid.WriteBackWithBattery:
		return p
	case c.Battery() == BatteryGood:
		return raid.WriteBack
	}
	return raid.WriteThrough
}

// logBattery logs a change of the battery.
func (c *Controller) logBattery(was, now Battery) {
	add := func(code mfi.EventCode, class mfi.EventClass, locale mfi.EventLocale, text string) {
		c.events.add(mfi.Event{Code: code, Filter: mfi.Filter(class, locale), Description: text})
	}
	switch {
	case was == NoBattery && now != NoBattery:
		add(mfi.EventBatteryPresent, mfi.ClassInfo, mfi.LocaleBBU, "Battery present")
	case now == NoBattery && was != NoBattery:
		add(mfi.EventBatteryAbsent, mfi.ClassWarning, mfi.LocaleBBU, "Battery not present")
	}
	if now == BatteryCharging {
		add(mfi.EventBatteryCharging, mfi.ClassInfo, mfi.LocaleBBU, "Battery started charging")
	}
	switch {
	case now == BatteryGood:
		add(mfi.EventBBUEnabled, mfi.ClassInfo, mfi.LocaleLD, "BBU enabled; changing WT virtual drives to WB")
	case was == BatteryGood || was == NoBattery:
		add(mfi.EventBBUDisabled, mfi.ClassWarning, mfi.LocaleLD, "BBU disabled; changing WB virtual drives to WT")
	}
}
