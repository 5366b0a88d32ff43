package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/vmm"
)

// biosPaths are the places where distributions install SeaBIOS as built for
// virtual machines. Its 128 KiB build has no driver for the controller.
func biosPaths() []string {
	return []string{
		"/usr/share/seabios/bios-256k.bin",
		"/usr/share/qemu/bios-256k.bin",
		"/usr/local/share/qemu/bios-256k.bin",
	}
}

// findBIOS checks a machine without a kernel, and finds its BIOS.
func (s *machineSpec) findBIOS() error {
	switch {
	case s.initrd != "":
		return fmt.Errorf("--initrd %s: is for a kernel, and there is no --kernel", s.initrd)
	case s.kernelCache != "":
		return fmt.Errorf("--kernel-cache %s: is for a kernel, and there is no --kernel", s.kernelCache)
	case s.unpacked != "":
		return fmt.Errorf("--kernel-unpacked %s: is for a kernel, and there is no --kernel", s.unpacked)
	case s.cmdline != defaultCmdline:
		return fmt.Errorf("--append %q: is for a kernel, and there is no --kernel", s.cmdline)
	}
	for _, n := range s.boot.order {
		if n > len(s.hardDisks()) {
			return fmt.Errorf("--boot %s: there is no disk %d", &s.boot, n)
		}
		if n == bootDisc && s.disc() == nil {
			return fmt.Errorf("--boot %s: there is no --cdrom", &s.boot)
		}
	}
	if len(s.disks) == 0 && s.bios == "" {
		return errors.New("nothing to boot: give --kernel FILE, --kernel host for the one of this machine, or --disk FILE or --cdrom FILE to boot from")
	}
	if s.bios != "" {
		return nil
	}
	var err error
	s.bios, err = firstFile(biosPaths(), "no BIOS to boot the disk with: install the package seabios, or give --firmware FILE")
	return err
}

// firstFile is the first of the paths where there is a file. The error says what
// else to do.
func firstFile(paths []string, lack string) (string, error) {
	for _, path := range paths {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s (looked for %s)", lack, strings.Join(paths, ", "))
}

// openBoot opens what the machine starts.
func (c *closers) openBoot(config *vmm.Config, spec machineSpec) error {
	if spec.kernel == "" {
		return c.openBIOS(config, spec)
	}
	kernel, err := c.openSource(spec.kernel)
	if err != nil {
		return err
	}
	config.Kernel, config.Cmdline = kernel, spec.cmdline
	if spec.unpacked != "" {
		config.Unpacked = c.openUnpacked(spec, config.Logger)
	}
	if spec.initrd == "" {
		return nil
	}
	initrd, err := c.openSource(spec.initrd)
	if err != nil {
		return err
	}
	config.Initrd = initrd
	return nil
}

// bootFlag is the value of --boot: the disks to boot from first.
type bootFlag struct {
	order []int // numbers of disks, from 1, or bootDisc
}

const (
	bootOrderKey = "order="
	bootDisc     = 0 // instead of the number of a disk
	bootDiscWord = "cd"
)

// String is what Set takes, or nothing.
func (b *bootFlag) String() string {
	if len(b.order) == 0 {
		return ""
	}
	var numbers []string
	for _, n := range b.order {
		if n == bootDisc {
			numbers = append(numbers, bootDiscWord)
			continue
		}
		numbers = append(numbers, strconv.Itoa(n))
	}
	return bootOrderKey + strings.Join(numbers, ",")
}

func (*bootFlag) Type() string { return "order=N,..." }

// Set reads the value.
func (b *bootFlag) Set(text string) error {
	list, ok := strings.CutPrefix(text, bootOrderKey)
	if !ok {
		return fmt.Errorf("must be %sN,N... with the numbers of disks, or %s", bootOrderKey, bootDiscWord)
	}
	b.order = nil
	for _, field := range strings.Split(list, ",") {
		n, err := strconv.Atoi(field)
		if field == bootDiscWord {
			n, err = bootDisc, nil
		} else if err != nil || n < 1 {
			return fmt.Errorf("%q is not the number of a disk: the first one is 1; the disc of --cdrom is %s", field, bootDiscWord)
		}
		if slices.Contains(b.order, n) {
			return fmt.Errorf("%q comes twice", field)
		}
		b.order = append(b.order, n)
	}
	return nil
}

// slots lists the slots of the disks in the order in which to boot from them:
// those that the user named, then the others. The disc, if there is one, is in the
// last slot.
func (b *bootFlag) slots(disks int) []int {
	var slots []int
	for _, n := range b.order {
		if n == bootDisc {
			n = disks
		}
		slots = append(slots, n-1)
	}
	for slot := range disks {
		if !slices.Contains(slots, slot) {
			slots = append(slots, slot)
		}
	}
	return slots
}

// openBIOS opens the BIOS, and tells it the boot order.
func (c *closers) openBIOS(config *vmm.Config, spec machineSpec) error {
	image, err := c.openSource(spec.bios)
	if err != nil {
		return err
	}
	rom, err := firmware.OpenROM(image)
	if err != nil {
		return err
	}
	if rom.UEFI() {
		config.Logger.Warn("the firmware is UEFI, which has no driver for the MegaRAID controller: it can't boot the disks", "file", spec.bios)
	}
	bios := &vmm.BIOS{Image: image}
	for _, slot := range spec.boot.slots(len(spec.disks)) {
		if target, ok := spec.target(slot); ok {
			bios.BootOrder = append(bios.BootOrder, vmm.DiskPath(controllerSlot, target))
		}
	}
	if err := c.openVGA(bios, spec); err != nil {
		return err
	}
	if spec.biosDebug != "" {
		f, err := os.Create(spec.biosDebug)
		if err != nil {
			return fmt.Errorf("--bios-debug: %w", err)
		}
		c.add(f.Close)
		bios.Debug = f
	}
	config.BIOS = bios
	return nil
}

// warnNestedUEFI says what becomes of UEFI firmware in the nested machine: its
// exception handlers write CR8, for which QEMU's emulation of a guest that has an
// interrupt waiting lacks a lock.
func (a *app) warnNestedUEFI(spec machineSpec) {
	if spec.kernel != "" {
		return
	}
	var files closers
	defer files.close()
	image, err := files.openSource(spec.bios)
	if err != nil {
		return // which the machine will report
	}
	if rom, err := firmware.OpenROM(image); err == nil && rom.UEFI() {
		fmt.Fprintln(a.stderr, "govmm: the firmware is UEFI, of which QEMU is known to abort the nested machine: it needs a KVM that executes guests")
	}
}
