package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/govmm/govmm/guest-tests/harness"
	"github.com/govmm/govmm/internal/nest"
	"github.com/govmm/govmm/internal/proctime"
	"github.com/u-root/u-root/pkg/ldd"
)

// quickFirmware starts a kernel faster than SeaBIOS; it is used where it is
// installed.
const quickFirmware = "qboot.rom"

// firmwareFiles are what QEMU needs of its data to start a kernel, and where it is.
var firmwareFiles = []string{"bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin", "pvh.bin", quickFirmware}

var firmwareDirs = []string{"/usr/share/qemu", "/usr/share/seabios"}

// job is what the role measures.
type job struct {
	Rounds         int
	Starts         bool // whether to measure starts as well
	Govmm, QEMU    string
	Libraries      []string // of QEMU
	Firmware       []string
	Kernel, Initrd string
	Cached         string // the unpacked kernel, as it is in the cache; empty for a vmlinux
}

// The forms of a kernel.
const (
	imageBz      = "bzImage" // as Debian ships it
	imageVMLinux = "vmlinux" // taken out of that
)

// booted is a boot of a kernel.
type booted struct {
	Up, Disk time.Duration     // from the start of the process to user space, and to the disk
	CPU      time.Duration     // of the process until then
	Exits    map[string]uint64 // until then; KVM's counters
	Resident uint64            // bytes beside the guest's memory
	IdleCPU  float64           // CPU seconds per second of a guest that does nothing
}

// result is what the role answers: the boots of each side, by round.
type result struct {
	Names  []string
	Boots  [][]booted
	Starts string // the table of starts, if it was asked for
}

// newJob gathers the files.
func newJob(ctx context.Context, artefacts harness.Artefacts, govmm, image string, rounds int) (job, error) {
	j := job{Rounds: rounds, Govmm: govmm}
	tree, err := artefacts.Kernel(harness.Debian12)
	if err != nil {
		return j, err
	}
	j.Kernel = tree.VMLinux()
	if image == imageBz {
		j.Kernel = tree.Image()
		if j.Cached, err = fillCache(ctx, artefacts.Build("bootbench"), govmm, j.Kernel); err != nil {
			return j, err
		}
	}
	if j.Initrd, err = artefacts.Initrd(ctx, tree); err != nil {
		return j, err
	}
	if j.QEMU, err = exec.LookPath(qemuProgram); err != nil {
		return j, err
	}
	if j.Libraries, err = ldd.List(j.QEMU); err != nil {
		return j, err
	}
	for _, name := range firmwareFiles {
		for _, dir := range firmwareDirs {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				j.Firmware = append(j.Firmware, path)
				break
			}
		}
	}
	return j, nil
}

// fillCache has a kernel in a cache of its own, and returns the path of its entry.
func fillCache(ctx context.Context, dir, govmm, kernel string) (string, error) {
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, govmm, "kernel-unpack", dir, kernel).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack %s: %w: %s", kernel, err, out)
	}
	entries, err := filepath.Glob(filepath.Join(dir, "[^.]*"))
	if err != nil || len(entries) != 1 {
		return "", fmt.Errorf("%s has the kernels %q, want one: %w", dir, entries, err)
	}
	return entries[0], nil
}

// nestMemory is for a guest, for the files and for QEMU.
const nestMemory = guestMemory + 768<<20

// guestMemory is what harness.Guest has.
const guestMemory = 512 << 20

// benchKernels measures boots where KVM executes guests, and writes their lines.
func benchKernels(ctx context.Context, govmm, image string, rounds int, out io.Writer) error {
	artefacts, err := harness.FindArtefacts()
	if err != nil {
		return err
	}
	j, err := newJob(ctx, artefacts, govmm, image, rounds)
	if err != nil {
		return err
	}
	dir := artefacts.Build("nest")
	accel, err := harness.Govmm{Path: govmm, Nest: []string{"--nest-dir", dir}}.Accelerator(ctx)
	if err != nil {
		return err
	}
	j.Starts = accel != harness.AccelKVM // else they were measured
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	var answer bytes.Buffer
	if accel == harness.AccelKVM {
		err = kernelsRole(ctx, string(text), &answer)
	} else {
		var status int
		status, err = nest.Run(ctx, nest.Config{Dir: dir, InitArgs: []string{roleNestInit}, Memory: nestMemory},
			nest.Command{Args: []string{nest.Self, roleKernels, string(text)}, Stdout: &answer, Stderr: os.Stderr})
		if err == nil && status != 0 {
			err = fmt.Errorf("exit status %d in the nested machine", status)
		}
	}
	if err != nil {
		return err
	}
	var r result
	if err := json.Unmarshal(answer.Bytes(), &r); err != nil {
		return fmt.Errorf("%w in %q", err, &answer)
	}
	r.write(out, accel, image)
	return nil
}

// kernelsRole measures and answers. All files are copied into memory first, so that
// neither side waits for the file system that they are on.
func kernelsRole(ctx context.Context, text string, out io.Writer) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/dev/shm", "bootbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := j.stage(dir); err != nil {
		return err
	}
	if err := mountDebug(); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"LD_LIBRARY_PATH": dir, // for QEMU; the other side has no libraries
		"TMPDIR":          dir, // for sockets, which not all file systems have
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	disk := filepath.Join(dir, "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(disk, 64<<20); err != nil {
		return err
	}
	guest := harness.Guest{Kernel: j.Kernel, Initrd: j.Initrd, Disks: []harness.Disk{{Path: disk, Format: "raw"}}}
	qemu := harness.QEMU{Path: j.QEMU, Accel: "kvm", Args: []string{"-L", dir}}
	none := harness.Govmm{Path: j.Govmm, Accel: "kvm", Args: []string{"--kernel-cache", "none"}}
	vmms := []harness.VMM{none, qemu}
	r := result{Names: []string{"govmm", "QEMU"}}
	if j.Cached != "" {
		cached := none
		cached.Args = []string{"--kernel-cache", filepath.Dir(j.Cached)}
		vmms, r.Names = []harness.VMM{cached, none, qemu}, []string{"govmm", "uncached", "QEMU"}
	}
	if rom := filepath.Join(dir, quickFirmware); exists(rom) {
		qemu.Args = append(qemu.Args, "-bios", rom)
		vmms, r.Names = append(vmms, qemu), append(r.Names, "QEMU, qboot")
	}
	if j.Starts {
		var table strings.Builder
		if err := benchStarts(ctx, [sideCount][]string{{j.Govmm}, {j.QEMU, "-L", dir}}, j.Rounds, &table); err != nil {
			return err
		}
		r.Starts = table.String()
	}
	r.Boots = make([][]booted, len(vmms))
	for range j.Rounds {
		for side, vmm := range vmms {
			b, err := boot(ctx, vmm, guest)
			if err != nil {
				return fmt.Errorf("%s: %w", r.Names[side], err)
			}
			r.Boots[side] = append(r.Boots[side], b)
		}
	}
	return json.NewEncoder(out).Encode(r)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// stage copies all files into a directory, and has the job name the copies.
func (j *job) stage(dir string) error {
	for _, path := range append(j.Libraries, j.Firmware...) {
		if _, err := stage(dir, path); err != nil {
			return err
		}
	}
	if j.Cached != "" {
		cache := filepath.Join(dir, "cache")
		err := os.Mkdir(cache, 0o700)
		if err != nil {
			return err
		}
		if j.Cached, err = stage(cache, j.Cached); err != nil {
			return err
		}
	}
	for _, path := range []*string{&j.Govmm, &j.QEMU, &j.Kernel, &j.Initrd} {
		var err error
		if *path, err = stage(dir, *path); err != nil {
			return err
		}
	}
	return nil
}

func stage(dir, path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, filepath.Base(path))
	return to, os.WriteFile(to, data, 0o700)
}

const (
	bootLimit = 3 * time.Minute
	settle    = time.Second // after a boot
	idle      = 5 * time.Second
)

// boot boots a guest once.
func boot(ctx context.Context, vmm harness.VMM, guest harness.Guest) (b booted, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	m, err := harness.Start(vmm, guest, harness.Terminal{})
	if err != nil {
		return b, err
	}
	defer m.Stop()
	if _, err = m.Boot(ctx); err != nil {
		return b, fmt.Errorf("%w\n%s\n%s", err, m.CommandLine(), m.Console())
	}
	b.Up = time.Since(m.Started())
	// The guest answers once its disk is there.
	if _, err = m.Output(ctx, "true"); err != nil {
		return b, err
	}
	b.Disk = time.Since(m.Started())
	if b.CPU, err = proctime.CPU(m.PID()); err != nil {
		return b, err
	}
	if b.Exits, err = exits(m.PID()); err != nil {
		return b, err
	}
	if b.Resident, err = residentBeside(m.PID(), guestMemory); err != nil {
		return b, err
	}
	time.Sleep(settle)
	before, err := proctime.CPU(m.PID())
	if err != nil {
		return b, err
	}
	begin := time.Now()
	time.Sleep(idle)
	after, err := proctime.CPU(m.PID())
	if err != nil {
		return b, err
	}
	b.IdleCPU = (after - before).Seconds() / time.Since(begin).Seconds()
	return b, m.PowerOff(ctx)
}
