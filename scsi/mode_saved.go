package scsi

// canSave says if mode parameters can be saved: a SATA drive has no place for them
// behind its translation layer (SAT-3), and a unit whose owner keeps nothing neither.
func (u *Unit) canSave() bool { return u.config.SaveMode != nil && u.config.ATA == nil }

// savedModeSettings returns the saved values: the default ones if none were saved.
// What is not the initiator's to change is as it is.
func (u *Unit) savedModeSettings() ModeParameters {
	p := u.savedMode.Load()
	if p == nil || !u.canSave() {
		return u.defaultModeSettings()
	}
	saved := *p
	if u.config.FixedWriteCache {
		saved.WriteCache = u.defaultModeSettings().WriteCache
	}
	return saved
}

// saveMode is what SP in MODE SELECT asks for: all pages are saved, as they are to be
// from now on (SPC-4).
//
// Preconditions: u.modeMu is held.
func (u *Unit) saveMode(c *Command, save bool, settings ModeParameters) Sense {
	if !save {
		return Sense{}
	}
	if err := u.config.SaveMode(settings); err != nil {
		c.Err = err
		return Sense{Key: KeyHardwareError, Code: ASCInternalTargetFailure}
	}
	u.savedMode.Store(&settings)
	return Sense{}
}

// saveModeNow is MODE SELECT without a page.
func (u *Unit) saveModeNow(c *Command, save bool) Sense {
	u.modeMu.Lock()
	defer u.modeMu.Unlock()
	return u.saveMode(c, save, u.modeSettings())
}
