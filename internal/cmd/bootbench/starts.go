package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/govmm/govmm/internal/proctime"
)

// The sides.
const (
	sideGovmm = iota
	sideQEMU
	sideCount
)

const qemuProgram = "qemu-system-x86_64"

// start is a guest that says one byte soon.
type start struct {
	name string
	argv [sideCount][]string
}

// started is one of its runs: what it took to the byte.
type started struct {
	wall, cpu time.Duration
	resident  uint64 // bytes beside the guest's memory
}

// hello are instructions in real mode that say a byte on a serial port, and
// sleep.
func hello(port uint16) []byte {
	return []byte{
		0xBA, byte(port), byte(port >> 8), 0xB0, '!', 0xEE, // mov dx, port; mov al, '!'; out dx, al
		0xF4, 0xEB, 0xFD, // hlt; jmp to the hlt
	}
}

const (
	com1 = 0x3f8
	com2 = 0x2f8
)

// writeBIOS makes a BIOS that does nothing but say its byte on COM1.
func writeBIOS(path string) error {
	const size, before = 128 << 10, 64
	image := make([]byte, size)
	copy(image[size-before:], hello(com1))
	copy(image[size-16:], []byte{0xEB, 0xCE}) // jmp to the code: 48 bytes back
	return os.WriteFile(path, image, 0o600)
}

// writeBootDisk makes a raw disk whose boot sector says its byte on COM2: on COM1
// the BIOS has its screen.
func writeBootDisk(path string) error {
	const size, sector = 1 << 20, 512
	disk := make([]byte, size)
	copy(disk, hello(com2))
	copy(disk[sector-2:], []byte{0x55, 0xAA})
	return os.WriteFile(path, disk, 0o600)
}

// starts makes the guests in a directory. Each program is a path with the arguments
// that it always gets.
func starts(dir string, programs [sideCount][]string) ([]start, error) {
	bios, disk := filepath.Join(dir, "bios"), filepath.Join(dir, "disk")
	if err := writeBIOS(bios); err != nil {
		return nil, err
	}
	if err := writeBootDisk(disk); err != nil {
		return nil, err
	}
	const memory = "512M"
	with := func(argv []string, more ...string) []string { return append(argv[:len(argv):len(argv)], more...) }
	ours := with(programs[sideGovmm], "run", "--accel", "kvm", "--memory", memory)
	theirs := with(programs[sideQEMU], "-nodefaults", "-display", "none", "-M", "pc,graphics=off", "-accel", "kvm", "-m", memory)
	return []start{
		{"first instructions", [sideCount][]string{
			with(ours, "--firmware", bios),
			with(theirs, "-bios", bios, "-serial", "stdio"),
		}},
		{"boot sector, SeaBIOS", [sideCount][]string{
			with(ours, "--disk", "path="+disk+",format=raw", "--serial", "none", "--serial", "stdio"),
			with(theirs, "-serial", "null", "-serial", "stdio", "-device", "megasas-gen2,id=s",
				"-drive", "if=none,id=d,format=raw,file="+disk, "-device", "scsi-hd,drive=d,bus=s.0"),
		}},
	}, nil
}

// startLimit ends a guest that says nothing.
const startLimit = 2 * time.Minute

// once runs a guest until it has said its byte.
func once(ctx context.Context, argv []string) (s started, err error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	// Something to read that never comes: the console's input is open.
	in, err := cmd.StdinPipe()
	if err != nil {
		return s, err
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	_, err = io.ReadFull(out, make([]byte, 1))
	s.wall = time.Since(begin)
	if err == nil {
		err = s.look(cmd.Process.Pid)
	}
	cancel() // it runs until it is killed
	_ = cmd.Wait()
	if err != nil {
		return s, fmt.Errorf("%s: %w: %s", argv[0], err, bytes.TrimSpace(complaints.Bytes()))
	}
	return s, nil
}

// look takes the figures of a process.
func (s *started) look(pid int) (err error) {
	if s.cpu, err = proctime.CPU(pid); err != nil {
		return err
	}
	s.resident, err = residentBeside(pid, guestMemory)
	return err
}

// benchStarts measures them and writes their lines.
func benchStarts(ctx context.Context, programs [sideCount][]string, rounds int, out io.Writer) error {
	dir, err := os.MkdirTemp("", "bootbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	list, err := starts(dir, programs)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, startsHeader)
	for _, s := range list {
		var runs [sideCount][]started
		for range rounds {
			for side, argv := range s.argv {
				r, err := once(ctx, argv)
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				runs[side] = append(runs[side], r)
			}
		}
		writeStart(out, s.name, runs)
	}
	return nil
}
