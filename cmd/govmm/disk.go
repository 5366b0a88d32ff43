package main

import (
	"fmt"
	"hash/fnv"
	"path/filepath"

	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/raid"
)

// openDrives opens the disks and makes drives of them.
func (c *closers) openDrives(disks []string) ([]megasas.DriveConfig, error) {
	var drives []megasas.DriveConfig
	return drives, nil
}

// driveIdentity is what the drive in a slot tells of itself.
func driveIdentity(path, serial string, slot int) raid.DriveIdentity {
	// The same image is the same drive, in whatever slot it sits.
	h := fnv.New64a()
	if serial == "" {
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
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
