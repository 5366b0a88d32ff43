package mfi

// PatrolMode is when the firmware reads through the drives by itself.
type PatrolMode uint8

// Patrol read modes.
const (
	PatrolAuto     PatrolMode = 0
	PatrolManual   PatrolMode = 1
	PatrolDisabled PatrolMode = 2
)

// Sizes of the patrol read payloads.
const (
	PatrolStatusLen     = 16
	PatrolPropertiesLen = 208
)

// PatrolState is whether a patrol read goes on.
type PatrolState uint8

// PatrolStopped is the state while none goes on.
const PatrolStopped PatrolState = 0

// PatrolStatus is the payload of CTRL_PR_GET_STATUS.
type PatrolStatus struct {
	Iterations uint32 // that were completed
	State      PatrolState
	DrivesDone uint8 // of the present iteration
}

// Marshal returns the payload's 16 bytes.
func (x PatrolStatus) Marshal() []byte {
	b := make(record, PatrolStatusLen)
	b.u32(0, x.Iterations)
	b.u8(4, uint8(x.State))
	b.u8(5, x.DrivesDone)
	return b
}

// PatrolProperties is the payload of CTRL_PR_GET_PROPERTIES and, of which only
// the first byte counts for a firmware without the feature, of
// CTRL_PR_SET_PROPERTIES.
type PatrolProperties struct {
	Mode PatrolMode
}

// Marshal returns the payload's 208 bytes.
func (x PatrolProperties) Marshal() []byte {
	b := make(record, PatrolPropertiesLen)
	b.u8(0, uint8(x.Mode))
	return b
}
