package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/govmm/govmm/vmm"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/govmm/govmm/vmm/memory"
)

// machineSpec is a machine as the user asked for it, checked and complete: it
// means the same in the nested machine.
type machineSpec struct {
	kernel, initrd, cmdline string // files; no initrd if empty
	kernelCache             string // directory of unpacked kernels, none, or empty for the usual one
	unpacked                string // file with the unpacked kernel, or empty
	bios                    string // file that is started if there is no kernel
	biosDebug               string // file, or empty
	vga                     string // BIOS of the adapter whose screen is shown, or empty
	boot                    bootFlag
	disks                   []diskSpec
	controller              controllerFlag
	memory                  uint64 // bytes
	ram                     memory.Options
	cpus                    int
	topology                kvm.Topology // zero: as usual
	serials                 []serialSpec
	stats                   string // file, or empty
	react                   reactions
	name                    string
	uuid                    vmm.UUID
	qmp                     socketSpec
	log                     logConfig
}

// memoryUnit is that of --memory without a unit.
const memoryUnit = 1 << 20

// minMemory is less than any kernel of these days can start in.
const minMemory = 16 << 20

// machine checks the flags and fills in what they leave open.
func (f *runFlags) machine() (machineSpec, error) {
	spec, err := f.resolve()
	return spec, f.locate(err)
}

func (f *runFlags) resolve() (machineSpec, error) {
	spec := machineSpec{
		kernel: f.kernel, initrd: f.initrd, cmdline: f.cmdline,
		kernelCache: f.kernelCache, unpacked: f.unpacked,
		bios: f.firmware, biosDebug: f.biosDebug, boot: f.boot,
		controller: f.controller,
		memory:     f.memory.bytes,
		ram:        f.memory.ram,
		cpus:       f.cpus.count,
		serials:    f.serial.specs,
		stats:      f.stats,
		react:      f.react.reactions(f.kernel != ""),
		name:       f.name,
		uuid:       f.uuid.UUID,
		qmp:        f.qmp,
		log:        f.log.config(),
	}
	if spec.memory < minMemory {
		return spec, fmt.Errorf("--memory %s: at least %s is needed", &f.memory, formatSize(minMemory))
	}
	if t := spec.react.shutdownTimeout; t < 0 {
		return spec, fmt.Errorf("--shutdown-timeout %v: must not be negative", t)
	}
	if spec.cpus < 1 {
		return spec, fmt.Errorf("--cpus %d: at least 1 is needed", spec.cpus)
	}
	var err error
	if spec.topology, err = f.cpus.config(); err != nil {
		return spec, err
	}
	if n := len(spec.serials); n > 2 {
		return spec, fmt.Errorf("--serial is given %d times, but there are two serial ports", n)
	}
	for _, text := range f.disks {
		d, err := parseDisk(text)
		if err != nil {
			return spec, err
		}
		spec.disks = append(spec.disks, d)
	}
	if f.cdrom != "" {
		d, err := opticalDisk(f.cdrom)
		if err != nil {
			return spec, fmt.Errorf("--cdrom: %w", err)
		}
		spec.disks = append(spec.disks, d)
	}
	if err := spec.findBoot(); err != nil {
		return spec, err
	}
	if err := spec.findDisplay(f); err != nil {
		return spec, err
	}
	return spec, spec.checkFiles()
}

const noFirmware = "a kernel starts without firmware; leave out --kernel to boot from the disks"

// findBoot resolves what is started: a kernel, or a BIOS that boots from the
// disks.
func (s *machineSpec) findBoot() error {
	if s.kernel == "" {
		return s.findBIOS()
	}
	switch {
	case s.bios != "":
		return fmt.Errorf("--firmware %s: %s", s.bios, noFirmware)
	case len(s.boot.order) > 0:
		return fmt.Errorf("--boot %s: %s", &s.boot, noFirmware)
	case s.biosDebug != "":
		return fmt.Errorf("--bios-debug %s: %s", s.biosDebug, noFirmware)
	}
	if s.kernel == hostKernelName {
		release, err := kernelRelease()
		if err != nil {
			return err
		}
		kernel, initrd, err := hostKernel("/", release)
		if err != nil {
			return err
		}
		s.kernel = kernel
		if s.initrd == "" {
			s.initrd = initrd
		}
	}
	return nil
}

// namedFile is a file, and the flag that names it.
type namedFile struct{ flag, path string }

// inputs are the files that the machine is made of.
func (s *machineSpec) inputs() []namedFile {
	files := []namedFile{{"--kernel", s.kernel}}
	if s.kernel == "" {
		files = []namedFile{{"--firmware", s.bios}}
	}
	if s.initrd != "" {
		files = append(files, namedFile{"--initrd", s.initrd})
	}
	for _, d := range s.disks {
		switch {
		case d.optical:
			files = append(files, namedFile{"--cdrom", d.medium.Path})
		case d.medium.Path != "":
			files = append(files, namedFile{"--disk", d.medium.Path})
		}
	}
	return files
}

// outputs are the files that are written anew.
func (s *machineSpec) outputs() []namedFile {
	files := []namedFile{{"--stats", s.stats}, {"--bios-debug", s.biosDebug}, {"--controller: trace", s.controller.trace}}
	for _, serial := range s.serials {
		if serial.kind == serialFile {
			files = append(files, namedFile{"--serial", serial.path})
		}
	}
	return files
}

// checkFiles finds files that cannot be read before a machine is built, nested
// or not, and those that would be lost because something is to be written there.
func (s *machineSpec) checkFiles() error {
	for _, file := range s.inputs() {
		f, err := os.OpenFile(file.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // of a pipe, nobody may hold the other end
		if err != nil {
			return fmt.Errorf("%s: %w", file.flag, err)
		}
		info, err := f.Stat()
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", file.flag, err)
		}
		for _, out := range s.outputs() {
			if there, err := os.Stat(out.path); err == nil && os.SameFile(there, info) {
				return fmt.Errorf("%s %s: would overwrite the file of %s", out.flag, out.path, file.flag)
			}
		}
	}
	return nil
}

// nestedArgs are args inside the nested machine, where no cache of kernels is: it was
// looked into on this side, which is faster.
func (s *machineSpec) nestedArgs() []string {
	inside := *s
	inside.kernelCache = ""
	if s.kernel != "" {
		inside.kernelCache = kernelCacheNone
	}
	return inside.args()
}

// args are the arguments of "govmm run" for this machine.
func (s *machineSpec) args() []string {
	args := []string{
		"--memory", (&memoryFlag{byteSize{s.memory, memoryUnit}, s.ram}).String(),
		"--cpus", (&cpusFlag{s.cpus, s.topology}).String(),
	}
	if s.kernel != "" {
		args = append(args, "--kernel", s.kernel, "--append", s.cmdline)
	} else {
		args = append(args, "--firmware", s.bios)
	}
	if s.kernelCache != "" {
		args = append(args, "--kernel-cache", s.kernelCache)
	}
	if s.unpacked != "" {
		args = append(args, "--kernel-unpacked", s.unpacked)
	}
	if len(s.boot.order) > 0 {
		args = append(args, "--boot", s.boot.String())
	}
	if s.biosDebug != "" {
		args = append(args, "--bios-debug", s.biosDebug)
	}
	if s.vga != "" {
		args = append(args, "--display", displayText)
	}
	if s.initrd != "" {
		args = append(args, "--initrd", s.initrd)
	}
	for _, d := range s.hardDisks() {
		args = append(args, "--disk", d.text)
	}
	if d := s.disc(); d != nil {
		args = append(args, "--cdrom", d.text)
	}
	if s.controller.text != "" {
		args = append(args, "--controller", s.controller.text)
	}
	for _, serial := range s.serials {
		args = append(args, "--serial", serial.String())
	}
	if s.stats != "" {
		args = append(args, "--stats", s.stats)
	}
	if s.name != "" {
		args = append(args, "--name", s.name)
	}
	if s.uuid != (vmm.UUID{}) {
		args = append(args, "--uuid", s.uuid.String())
	}
	if q := s.qmp.String(); q != "" {
		args = append(args, "--qmp", q)
	}
	args = append(args, s.log.args()...)
	return append(args, s.react.args()...)
}
