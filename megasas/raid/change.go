package raid

// Change is something that happened to a Set: one of the types below.
type Change interface{ change() }

// DriveInserted is a new drive, unconfigured good.
type DriveInserted struct{ Drive DriveStatus }

// DriveRemoved is a drive that is gone; Drive has its last state.
type DriveRemoved struct{ Drive DriveStatus }

// DriveStateChanged is a drive's change of state; Drive has the new one.
type DriveStateChanged struct {
	Drive DriveStatus
	Prev  DriveState
}

// VolumeCreated is a new volume.
type VolumeCreated struct{ Volume VolumeStatus }

// VolumeDeleted is a volume that is gone; Volume has its last state.
type VolumeDeleted struct{ Volume VolumeStatus }

// VolumeStateChanged is a volume's change of state; Volume has the new one.
type VolumeStateChanged struct {
	Volume VolumeStatus
	Prev   VolumeState
}

// VolumePropertiesChanged is a volume with new properties.
type VolumePropertiesChanged struct{ Volume VolumeStatus }

func (DriveInserted) change()           {}
func (DriveRemoved) change()            {}
func (DriveStateChanged) change()       {}
func (VolumeCreated) change()           {}
func (VolumeDeleted) change()           {}
func (VolumeStateChanged) change()      {}
func (VolumePropertiesChanged) change() {}
