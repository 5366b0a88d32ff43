package mfi

// ControllerPropertiesLen is the size of ControllerProperties.
const ControllerPropertiesLen = 64

// Bits of ControllerProperties.OnOff.
const (
	PropDisableCopyback = 1 << 0
	PropDisableOCR      = 1 << 10 // online controller reset
	PropEnableJBOD      = 1 << 13 // system drives
)

// ControllerProperties is the payload of CTRL_GET_PROPERTIES and
// CTRL_SET_PROPERTIES, and a part of ControllerInfo. The fields that would send
// Linux looking for snap dumps and device lists are not here, and are zero on
// the wire.
type ControllerProperties struct {
	Sequence               uint16 // of the last change; a stale one is refused
	PredFailPollInterval   uint16 // seconds
	InterruptThrottleCount uint16
	InterruptThrottleUS    uint16
	RebuildRate            uint8 // percent, as the four below
	PatrolReadRate         uint8
	BGIRate                uint8
	CCRate                 uint8
	ReconstructionRate     uint8
	CacheFlushInterval     uint8 // seconds
	SpinupDriveCount       uint8
	SpinupDelay            uint8 // seconds
	CoercionMode           uint8
	AlarmEnable            bool
	DisableAutoRebuild     bool
	DisableBatteryWarning  bool
	ECCBucketSize          uint8
	ECCLeakRate            uint16 // minutes
	RestoreHotSpare        bool
	ExposeEnclosures       bool
	MaintainPDFailHistory  bool
	DisallowReordering     bool
	AbortCCOnError         bool
	LoadBalanceMode        uint8
	DisableAutoDetect      bool
	OnOff                  uint32
	SpindownTime           uint16 // minutes
}

// Marshal returns the payload's 64 bytes.
func (x *ControllerProperties) Marshal() []byte {
	b := make(record, ControllerPropertiesLen)
	b.u16(0x00, x.Sequence)
	b.u16(0x02, x.PredFailPollInterval)
	b.u16(0x04, x.InterruptThrottleCount)
	b.u16(0x06, x.InterruptThrottleUS)
	b.u8(0x08, x.RebuildRate)
	b.u8(0x09, x.PatrolReadRate)
	b.u8(0x0a, x.BGIRate)
	b.u8(0x0b, x.CCRate)
	b.u8(0x0c, x.ReconstructionRate)
	b.u8(0x0d, x.CacheFlushInterval)
	b.u8(0x0e, x.SpinupDriveCount)
	b.u8(0x0f, x.SpinupDelay)
	b.u8(0x11, x.CoercionMode)
	b.flag(0x12, x.AlarmEnable)
	b.flag(0x13, x.DisableAutoRebuild)
	b.flag(0x14, x.DisableBatteryWarning)
	b.u8(0x15, x.ECCBucketSize)
	b.u16(0x16, x.ECCLeakRate)
	b.flag(0x18, x.RestoreHotSpare)
	b.flag(0x19, x.ExposeEnclosures)
	b.flag(0x1a, x.MaintainPDFailHistory)
	b.flag(0x1b, x.DisallowReordering)
	b.flag(0x1c, x.AbortCCOnError)
	b.u8(0x1d, x.LoadBalanceMode)
	b.flag(0x1e, x.DisableAutoDetect)
	b.u32(0x20, x.OnOff)
	b.u16(0x26, x.SpindownTime)
	return b
}

// ParseControllerProperties reads the payload of CTRL_SET_PROPERTIES.
func ParseControllerProperties(p *[ControllerPropertiesLen]byte) ControllerProperties {
	b := record(p[:])
	return ControllerProperties{
		Sequence:               b.get16(0x00),
		PredFailPollInterval:   b.get16(0x02),
		InterruptThrottleCount: b.get16(0x04),
		InterruptThrottleUS:    b.get16(0x06),
		RebuildRate:            b[0x08],
		PatrolReadRate:         b[0x09],
		BGIRate:                b[0x0a],
		CCRate:                 b[0x0b],
		ReconstructionRate:     b[0x0c],
		CacheFlushInterval:     b[0x0d],
		SpinupDriveCount:       b[0x0e],
		SpinupDelay:            b[0x0f],
		CoercionMode:           b[0x11],
		AlarmEnable:            b[0x12] != 0,
		DisableAutoRebuild:     b[0x13] != 0,
		DisableBatteryWarning:  b[0x14] != 0,
		ECCBucketSize:          b[0x15],
		ECCLeakRate:            b.get16(0x16),
		RestoreHotSpare:        b[0x18] != 0,
		ExposeEnclosures:       b[0x19] != 0,
		MaintainPDFailHistory:  b[0x1a] != 0,
		DisallowReordering:     b[0x1b] != 0,
		AbortCCOnError:         b[0x1c] != 0,
		LoadBalanceMode:        b[0x1d],
		DisableAutoDetect:      b[0x1e] != 0,
		OnOff:                  b.get32(0x20),
		SpindownTime:           b.get16(0x26),
	}
}
