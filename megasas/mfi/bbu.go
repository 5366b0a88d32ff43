package mfi

import "time"

// Sizes of the battery's payloads.
const (
	BBUStatusLen     = 64
	BBUCapacityLen   = 48
	BBUDesignLen     = 67
	BBUPropertiesLen = 32
)

// BBUIntelligent is the type of battery that has a gas gauge (iBBU).
const BBUIntelligent = 1

// Firmware status bits of BBUStatus.
const (
	BBUPackMissing = 1 << iota
	BBUVoltageLow
	BBUTemperatureHigh
	BBUCharging
	BBUDischarging
	BBULearnRequested
	BBULearnActive
	BBULearnFailed
	BBULearnTimeout
	BBUI2CErrors
	_
	_
	BBULearnRequired
)

// Bits of BBUStatus.GasGauge: the status of a smart battery (Smart Battery Data
// Specification 1.1, BatteryStatus).
const (
	GaugeFullyDischarged      = 0x0010
	GaugeFullyCharged         = 0x0020
	GaugeDischarging          = 0x0040
	GaugeInitialized          = 0x0080
	GaugeTerminateDischarging = 0x0800
)

// BBUStatus is the payload of BBU_GET_STATUS for an intelligent battery.
type BBUStatus struct {
	Voltage        uint16 // mV
	Current        int16  // mA, negative while it discharges
	Temperature    uint16 // degrees Celsius
	Firmware       uint32 // BBUPackMissing and others
	GasGauge       uint16 // GaugeFullyCharged and others
	RelativeCharge uint16 // percent of the full capacity
	ChargerState   uint16
	ChargerControl uint16
	ChargerCurrent uint16 // mA
	AbsoluteCharge uint16 // percent of the design capacity
	MaxError       uint16 // percent
}

// Marshal returns the payload's 64 bytes.
func (x BBUStatus) Marshal() []byte {
	b := make(record, BBUStatusLen)
	b.u8(0, BBUIntelligent)
	b.u16(2, x.Voltage)
	b.u16(4, uint16(x.Current))
	b.u16(6, x.Temperature)
	b.u32(8, x.Firmware)
	for i, v := range []uint16{x.GasGauge, x.RelativeCharge, x.ChargerState, x.ChargerControl, x.ChargerCurrent, x.AbsoluteCharge, x.MaxError} {
		b.u16(32+2*i, v)
	}
	return b
}

// BBUCapacity is the payload of BBU_GET_CAPACITY_INFO.
type BBUCapacity struct {
	RelativeCharge uint16 // percent of the full capacity
	AbsoluteCharge uint16 // percent of the design capacity
	Remaining      uint16 // mAh
	Full           uint16 // mAh
	RunTimeToEmpty uint16 // minutes, as the two below; BBUNever
	AverageToEmpty uint16
	AverageToFull  uint16
	Cycles         uint16
	MaxError       uint16 // percent
	CapacityAlarm  uint16 // mAh
	TimeAlarm      uint16 // minutes
}

// BBUNever is a time that does not come.
const BBUNever = 0xffff

// Marshal returns the payload's 48 bytes.
func (x BBUCapacity) Marshal() []byte {
	b := make(record, BBUCapacityLen)
	for i, v := range []uint16{x.RelativeCharge, x.AbsoluteCharge, x.Remaining, x.Full, x.RunTimeToEmpty, x.AverageToEmpty,
		x.AverageToFull, x.Cycles, x.MaxError, x.CapacityAlarm, x.TimeAlarm} {
		b.u16(2*i, v)
	}
	return b
}

// BBUDesign is the payload of BBU_GET_DESIGN_INFO.
type BBUDesign struct {
	Made      time.Time // the day counts
	Capacity  uint16    // mAh
	Voltage   uint16    // mV
	Spec      uint16    // version of the Smart Battery Data Specification
	Serial    uint16
	Maker     string // at most 11 characters
	Device    string // at most 7, as the one below
	Chemistry string
}

// Marshal returns the payload's 67 bytes.
func (x BBUDesign) Marshal() []byte {
	b := make(record, BBUDesignLen)
	b.u32(0, uint32(x.Made.Day()|int(x.Made.Month())<<5|(x.Made.Year()-1980)<<9))
	for i, v := range []uint16{x.Capacity, x.Voltage, x.Spec, x.Serial} {
		b.u16(4+2*i, v)
	}
	b.str(14, 12, x.Maker)
	b.str(26, 8, x.Device)
	b.str(34, 8, x.Chemistry)
	return b
}

// Modes of BBUProperties.AutoLearn.
const (
	AutoLearnOn = iota
	AutoLearnOff
	AutoLearnWarn
)

// BBUProperties is the payload of BBU_GET_PROP and BBU_SET_PROP.
type BBUProperties struct {
	LearnPeriod uint32 // seconds between learn cycles
	NextLearn   uint32 // seconds since 2000
	LearnDelay  uint8  // hours
	AutoLearn   uint8
	Mode        uint8
}

// Marshal returns the payload's 32 bytes.
func (x BBUProperties) Marshal() []byte {
	b := make(record, BBUPropertiesLen)
	b.u32(0, x.LearnPeriod)
	b.u32(4, x.NextLearn)
	b.u8(8, x.LearnDelay)
	b.u8(9, x.AutoLearn)
	b.u8(10, x.Mode)
	return b
}

// ParseBBUProperties reads the payload.
func ParseBBUProperties(p *[BBUPropertiesLen]byte) BBUProperties {
	b := record(p[:])
	return BBUProperties{LearnPeriod: b.get32(0), NextLearn: b.get32(4), LearnDelay: b[8], AutoLearn: b[9], Mode: b[10]}
}
