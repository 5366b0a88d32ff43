package scsi

// ModeParameters are the mode parameters that an initiator can change.
type ModeParameters struct {
	WriteCache      bool // WCE
	DescriptorSense bool // D_SENSE
	WriteProtect    bool // SWP
}

// modePage is a mode page (SPC-4 and SBC-3). Its bytes are those after the
// header, so byte 0 of it is byte 2 of the page in the standard.
type modePage struct {
	code, subpage byte
	size          int
	savable       bool   // where anything is (see UnitConfig.SaveMode)
	fixed         []byte // what is always so; zeroes follow
	bits          []modeBit
	when          func(*Unit) bool // nil is always
}

// modeBit is a bit of a page that is a setting.
type modeBit struct {
	at      int // byte
	mask    byte
	setting func(*ModeParameters) *bool
	// fixed says if the initiator cannot change it; nil is never.
	fixed func(*Unit) bool
}

// modePages are the mode pages by page and subpage code.
var modePages = [...]modePage{
	{code: 0x01, size: 10, savable: true}, // read-write error recovery: none of it is up to the initiator
	{code: 0x08, size: 18, savable: true, bits: []modeBit{ // caching
		{0, 0x04, func(s *ModeParameters) *bool { return &s.WriteCache }, func(u *Unit) bool { return u.config.FixedWriteCache }},
	}},
	{code: 0x0A, size: 10, savable: true, // control
		fixed: []byte{1: 0x10}, // QUEUE ALGORITHM MODIFIER: unrestricted reordering
		bits: []modeBit{
			{0, 0x04, func(s *ModeParameters) *bool { return &s.DescriptorSense }, nil},
			{2, 0x08, func(s *ModeParameters) *bool { return &s.WriteProtect }, nil},
		}},
	{code: 0x18, size: 6, when: isSAS, // protocol specific logical unit: SAS
		fixed: []byte{0: 0x06}},
	{code: 0x19, size: 6, when: isSAS, // protocol specific port: SAS
		fixed: []byte{0: 0x06}},
	{code: 0x1C, size: 10, savable: true, when: isVolume, // informational exceptions control
		fixed: []byte{0: 0x08}}, // DEXCPT: there is no reporting of exceptions
	{code: 0x1C, size: 10, savable: true, when: isDrive,
		fixed: []byte{1: 0x06}}, // MRIE: reporting on request, by REQUEST SENSE and page 2Fh
}

// isSAS says if the unit is a drive on SAS.
func isSAS(u *Unit) bool { return len(u.config.Health.Ports) > 0 }

// isDrive says if the unit is a drive, which has a temperature, and not a volume.
func isDrive(u *Unit) bool { return u.config.Health.Temperature != nil }

func isVolume(u *Unit) bool { return !isDrive(u) }

// has says if the unit has the page.
func (p *modePage) has(u *Unit) bool { return p.when == nil || p.when(u) }

// put fills b, the size bytes of the page, as PAGE CONTROL has it.
func (p *modePage) put(u *Unit, control byte, b []byte) {
	if control == modeChangeable {
		p.changeable(u, b)
		return
	}
	var settings ModeParameters
	switch control {
	case modeDefault:
		settings = u.defaultModeSettings()
	case modeSaved:
		settings = u.savedModeSettings()
	default:
		settings = u.modeSettings()
	}
	copy(b, p.fixed)
	for _, bit := range p.bits {
		if *bit.setting(&settings) {
			b[bit.at] |= bit.mask
		}
	}
}

// changeable sets the bits of b that the initiator can change.
func (p *modePage) changeable(u *Unit, b []byte) {
	for _, bit := range p.bits {
		if bit.fixed == nil || !bit.fixed(u) {
			b[bit.at] |= bit.mask
		}
	}
}

// set takes over the settings that the page b from the initiator has.
func (p *modePage) set(s *ModeParameters, b []byte) {
	for _, bit := range p.bits {
		*bit.setting(s) = b[bit.at]&bit.mask != 0
	}
}

// modeSettings returns the current values.
func (u *Unit) modeSettings() ModeParameters {
	return ModeParameters{
		WriteCache:      u.writeBack.Load(),
		DescriptorSense: u.descriptorSense.Load(),
		WriteProtect:    u.softProtected.Load(),
	}
}

// defaultModeSettings returns the values of a unit that was never told others.
func (u *Unit) defaultModeSettings() ModeParameters {
	return ModeParameters{WriteCache: u.config.WriteBack}
}
