// Package kernelcache keeps unpacked kernels in a directory, so that a kernel has to be
// unpacked once only.
//
// An entry is a file that is named after what was unpacked, by firmware.Payload.ID, with
// ".vmlinux" behind it, and has what came out and checksums of it (see Kernel). Files with other
// names are left alone. It is written under another name, made durable, and then renamed,
// so that it is whole or not there; what becomes of it afterwards, on a bad disk or in a crash of
// a host that lies about what is durable, the checksums tell. As its content becomes a guest's
// kernel, it is used only if nobody but this user can have written it: the directory and the
// file are the user's, and nobody else may write to them.
//
// The methods may be called by several processes and goroutines at the same time.
package kernelcache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Cache is a directory of unpacked kernels.
type Cache struct{ dir string }

const (
	// MaxKernels is how many kernels are kept, those used last.
	MaxKernels = 8

	suffix       = ".vmlinux"
	temporary    = ".unpacking-" // begins the names of files that are being written
	temporaryAge = time.Hour     // after which their writer is gone
	touchAfter   = time.Hour     // an entry's time is when it was used last, as exactly as this
	lockName     = ".lock"
	othersWrite  = 0o022
)

// Open opens the cache in a directory, which is made if it is not there.
func Open(dir string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
	}
	if err := trusted(info); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return &Cache{dir}, nil
}

// trusted refuses what somebody else can have written.
func trusted(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode()&othersWrite != 0:
		return fmt.Errorf("others may write to it (mode %v)", info.Mode())
	case ok && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d", stat.Uid)
	}
	return nil
}

// Path is the path of an entry of so many bytes, for OpenKernel. If there is none, the error is
// fs.ErrNotExist; it is ErrDamaged if it has another size.
func (c *Cache) Path(id string, size int64) (string, error) {
	path := filepath.Join(c.dir, id+suffix)
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: not a regular file", path)
	}
	if err := trusted(info); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if info.Size() != fileSize(size) {
		return "", fmt.Errorf("%s: %w: it has %d bytes, not %d", path, ErrDamaged, info.Size(), fileSize(size))
	}
	if now := time.Now(); now.Sub(info.ModTime()) > touchAfter {
		_ = os.Chtimes(path, now, now) // or it counts as older than it is
	}
	return path, nil
}

// Lock reserves the cache to a process that fills it, without waiting: ok is false if
// there is one already.
func (c *Cache) Lock() (unlock func(), ok bool, err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, false, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = nil
		}
		return nil, false, err
	}
	return func() { f.Close() }, true, nil
}

// Store makes an entry, and removes those that are too many.
func (c *Cache) Store(id string, data []byte) error {
	f, err := os.CreateTemp(c.dir, temporary)
	if err != nil {
		return err
	}
	err = errors.Join(write(f, data), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(c.dir, id+suffix))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return c.prune(time.Now())
}

// isEntry reports whether a file is one of the cache's, by its name.
func isEntry(name string) bool {
	id, ok := strings.CutSuffix(name, suffix)
	hash, err := hex.DecodeString(id)
	return ok && err == nil && len(hash) == sha256.Size
}

// prune removes all but the entries that were used last, and what writers left behind
// that did not finish.
func (c *Cache) prune(now time.Time) error {
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	type entry struct {
		name string
		used time.Time
	}
	var entries []entry
	var errs []error
	remove := func(name string) {
		if err := os.Remove(filepath.Join(c.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	for _, d := range list {
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		switch name := d.Name(); {
		case strings.HasPrefix(name, temporary):
			if now.Sub(info.ModTime()) > temporaryAge {
				remove(name)
			}
		case isEntry(name):
			entries = append(entries, entry{name, info.ModTime()})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return b.used.Compare(a.used) })
	for _, e := range entries[min(MaxKernels, len(entries)):] {
		remove(e.name)
	}
	return errors.Join(errs...)
}
