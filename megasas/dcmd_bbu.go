package megasas

import (
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// The battery that the card has.
const (
	batteryDesign = 1350 // mAh
	batteryFull   = 1287 // mAh, after some years
	// batteryCharger is the charger's status (Smart Battery Charger Specification,
	// ChargerStatus): mains and battery are there, and it is of level 2.
	batteryCharger = 0xc010
)

// gauge is what the battery's gas gauge reads.
type gauge struct {
	remaining uint16 // mAh
	voltage   uint16 // mV
	current   int16  // mA
	status    uint16 // of the smart battery
	firmware  uint32
}

var gauges = [...]gauge{
	BatteryGood:     {1249, 4051, 0, mfi.GaugeInitialized | mfi.GaugeFullyCharged, 0},
	BatteryCharging: {386, 3742, 512, mfi.GaugeInitialized, mfi.BBUCharging},
	BatteryFailed:   {0, 2610, 0, mfi.GaugeInitialized | mfi.GaugeFullyDischarged | mfi.GaugeTerminateDischarging, mfi.BBUVoltageLow},
}

// batteryEmpty is what the gauge reads at the end of a discharge.
var batteryEmpty = gauge{remaining: 64, voltage: 3120}

// gauge is what the battery's gauge reads now: what its state says, or somewhere
// between full and empty while it learns.
//
// Preconditions: settings.changing is held.
func (c *Controller) gauge() gauge {
	l, g := &c.learning, gauges[c.Battery()]
	if !l.active() {
		switch {
		case l.phase == learnRequested:
			g.firmware |= mfi.BBULearnRequested
		case l.failed:
			g.firmware |= mfi.BBULearnFailed
		}
		if l.kept.Load().props.AutoLearn == mfi.AutoLearnWarn && c.untilLearn() <= 0 {
			g.firmware |= mfi.BBULearnRequired
		}
		return g
	}
	length := l.length()
	part := min(max(float64(c.now().Sub(l.since))/float64(length), 0), 1)
	span := func(from, to uint16) uint16 { return uint16(float64(from) + part*(float64(to)-float64(from))) }
	moved := float64(g.remaining-batteryEmpty.remaining) / max(length.Hours(), 1.0/3600)
	current := int16(min(moved, 4000)) // mA
	if l.phase == learnDischarging {
		return gauge{
			span(g.remaining, batteryEmpty.remaining), span(g.voltage, batteryEmpty.voltage), -current,
			mfi.GaugeInitialized | mfi.GaugeDischarging, mfi.BBUDischarging | mfi.BBULearnActive,
		}
	}
	return gauge{
		span(batteryEmpty.remaining, g.remaining), span(batteryEmpty.voltage, g.voltage), current,
		mfi.GaugeInitialized, mfi.BBUCharging | mfi.BBULearnActive,
	}
}

func (g *gauge) relative() uint16 { return uint16(uint32(g.remaining) * 100 / batteryFull) }
func (g *gauge) absolute() uint16 { return uint16(uint32(g.remaining) * 100 / batteryDesign) }

// ofBattery makes a management command of what it returns about the battery. Without
// one there is no such hardware.
func ofBattery(payload func(*Controller, *gauge) []byte) func(*Controller, *request) mfi.Status {
	return func(c *Controller, r *request) mfi.Status {
		c.settings.changing.Lock()
		defer c.settings.changing.Unlock()
		if c.Battery() == NoBattery {
			return mfi.StatusNoHWPresent
		}
		if _, err := c.followLearning(); err != nil {
			c.log.Error("flushing a volume failed", "err", err)
		}
		g := c.gauge()
		return r.putOrRefuse(payload(c, &g))
	}
}

// batteryStatus is BBU_GET_STATUS.
func batteryStatus(_ *Controller, g *gauge) []byte {
	return mfi.BBUStatus{
		Voltage: g.voltage, Current: g.current, Temperature: 31, Firmware: g.firmware,
		GasGauge: g.status, RelativeCharge: g.relative(), AbsoluteCharge: g.absolute(),
		ChargerState: batteryCharger, ChargerCurrent: uint16(max(g.current, 0)), MaxError: 2,
	}.Marshal()
}

// batteryCapacity is BBU_GET_CAPACITY_INFO.
func batteryCapacity(c *Controller, g *gauge) []byte {
	x := mfi.BBUCapacity{
		RelativeCharge: g.relative(), AbsoluteCharge: g.absolute(), Remaining: g.remaining, Full: batteryFull,
		RunTimeToEmpty: mfi.BBUNever, AverageToEmpty: mfi.BBUNever, AverageToFull: mfi.BBUNever,
		Cycles: c.learning.kept.Load().cycles, MaxError: 2, CapacityAlarm: batteryDesign / 10, TimeAlarm: 10,
	}
	minutes := func(mAh int) uint16 { return uint16(min(mAh*60/max(int(g.current), -int(g.current)), mfi.BBUNever-1)) }
	switch {
	case g.current > 0:
		x.AverageToFull = minutes(batteryFull - int(g.remaining))
	case g.current < 0:
		x.RunTimeToEmpty = minutes(int(g.remaining))
		x.AverageToEmpty = x.RunTimeToEmpty
	}
	return x.Marshal()
}

// batteryDesignInfo is BBU_GET_DESIGN_INFO.
func batteryDesignInfo(*Controller, *gauge) []byte {
	return mfi.BBUDesign{
		Made: time.Date(2013, time.March, 13, 0, 0, 0, 0, time.UTC), Capacity: batteryDesign, Voltage: 3700,
		Spec: 0x31, Serial: 1079, Maker: "GOVMM", Device: "iBBU", Chemistry: "LION",
	}.Marshal()
}

// batteryProperties is BBU_GET_PROP.
func batteryProperties(c *Controller, _ *gauge) []byte {
	return c.learning.kept.Load().props.Marshal()
}

// setBatteryProperties is BBU_SET_PROP: when the battery learns by itself. The
// limit of the delay is that of MegaCLI's SetBbuProperties.
func setBatteryProperties(c *Controller, r *request) mfi.Status {
	c.settings.changing.Lock()
	defer c.settings.changing.Unlock()
	if c.Battery() == NoBattery {
		return mfi.StatusNoHWPresent
	}
	var p [mfi.BBUPropertiesLen]byte
	if err := r.take(p[:]); err != nil {
		return r.refuse(err)
	}
	x := mfi.ParseBBUProperties(&p)
	if err := checkBatteryProperties(&x); err != nil {
		return r.refuse(err)
	}
	l := &c.learning
	life := *l.kept.Load()
	if x.NextLearn != life.props.NextLearn || x.LearnDelay != life.props.LearnDelay {
		l.warned = 0
	}
	life.props = x
	l.kept.Store(&life)
	if x.NextLearn == 0 { // nobody has said when
		c.schedule(life)
	}
	l.nudge()
	return c.remember()
}

// checkBatteryProperties refuses what the battery does not do. Its mode is that of
// batteries with a choice of how long they keep the cache.
func checkBatteryProperties(x *mfi.BBUProperties) error {
	if x.LearnDelay > maxLearnDelayHours || x.AutoLearn > mfi.AutoLearnWarn || x.Mode != 0 ||
		x.AutoLearn == mfi.AutoLearnOn && x.LearnPeriod == 0 {
		return &mfi.Error{Status: mfi.StatusInvalidParameter, Reason: "properties that the battery has not"}
	}
	return nil
}
