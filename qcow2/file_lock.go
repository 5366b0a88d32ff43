package qcow2

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Permission is something that a user of an image file does, or lets others do.
type Permission uint8

// Permissions are those of QEMU, numbered as the bytes that stand for them.
const (
	PermRead           Permission = 1 << iota // reads data that others do not change meanwhile
	PermWrite                                 // changes data
	PermWriteUnchanged                        // writes data that is there already
	PermResize                                // changes the size
	PermAll            = PermRead | PermWrite | PermWriteUnchanged | PermResize
)

func (p Permission) String() string {
	var names []string
	for i, name := range []string{"consistent read", "write", "write unchanged", "resize"} {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// ErrLocked means that somebody else uses a file in a way that excludes ours.
var ErrLocked = errors.New("file is in use")

// LockError says what of a file could not be had.
type LockError struct {
	Path string
	// Permission is what is needed and somebody does not share or, with Shared,
	// what is not to be shared and somebody has.
	Permission Permission
	Shared     bool
	// Holders are the processes in the way, as far as they can be found out.
	Holders []string
}

func (e *LockError) Error() string {
	kind := ""
	if e.Shared {
		kind = "shared "
	}
	s := fmt.Sprintf("failed to get %s%q lock: is another process using the image [%s]?", kind, e.Permission, e.Path)
	if len(e.Holders) > 0 {
		s += " (" + strings.Join(e.Holders, ", ") + ")"
	}
	return s
}

// Is makes the error match ErrLocked.
func (e *LockError) Is(target error) bool { return target == ErrLocked }

// Locks are QEMU's, so that it and this package keep each other out: shared
// open-file-description locks on one byte for each permission that somebody
// has, and on one for each that somebody does not share. To ask is to test
// whether an exclusive lock of the opposite byte could be had.
const (
	lockPermission = 100 // and up: bytes for what somebody does
	lockUnshared   = 200 // and up: bytes for what somebody does not let others do
)

// Lock says what is done with the file, and what others may do with it at the
// same time; it replaces what was said before. When somebody else has said
// otherwise the error is a *LockError, and nothing has changed. Where the file
// system has no such locks the error is errors.ErrUnsupported. Close gives all
// locks back.
//
// Calls must not be concurrent.
func (f *OSFile) Lock(does, shares Permission) error {
	want := lockState{does: does, unshared: PermAll &^ shares}
	if err := f.lockBytes(want, unix.F_RDLCK); err != nil {
		_ = f.lockBytes(want.without(f.locks), unix.F_UNLCK)
		return err
	}
	if err := f.testLocks(want); err != nil {
		_ = f.lockBytes(want.without(f.locks), unix.F_UNLCK)
		return err
	}
	old := f.locks
	f.locks = want
	return f.lockBytes(old.without(want), unix.F_UNLCK)
}

// lockState is which bytes of a file are locked.
type lockState struct{ does, unshared Permission }

func (s lockState) without(t lockState) lockState {
	return lockState{s.does &^ t.does, s.unshared &^ t.unshared}
}

// lockBytes locks or unlocks the bytes of s.
func (f *OSFile) lockBytes(s lockState, kind int16) error {
	for i := range int64(8) {
		for _, b := range []struct {
			on  bool
			off int64
		}{{s.does>>i&1 != 0, lockPermission + i}, {s.unshared>>i&1 != 0, lockUnshared + i}} {
			if !b.on {
				continue
			}
			l := unix.Flock_t{Type: kind, Start: b.off, Len: 1}
			err := retryEINTR(func() error { return unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_SETLK, &l) })
			if err != nil {
				return f.wrap(fmt.Sprintf("lock byte %d of", b.off), lockFailure(err))
			}
		}
	}
	return nil
}

// lockFailure tells a lock that somebody else has from a file system, or a
// kernel, without locks.
func lockFailure(err error) error {
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return ErrLocked
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EOPNOTSUPP),
		errors.Is(err, unix.EPERM), errors.Is(err, unix.EIO), errors.Is(err, unix.EREMOTEIO):
		return errors.ErrUnsupported
	}
	return err
}

// testLocks looks for somebody who keeps us from s.
func (f *OSFile) testLocks(s lockState) error {
	for i := range int64(8) {
		p := Permission(1) << i
		if s.does&p != 0 {
			if err := f.testLock(lockUnshared+i, &LockError{Path: f.path, Permission: p}); err != nil {
				return err
			}
		}
	}
	for i := range int64(8) {
		p := Permission(1) << i
		if s.unshared&p != 0 {
			if err := f.testLock(lockPermission+i, &LockError{Path: f.path, Permission: p, Shared: true}); err != nil {
				return err
			}
		}
	}
	return nil
}

// testLock returns e if somebody else has a lock on the byte at off.
func (f *OSFile) testLock(off int64, e *LockError) error {
	l := unix.Flock_t{Type: unix.F_WRLCK, Start: off, Len: 1}
	err := retryEINTR(func() error { return unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_GETLK, &l) })
	if err != nil {
		return f.wrap(fmt.Sprintf("test the lock of byte %d of", off), lockFailure(err))
	}
	if l.Type == unix.F_UNLCK {
		return nil
	}
	e.Holders = f.holders(off)
	return e
}

// holders names the processes that hold a lock on the byte at off, as far as
// /proc tells: of processes of other users it does not.
func (f *OSFile) holders(off int64) []string {
	var st unix.Stat_t
	if unix.Fstat(f.fd, &st) != nil {
		return nil
	}
	var names []string
	dirs, _ := filepath.Glob("/proc/[0-9]*/fd")
	for _, dir := range dirs {
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		process := filepath.Dir(dir)
		for _, fd := range fds {
			var other unix.Stat_t
			if unix.Stat(filepath.Join(dir, fd.Name()), &other) != nil || other.Ino != st.Ino || other.Dev != st.Dev {
				continue
			}
			pid := filepath.Base(process)
			if pid == strconv.Itoa(os.Getpid()) && fd.Name() == strconv.Itoa(f.fd) {
				continue
			}
			info, err := os.ReadFile(filepath.Join(process, "fdinfo", fd.Name()))
			if err != nil || !holdsLock(string(info), off) {
				continue
			}
			comm, _ := os.ReadFile(filepath.Join(process, "comm"))
			name := fmt.Sprintf("%s, process %s", strings.TrimSpace(string(comm)), pid)
			if pid == strconv.Itoa(os.Getpid()) {
				name = "this process itself"
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// holdsLock reports whether fdinfo tells of an open-file-description lock on the
// byte at off: "lock:	1: OFDLCK ADVISORY READ -1 fe:00:1234 100 101".
func holdsLock(info string, off int64) bool {
	for line := range strings.Lines(info) {
		rest, ok := strings.CutPrefix(line, "lock:")
		words := strings.Fields(rest)
		if !ok || len(words) != 8 || words[1] != "OFDLCK" {
			continue
		}
		first, err := strconv.ParseInt(words[6], 10, 64)
		last, e := strconv.ParseInt(words[7], 10, 64)
		if words[7] == "EOF" {
			last, e = off, nil
		}
		if err == nil && e == nil && first <= off && off <= last {
			return true
		}
	}
	return false
}
