package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/govmm/govmm/megasas/raid"
)

func TestDiscIsBehindTheDisks(t *testing.T) {
	dir := t.TempDir()
	bios, disk, iso := tinyBIOS(t), write(t, "", dir, "d.raw"), write(t, "", dir, "a,b.iso")
	args := []string{
		"--firmware", bios, "--cdrom", iso, "--boot", "order=cd,2",
		"--disk", disk + ",format=raw,use=system", "--disk", disk + ",format=raw",
	}
	s := parseRun(t, args...)
	again := parseRun(t, s.args()...)
	for _, s := range []machineSpec{s, again} {
		if len(s.disks) != 3 || s.disc() != &s.disks[2] || s.disks[2].medium.Path != iso || !s.disks[2].medium.ReadOnly {
			t.Fatalf("%+v", s.disks)
		}
		if id := s.disks[2].identity(2); id.Media != raid.Optical {
			t.Errorf("the disc is in a drive of kind %d", id.Media)
		}
		if got, want := s.boot.slots(len(s.disks)), []int{2, 1, 0}; !slices.Equal(got, want) {
			t.Errorf("boots from slots %v, want %v", got, want)
		}
		// The first disk is no volume, so that the numbers of the others differ.
		for slot, want := range []int{0, 0, 1} {
			if got, ok := s.target(slot); got != want && slot > 0 || ok != (slot > 0) {
				t.Errorf("slot %d: target %d, %v", slot, got, ok)
			}
		}
	}
}

func TestRunRefusesBadDisc(t *testing.T) {
	bios := tinyBIOS(t)
	for want, args := range map[string][]string{
		"--cdrom: open":       {"--firmware", bios, "--cdrom", "/nowhere.iso"},
		"there is no --cdrom": {"--firmware", bios, "--boot", "order=cd"},
		"there is no disk 1":  {"--firmware", bios, "--cdrom", bios, "--boot", "order=1"},
		`"cd" comes twice`:    {"--firmware", bios, "--cdrom", bios, "--boot", "order=cd,cd"},
	} {
		status, _, stderr := govmm(append([]string{"run", "--accel", "kvm"}, args...)...)
		if status != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: status %d, %q, want %q", args, status, stderr, want)
		}
	}
}
