package megasas

import (
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// The battery that the card has: what its gauge reads depends on its state alone.
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

func (g *gauge) relative() uint16 { return uint16(uint32(g.remaining) * 100 / batteryFull) }
func (g *gauge) absolute() uint16 { return uint16(uint32(g.remaining) * 100 / batteryDesign) }

// ofBattery makes a management command of what it returns about the battery. Without
// one there is no such hardware.
func ofBattery(payload func(*gauge) []byte) func(*Controller, *request) mfi.Status {
	return func(c *Controller, r *request) mfi.Status {
		b := c.Battery()
		if b == NoBattery {
			return mfi.StatusNoHWPresent
		}
		return r.putOrRefuse(payload(&gauges[b]))
	}
}

// batteryStatus is BBU_GET_STATUS.
func batteryStatus(g *gauge) []byte {
	return mfi.BBUStatus{
		Voltage: g.voltage, Current: g.current, Temperature: 31, Firmware: g.firmware,
		GasGauge: g.status, RelativeCharge: g.relative(), AbsoluteCharge: g.absolute(),
		ChargerState: batteryCharger, ChargerCurrent: uint16(g.current), MaxError: 2,
	}.Marshal()
}

// batteryCapacity is BBU_GET_CAPACITY_INFO.
func batteryCapacity(g *gauge) []byte {
	x := mfi.BBUCapacity{
		RelativeCharge: g.relative(), AbsoluteCharge: g.absolute(), Remaining: g.remaining, Full: batteryFull,
		RunTimeToEmpty: mfi.BBUNever, AverageToEmpty: mfi.BBUNever, AverageToFull: mfi.BBUNever,
		Cycles: 17, MaxError: 2, CapacityAlarm: batteryDesign / 10, TimeAlarm: 10,
	}
	if g.current > 0 {
		x.AverageToFull = uint16((batteryFull - int(g.remaining)) * 60 / int(g.current))
	}
	return x.Marshal()
}

// batteryDesignInfo is BBU_GET_DESIGN_INFO.
func batteryDesignInfo(*gauge) []byte {
	return mfi.BBUDesign{
		Made: time.Date(2013, time.March, 13, 0, 0, 0, 0, time.UTC), Capacity: batteryDesign, Voltage: 3700,
		Spec: 0x31, Serial: 1079, Maker: "GOVMM", Device: "iBBU", Chemistry: "LION",
	}.Marshal()
}

// batteryProperties are those of the battery. It does not learn: that would take it
// hours in which there is no battery, of which nobody has a use.
var batteryProperties = mfi.BBUProperties{AutoLearn: mfi.AutoLearnOff}

// setBatteryProperties is BBU_SET_PROP, which takes what is so already.
func setBatteryProperties(c *Controller, r *request) mfi.Status {
	if c.Battery() == NoBattery {
		return mfi.StatusNoHWPresent
	}
	var p [mfi.BBUPropertiesLen]byte
	if err := r.take(p[:]); err != nil {
		return r.refuse(err)
	}
	if mfi.ParseBBUProperties(&p) != batteryProperties {
		return r.refuse(&mfi.Error{Status: mfi.StatusInvalidParameter, Reason: "a battery that learns"})
	}
	return mfi.StatusOK
}

// checkBattery looks if there is a battery.
func checkBattery(c *Controller, _ *request) mfi.Status {
	if c.Battery() == NoBattery {
		return mfi.StatusNoHWPresent
	}
	return mfi.StatusOK
}
