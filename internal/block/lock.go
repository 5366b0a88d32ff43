package block

import (
	"errors"
	"fmt"

	"github.com/govmm/govmm/qcow2"
)

// Locking says whether the files of a device are locked, so that no two programs
// change one of them, or one reads what another changes. The locks are QEMU's.
type Locking uint8

const (
	LockingAuto Locking = iota // where the file system has locks
	LockingOn                  // a file that can't be locked is not opened
	LockingOff
)

func parseLocking(value string) (Locking, error) {
	switch value {
	case "auto":
		return LockingAuto, nil
	case "on":
		return LockingOn, nil
	case "off":
		return LockingOff, nil
	}
	return 0, fmt.Errorf("locking=%s (on, off and auto are allowed)", value)
}

// Lock locks a file that was opened in another way than by a Spec, where that is
// possible.
func Lock(f *qcow2.OSFile, readOnly, forceShare bool) error {
	does, shares := use(readOnly, forceShare)
	return lockFile(f, does, shares, LockingAuto)
}

// use is what a file is used for: one that is written is nobody else's, one that is only
// read may be read by others. With share they may do what they like.
func use(readOnly, share bool) (does, shares qcow2.Permission) {
	does, shares = qcow2.PermRead, qcow2.PermRead|qcow2.PermWriteUnchanged
	if !readOnly {
		does |= qcow2.PermWrite | qcow2.PermResize
	}
	if share {
		shares = qcow2.PermAll
	}
	return does, shares
}

// lockFile says to others what a file is used for.
func lockFile(f *qcow2.OSFile, does, shares qcow2.Permission, locking Locking) error {
	if locking == LockingOff {
		return nil
	}
	err := f.Lock(does, shares)
	if locking == LockingAuto && errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}
