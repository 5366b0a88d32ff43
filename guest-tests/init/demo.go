package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/govmm/govmm/guest-tests/agent"
	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

const (
	demoDisk      = "sda"
	demoPartition = "/dev/sda1"
	demoMount     = "/mnt"
	// demoSums is where the first boot leaves the checksums for the second.
	demoSums = "SHA256SUMS"
)

// demonstrate carries out one half of the demonstration and reports on it.
func demonstrate(m mode, server *agent.Server) error {
	begun := time.Now()
	half := writeFiles
	if m == modeDemo2 {
		half = verifyFiles
	}
	sums, err := half()
	report := agent.Report{OK: err == nil, Sums: sums, Duration: time.Since(begun)}
	if err != nil {
		report.Error = err.Error()
	}
	report.Read, report.Written = traffic(demoDisk)
	if sent := server.Report(report); err == nil {
		err = sent
	}
	return err
}

// writeFiles makes a file system and files on the disk.
func writeFiles() (map[string]string, error) {
	say("first boot: partition, file system, files, checksums")
	if err := command("label: gpt\n,,L\n", "sfdisk", "--quiet", "/dev/"+demoDisk); err != nil {
		return nil, err
	}
	if err := await("partition", func() bool { _, err := os.Stat(demoPartition); return err == nil }); err != nil {
		return nil, err
	}
	if err := command("", "mkfs.ext4", "-q", "-L", "govmm", demoPartition); err != nil {
		return nil, err
	}
	unmount, err := mountDemo(0)
	if err != nil {
		return nil, err
	}
	defer unmount()
	for _, argv := range [][]string{
		{"dd", "status=none", "if=/dev/urandom", "of=random", "bs=1M", "count=12"},
		{"cp", "-r", "/usr/lib/modules", "modules"},
		{"sh", "-c", "mkdir small && for i in $(seq 100); do echo $i > small/$i; done"},
		{"sh", "-c", "find . -type f ! -name " + demoSums + " | sort | xargs sha256sum > " + demoSums},
		{"sync"},
	} {
		if err := command("", argv...); err != nil {
			return nil, err
		}
	}
	sums, err := readSums()
	if err != nil {
		return nil, err
	}
	say("%d files written, their checksums are in %s", len(sums), demoSums)
	return sums, unmount()
}

// verifyFiles checks what writeFiles left on the disk.
func verifyFiles() (map[string]string, error) {
	say("second boot: the same disk, are the files as they were?")
	if err := command("", "e2fsck", "-f", "-n", demoPartition); err != nil {
		return nil, err
	}
	unmount, err := mountDemo(unix.MS_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unmount()
	if err := command("", "sha256sum", "--check", "--quiet", "--strict", demoSums); err != nil {
		return nil, err
	}
	sums, err := readSums()
	if err != nil {
		return nil, err
	}
	say("%d files verified", len(sums))
	return sums, unmount()
}

// mountDemo mounts the file system and returns what undoes that, once.
func mountDemo(flags uintptr) (unmount func() error, err error) {
	say("mount %s", demoPartition)
	mp, err := mount.Mount(demoPartition, demoMount, "ext4", "", flags,
		func() error { return os.MkdirAll(demoMount, 0o755) })
	if err != nil {
		return nil, err
	}
	if err := os.Chdir(demoMount); err != nil {
		return nil, err
	}
	return func() error {
		if mp == nil {
			return nil
		}
		m := mp
		mp = nil
		if err := os.Chdir("/"); err != nil {
			return err
		}
		return m.Unmount(0)
	}, nil
}

// command runs a program on the console, showing its command line.
func command(stdin string, argv ...string) error {
	say("%s", strings.Join(argv, " "))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	return nil
}

func say(format string, args ...any) {
	fmt.Printf("demo: "+format+"\n", args...)
}

// readSums reads the checksums that the first boot wrote.
func readSums() (map[string]string, error) {
	f, err := os.Open(filepath.Join(demoMount, demoSums))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sums := make(map[string]string)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok || len(sum) != 64 {
			return nil, fmt.Errorf("%s: not a checksum: %q", demoSums, lines.Text())
		}
		sums[name] = sum
	}
	return sums, lines.Err()
}

// traffic returns the bytes read from and written to a disk since boot.
func traffic(disk string) (read, written uint64) {
	stat, err := os.ReadFile(filepath.Join("/sys/block", disk, "stat"))
	if err != nil {
		return 0, 0
	}
	return parseStat(string(stat))
}

// parseStat reads a block device's statistics: the third and the seventh
// number are sectors of 512 bytes.
func parseStat(stat string) (read, written uint64) {
	var n [7]uint64
	for i, field := range strings.Fields(stat) {
		if i < len(n) {
			if _, err := fmt.Sscan(field, &n[i]); err != nil {
				return 0, 0
			}
		}
	}
	return n[2] * 512, n[6] * 512
}
