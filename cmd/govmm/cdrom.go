package main

import (
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/megasas/raid"
)

// opticalDisk is the disc of --cdrom: an image that is read as it is.
func opticalDisk(path string) (diskSpec, error) {
	text := "path=" + strings.ReplaceAll(path, ",", ",,") + ",format=raw,readonly=on"
	medium, _, err := block.ParseSpec(text)
	return diskSpec{text: path, medium: medium, cache: raid.WriteThrough, optical: true}, err
}

// disc returns the disc of --cdrom, nil if there is none. It is behind the disks.
func (s *machineSpec) disc() *diskSpec {
	if n := len(s.disks); n > 0 && s.disks[n-1].optical {
		return &s.disks[n-1]
	}
	return nil
}

// hardDisks are the disks without the disc.
func (s *machineSpec) hardDisks() []diskSpec {
	if s.disc() == nil {
		return s.disks
	}
	return s.disks[:len(s.disks)-1]
}

// target is the number by which the controller's driver in the BIOS knows the disk
// in a slot: volumes are counted from 0. It has no number for one that is no
// volume.
func (s *machineSpec) target(slot int) (target int, ok bool) {
	for _, d := range s.disks[:slot] {
		if !d.system {
			target++
		}
	}
	return target, !s.disks[slot].system
}
