package scsi

// modeSettings are the mode parameters that an initiator can change.
type modeSettings struct {
	writeCache      bool // WCE
	descriptorSense bool // D_SENSE
	writeProtect    bool // SWP
}

// modePage is a mode page (SPC-4 and SBC-3). Its bytes are those after the
// header, so byte 0 of it is byte 2 of the page in the standard.
type modePage struct {
	code, subpage byte
	size          int
	fixed         []byte // what is always so; zeroes follow
	bits          []modeBit
	when          func(*Unit) bool // nil is always
}

// modeBit is a bit of a page that is a setting.
type modeBit struct {
	at      int // byte
	mask    byte
	setting func(*modeSettings) *bool
	// fixed says if the initiator cannot change it; nil is never.
	fixed func(*Unit) bool
}

// modePages are the mode pages by page and subpage code. No page can be saved.
var modePages = [...]modePage{
	{code: 0x01, size: 10}, // read-write error recovery: none of it is up to the initiator
	{code: 0x08, size: 18, bits: []modeBit{ // caching
		{0, 0x04, func(s *modeSettings) *bool { return &s.writeCache }, func(u *Unit) bool { return u.config.FixedWriteCache }},
	}},
	{code: 0x0A, size: 10, // control
		fixed: []byte{1: 0x10}, // QUEUE ALGORITHM MODIFIER: unrestricted reordering
		bits: []modeBit{
			{0, 0x04, func(s *modeSettings) *bool { return &s.descriptorSense }, nil},
			{2, 0x08, func(s *modeSettings) *bool { return &s.writeProtect }, nil},
		}},
	{code: 0x18, size: 6, when: isSAS, // protocol specific logical unit: SAS
		fixed: []byte{0: 0x06}},
	{code: 0x19, size: 6, when: isSAS, // protocol specific port: SAS
		fixed: []byte{0: 0x06}},
	{code: 0x1C, size: 10, when: isVolume, // informational exceptions control
		fixed: []byte{0: 0x08}}, // DEXCPT: there is no reporting of exceptions
	{code: 0x1C, size: 10, when: isDrive,
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
	settings := u.modeSettings()
	if control == modeDefault {
		settings = u.defaultModeSettings()
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
func (p *modePage) set(s *modeSettings, b []byte) {
	for _, bit := range p.bits {
		*bit.setting(s) = b[bit.at]&bit.mask != 0
	}
}

// modeSettings returns the current values.
func (u *Unit) modeSettings() modeSettings {
	return modeSettings{
		writeCache:      u.writeBack.Load(),
		descriptorSense: u.descriptorSense.Load(),
		writeProtect:    u.softProtected.Load(),
	}
}

// defaultModeSettings returns the values after power-on.
func (u *Unit) defaultModeSettings() modeSettings {
	return modeSettings{writeCache: u.config.WriteBack}
}
