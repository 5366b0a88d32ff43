package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/qcow2"
)

// diskSpec is a value of --disk.
type diskSpec struct {
	text     string // as it was given
	path     string
	format   string
	readOnly bool
	cache    raid.CachePolicy
	serial   string
}

// parseDisk reads a value of --disk.
func parseDisk(text string) (diskSpec, error) {
	d := diskSpec{text: text, cache: raid.WriteThrough}
	options, err := parseOptions(text)
	if err != nil {
		return d, fmt.Errorf("--disk %w, as in path=disk.qcow2", err)
	}
	for _, o := range options {
		if err := d.set(o); err != nil {
			return d, fmt.Errorf("--disk %q: %w", text, err)
		}
	}
	if d.path == "" {
		return d, fmt.Errorf("--disk %q: path=FILE is missing", text)
	}
	return d, nil
}

func (d *diskSpec) set(o option) error {
	bad := func(allowed ...string) error {
		return fmt.Errorf("%s=%s: must be %s", o.key, o.value, orList(allowed))
	}
	switch o.key {
	case "path":
		d.path = o.value
	case "format":
		if o.value != "qcow2" && o.value != "raw" {
			return bad("qcow2", "raw")
		}
		d.format = o.value
	case "readonly":
		if o.value != "on" && o.value != "off" {
			return bad("on", "off")
		}
		d.readOnly = o.value == "on"
	case "cache":
		switch o.value {
		case "writethrough":
			d.cache = raid.WriteThrough
		case "writeback":
			d.cache = raid.WriteBack
		default:
			return bad("writethrough", "writeback")
		}
	case "serial":
		const longest = 20 // of a drive
		if o.value == "" || len(o.value) > longest {
			return fmt.Errorf("serial=%s: must have 1 to %d characters", o.value, longest)
		}
		d.serial = o.value
	default:
		return fmt.Errorf("unknown key %q: path, format, readonly, cache and serial are known", o.key)
	}
	return nil
}

// openDrives opens the disks and makes drives of them.
func (c *closers) openDrives(disks []diskSpec) ([]megasas.DriveConfig, error) {
	var drives []megasas.DriveConfig
	for slot, d := range disks {
		medium, err := d.open()
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", d.path, err)
		}
		c.add(func() error {
			if err := medium.Close(); err != nil {
				return fmt.Errorf("close disk %s: %w", d.path, err)
			}
			return nil
		})
		drives = append(drives, megasas.DriveConfig{
			Drive: raid.NewDrive(medium, d.identity(slot)),
			Cache: d.cache,
		})
	}
	return drives, nil
}

func (d diskSpec) open() (*qcow2.Image, error) {
	flags := os.O_RDWR
	if d.readOnly {
		flags = os.O_RDONLY
	}
	f, err := qcow2.OpenFile(d.path, flags)
	if err != nil {
		return nil, err
	}
	im, err := qcow2.Open(f, qcow2.Options{ReadOnly: d.readOnly})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return im, nil
}

// identity is what the drive tells of itself. The same image is the same drive,
// in whatever slot it sits.
func (d diskSpec) identity(slot int) raid.DriveIdentity {
	h := fnv.New64a()
	serial := d.serial
	if serial == "" {
		path, err := filepath.Abs(d.path)
		if err != nil {
			path = d.path // without a working directory
		}
		fmt.Fprint(h, path)
		serial = fmt.Sprintf("%016X", h.Sum64())
	} else {
		fmt.Fprint(h, serial)
	}
	return raid.DriveIdentity{
		Vendor:    "GOVMM",
		Product:   "VIRTUAL DISK",
		Revision:  "1.0",
		Serial:    serial,
		WWN:       3<<60 | h.Sum64()>>4, // NAA 3: locally assigned
		Media:     raid.SolidState,
		Interface: raid.SAS,
		Enclosure: raid.NoEnclosure,
		Slot:      uint8(slot),
	}
}
