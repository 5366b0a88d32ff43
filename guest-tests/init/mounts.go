package main

import (
	"os"
	"path/filepath"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

// mountAll mounts what programs expect, and sets their environment.
func mountAll() error {
	for _, m := range []struct {
		path, kind string
		flags      uintptr
	}{
		{"/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"/dev", "devtmpfs", unix.MS_NOSUID},
		{"/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV},
		{"/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		makeDir := func() error { return os.MkdirAll(m.path, 0o755) }
		if _, err := mount.Mount(m.kind, m.path, m.kind, "", m.flags, makeDir); err != nil {
			return err
		}
	}
	for key, value := range map[string]string{
		"PATH": "/usr/sbin:/usr/bin",
		"HOME": "/root",
		"TERM": "vt100", // what any terminal emulator on a serial line understands
	} {
		if err := os.Setenv(key, value); err != nil {
			return err
		}
	}
	return nil
}

// disks returns the names of the SCSI disks that the kernel has made known.
func disks() []string {
	found, _ := filepath.Glob("/sys/block/sd*") // the pattern is well-formed
	for i, path := range found {
		found[i] = filepath.Base(path)
	}
	return found
}
