package scsi

import (
	"errors"
	"os"
	"syscall"
)

// failed records what the Medium returned and says what the initiator is told.
// otherwise is the additional sense of a MEDIUM ERROR, for errors that say no
// more than that it did not work.
func (c *Command) failed(err error, otherwise ASC) Sense {
	c.Err = err
	return senseOf(err, otherwise)
}

// senseOf translates an error of the Medium.
func senseOf(err error, otherwise ASC) Sense {
	if s := (Sense{}); errors.As(err, &s) && !s.OK() {
		return s
	}
	switch {
	case isAny(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG):
		return Sense{Key: KeyDataProtect, Code: ASCSpaceAllocationFailed}
	case isAny(err, syscall.EROFS):
		return Sense{Key: KeyDataProtect, Code: ASCWriteProtected}
	case isAny(err, syscall.ENOMEM):
		return Sense{Key: KeyAbortedCommand, Code: ASCInsufficientResources}
	case isAny(err, os.ErrClosed, syscall.ENODEV, syscall.ENXIO, syscall.ENOMEDIUM):
		return Sense{Key: KeyNotReady, Code: ASCNotReadyCauseNotReportable}
	}
	return Sense{Key: KeyMediumError, Code: otherwise}
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
