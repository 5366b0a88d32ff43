package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/u-root/u-root/pkg/kmodule"
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

// probe says how much of the driver's probe the console shows.
type probe bool

const (
	quietProbe probe = false
	loudProbe  probe = true
)

// moduleList names the modules to load, in order, one on a line.
const moduleList = "/etc/modules"

// loadModules loads the modules of the initramfs, with their parameters.
// Printing the whole boot on a serial console takes longer than booting, so the
// kernel is to be started with "quiet"; for a loud probe it is made to speak
// just before the driver is loaded.
func loadModules(params map[string]string, p probe) error {
	list, err := os.ReadFile(moduleList)
	if err != nil {
		return err
	}
	prober, err := kmodule.NewProber(kmodule.ProbeOpts{})
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		if p == loudProbe && name == "megaraid_sas" {
			if err := os.WriteFile("/proc/sys/kernel/printk", []byte("7"), 0); err != nil {
				return err
			}
		}
		if err := prober.Probe(name, params[name]); err != nil {
			return fmt.Errorf("load module %s %s: %w", name, params[name], err)
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
