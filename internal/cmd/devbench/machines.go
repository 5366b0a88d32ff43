package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/govmm/govmm/internal/ldload"
)

const (
	diskMiB   = 64
	memoryMiB = 16
	span      = diskMiB << 20 / 512 // blocks that are read
	deepest   = 32
)

// The cases of the guest program: the first warms up, the next two are what the
// guest's own instructions cost, without interrupts and with one per command. The
// last keeps the machine there until it was asked about those before.
const (
	caseDry        = 1
	caseInterrupts = 2
	caseOne        = 3
	caseDeep       = 4
	caseCount      = 5
	caseEnd        = caseCount
)

func cases(commands uint32) []ldload.Case {
	return []ldload.Case{
		{Depth: deepest, Commands: max(commands/8, deepest)},
		caseDry:        {Depth: 1, Commands: commands, Dry: true},
		caseInterrupts: {Depth: 1, Commands: commands, Dry: true, Interrupts: true},
		caseOne:        {Depth: 1, Commands: commands},
		caseDeep:       {Depth: deepest, Commands: commands},
		caseEnd:        {Depth: 1, Commands: 1, Dry: true},
	}
}

// The sides.
const (
	sideGovmm = iota
	sideQEMU
	sideCount
)

var sideNames = [sideCount]string{"govmm", "QEMU"}

// bench is what all measurements have in common.
type bench struct {
	ctx      context.Context
	dir      string // of our own
	program  [sideCount]string
	commands uint32
}

// disk is a disk as both sides take it.
type disk struct {
	name        string
	govmm, qemu []string
}

func newBench(ctx context.Context, dir, govmm string, commands uint32) (*bench, error) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(dir, "devbench-")
	if err != nil {
		return nil, err
	}
	b := &bench{ctx: ctx, dir: work, program: [sideCount]string{govmm, qemu}, commands: commands}
	if err := b.prepare(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() { os.RemoveAll(b.dir) }

func (b *bench) kernel() string { return filepath.Join(b.dir, "load.elf") }
func (b *bench) image() string  { return filepath.Join(b.dir, "disk.qcow2") }

// prepare makes the guest program and an image with data everywhere.
func (b *bench) prepare() error {
	kernel, err := io.ReadAll(ldload.Kernel(span, cases(b.commands)))
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.kernel(), kernel, 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"create", "-q", "-f", "qcow2", b.image(), fmt.Sprint(diskMiB, "M")},
		{"bench", "-q", "-w", "-f", "qcow2", "-t", "writeback", "-c", fmt.Sprint(diskMiB), "-s", "1M", "--pattern", "0xa5", b.image()},
	} {
		if out, err := exec.CommandContext(b.ctx, "qemu-img", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("qemu-img %q: %w: %s", args, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// disks are those of the table.
func (b *bench) disks() []disk {
	return []disk{{
		"qcow2",
		[]string{"--disk", "path=" + b.image() + ",cache=writeback"},
		[]string{"-drive", "if=none,id=d,format=qcow2,cache=writeback,file=" + b.image()},
	}, {
		"null",
		[]string{"--disk", fmt.Sprintf("format=null,size=%dM", diskMiB)},
		[]string{"-drive", fmt.Sprintf("if=none,id=d,driver=null-co,read-zeroes=on,size=%dM", diskMiB)},
	}}
}

// arguments start a machine with a disk, whose COM1 is standard input and output.
func (b *bench) arguments(side int, disk []string, socket string) []string {
	if side == sideGovmm {
		return append([]string{"run", "--accel", "kvm", "--memory", fmt.Sprint(memoryMiB, "M"), "--kernel", b.kernel(),
			"--qmp", "unix:" + socket}, disk...)
	}
	args := []string{"-accel", "kvm", "-M", "pc", "-m", fmt.Sprint(memoryMiB), "-nodefaults", "-display", "none",
		"-serial", "stdio", "-no-reboot", "-kernel", b.kernel(), "-qmp", "unix:" + socket + ",server=on,wait=off",
		"-device", "megasas-gen2,id=s", "-device", "scsi-hd,drive=d,bus=s.0"}
	if _, err := os.Stat(quickFirmware); err == nil {
		args = append(args, "-bios", quickFirmware)
	}
	return append(disk, args...)
}

// quickFirmware is used where it is installed: it starts a kernel at once, and
// leaves the controller alone.
const quickFirmware = "/usr/share/qemu/qboot.rom"
