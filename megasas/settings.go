package megasas

import (
	"sync"

	"github.com/govmm/govmm/megasas/mfi"
)

// settings are what the guest can set about the card itself.
type settings struct {
	// changing is held while volumes are made, their properties are set, or the
	// battery changes, so that what was set last is in force.
	changing sync.Mutex

	mu    sync.Mutex
	props mfi.ControllerProperties // guarded by mu
	bios  mfi.BIOSData             // guarded by mu
}

// init gives the card its factory settings.
func (s *settings) init() { s.props = factoryProperties() }

// reset gives it those again. The properties are others than before to whoever
// has read them.
func (s *settings) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	sequence := s.props.Sequence + 1
	s.props, s.bios = factoryProperties(), mfi.BIOSData{}
	s.props.Sequence = sequence
}

// factoryProperties are those that a card comes with: online controller reset is
// on, and so are system drives.
func factoryProperties() mfi.ControllerProperties {
	return mfi.ControllerProperties{
		PredFailPollInterval:   300,
		InterruptThrottleCount: 16,
		InterruptThrottleUS:    50,
		RebuildRate:            30,
		PatrolReadRate:         30,
		BGIRate:                30,
		CCRate:                 30,
		ReconstructionRate:     30,
		CacheFlushInterval:     4,
		SpinupDriveCount:       2,
		SpinupDelay:            6,
		ECCBucketSize:          15,
		ECCLeakRate:            1440,
		ExposeEnclosures:       true,
		OnOff:                  mfi.PropEnableJBOD,
	}
}

func (s *settings) properties() mfi.ControllerProperties {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.props
}

// systemDrivesEnabled reports whether drives may become system drives.
func (s *settings) systemDrivesEnabled() bool {
	return s.properties().OnOff&mfi.PropEnableJBOD != 0
}

// setProperties takes new properties, which must build on the present ones.
// systemDrives says that there are system drives, which cannot be disabled.
func (s *settings) setProperties(x mfi.ControllerProperties, systemDrives bool) mfi.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.Sequence != s.props.Sequence {
		return mfi.StatusInvalidSequenceNumber
	}
	if status := checkProperties(&x); status != mfi.StatusOK {
		return status
	}
	if systemDrives && x.OnOff&mfi.PropEnableJBOD == 0 {
		return mfi.StatusWrongState
	}
	x.Sequence++
	s.props = x
	return mfi.StatusOK
}

// propertySwitches are the switches that can be on: the others belong to
// features that the firmware has not.
const propertySwitches = mfi.PropDisableCopyback | mfi.PropDisableOCR | mfi.PropEnableJBOD

// checkProperties refuses what the firmware would not do.
func checkProperties(x *mfi.ControllerProperties) mfi.Status {
	for _, rate := range []uint8{x.RebuildRate, x.PatrolReadRate, x.BGIRate, x.CCRate, x.ReconstructionRate} {
		if rate > 100 {
			return mfi.StatusInvalidParameter
		}
	}
	switch {
	case x.AlarmEnable:
		return mfi.StatusNoHWPresent
	case x.CoercionMode != 0, x.LoadBalanceMode != 0, x.SpindownTime != 0, x.OnOff&^propertySwitches != 0:
		return mfi.StatusInvalidParameter
	}
	return mfi.StatusOK
}

func (s *settings) biosData() mfi.BIOSData {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bios
}

func (s *settings) setBIOSData(x mfi.BIOSData) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bios = x
}

// keep puts the settings into the NVRAM's contents.
func (s *settings) keep(x *nvramContents) {
	s.mu.Lock()
	defer s.mu.Unlock()
	props, bios := s.props, s.bios
	x.properties, x.bios = &props, &bios
}

// restore takes the settings of the NVRAM, those that this firmware takes.
func (s *settings) restore(x *nvramContents) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.properties != nil && checkProperties(x.properties) == mfi.StatusOK {
		s.props = *x.properties
	}
	if x.bios != nil {
		s.bios = *x.bios
	}
}
