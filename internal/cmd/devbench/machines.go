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
	span      = diskMiB << 20 / 512 // blocks that are used
	deepest   = 32
	large     = 64 << 10
)

// The first cases of the guest program: the first warms up, the others are what a
// command costs the guest itself: its instructions, one interrupt more, one exit
// more.
const (
	caseWarm = iota
	caseDry
	caseInterrupts
	caseExits
	caseRows // from here on, the rows of the table
)

// cases are what the guest does with a disk. The case after the rows keeps the
// machine there until it was asked about those before.
func (b *bench) cases(d *disk) []ldload.Case {
	list := []ldload.Case{
		caseWarm:       {Depth: deepest, Commands: max(b.commands/8, deepest)},
		caseDry:        {Depth: 1, Commands: b.commands, Target: ldload.Memory},
		caseInterrupts: {Depth: 1, Commands: b.commands, Target: ldload.Memory, Interrupts: true},
		caseExits:      {Depth: 1, Commands: b.commands, Target: ldload.Nowhere},
	}
	for _, c := range d.rows {
		c.Commands = b.commands
		list = append(list, c)
	}
	return append(list, ldload.Case{Depth: 1, Commands: 1, Target: ldload.Memory})
}

// loads are what disks that complete at once are measured with.
func loads() []ldload.Case {
	var list []ldload.Case
	for _, c := range []ldload.Case{
		{},
		{Wait: ldload.Interrupt},
		{Wait: ldload.Poll},
		{Size: large},
		{Write: true},
		{Write: true, Wait: ldload.Interrupt},
		{Write: true, Size: large},
	} {
		for _, c.Depth = range []int{1, deepest} {
			list = append(list, c)
		}
	}
	return list
}

// durableLoads are what disks are measured with on which a write is durable when it
// is complete.
func durableLoads() []ldload.Case {
	return []ldload.Case{{Write: true, Depth: 1}, {Write: true, Depth: deepest}, {Write: true, Size: large, Depth: 1}, {Write: true, Size: large, Depth: deepest}}
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
	programs [sideCount]string
	commands uint32
}

// disk is a disk as both sides take it, and what is done with it.
type disk struct {
	name string
	args [sideCount][]string
	rows []ldload.Case

	durable bool // a write is durable when it is complete
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
	b := &bench{ctx: ctx, dir: work, programs: [sideCount]string{govmm, qemu}, commands: commands}
	if err := b.prepare(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() { os.RemoveAll(b.dir) }

func (b *bench) kernel() string { return filepath.Join(b.dir, "load.elf") }
func (b *bench) image() string  { return filepath.Join(b.dir, "disk.qcow2") }

// program makes the guest program for a disk.
func (b *bench) program(d *disk) error {
	kernel, err := io.ReadAll(ldload.Kernel(span, b.cases(d)))
	if err != nil {
		return err
	}
	return os.WriteFile(b.kernel(), kernel, 0o600)
}

// prepare makes an image with data everywhere.
func (b *bench) prepare() error {
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
	image := func(cache string) [sideCount][]string {
		return [sideCount][]string{
			{"--disk", "path=" + b.image() + ",cache=" + cache},
			{"-drive", "if=none,id=d,format=qcow2,cache=" + cache + ",file=" + b.image()},
		}
	}
	return []disk{{
		"null", [sideCount][]string{
			{"--disk", fmt.Sprintf("format=null,cache=writeback,size=%dM", diskMiB)},
			{"-drive", fmt.Sprintf("if=none,id=d,driver=null-co,read-zeroes=on,size=%dM", diskMiB)},
		}, loads(), false,
	}, {
		"qcow2", image("writeback"), loads(), false,
	}, {
		"qcow2, write-through", image("writethrough"), durableLoads(), true,
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
