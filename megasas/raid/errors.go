package raid

import "errors"

// What a Set refuses a change for. Errors that it returns wrap one of these
// where a caller can act on the reason.
var (
	ErrNotFound = errors.New("raid: there is none of that number")
	ErrState    = errors.New("raid: the drive's state does not allow it")
	ErrSequence = errors.New("raid: it changed since")
	ErrLevel    = errors.New("only level 0 on one drive can be made")
	ErrSize     = errors.New("raid: the drives are too small")
	ErrConflict = errors.New("raid: the number is taken")
	ErrFull     = errors.New("raid: no number is free")
	// ErrSavedState is of Restore.
	ErrSavedState = errors.New("raid: no drives and volumes can have been in this state")
)

// What I/O to a volume fails with that there is no way to.
var (
	ErrOffline = errors.New("raid: the volume is offline")
	ErrDeleted = errors.New("raid: the volume was deleted")
)
