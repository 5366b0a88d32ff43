package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// residentBeside is the resident memory of a process in bytes, but for that of a
// guest with so much memory: what is in mappings of at least half of that. One mapping
// becomes several, side by side and of one kind, where parts of it are treated
// differently.
func residentBeside(pid int, guest uint64) (uint64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var total, size, resident, end uint64 // size and resident are of mappings that end there
	var kind string                       // of them
	count := func() {
		if size < guest/2 {
			total += resident
		}
		size, resident = 0, 0
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) > 4 && strings.Contains(fields[0], "-"):
			from, to := mappingRange(fields[0])
			access, file := fields[1], fields[3:]
			if k := fmt.Sprint(access, file); from != end || k != kind {
				count()
				kind = k
			}
			size, end = size+to-from, to
		case len(fields) == 3 && fields[0] == "Rss:":
			kib, err := strconv.ParseUint(fields[1], 10, 54)
			if err != nil {
				return 0, err
			}
			resident += kib << 10
		}
	}
	count()
	return total, nil
}

// mappingRange is a range of addresses as smaps writes it, empty if it is none.
func mappingRange(text string) (from, to uint64) {
	base, end, _ := strings.Cut(text, "-")
	from, err := strconv.ParseUint(base, 16, 64)
	if err != nil {
		return 0, 0
	}
	if to, err = strconv.ParseUint(end, 16, 64); err != nil || to < from {
		return 0, 0
	}
	return from, to
}

// kvmStats is where KVM counts, a directory for each machine.
const kvmStats = "/sys/kernel/debug/kvm"

// mountDebug has KVM's counters there, if that is allowed.
func mountDebug() error {
	if _, err := os.Stat(kvmStats); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return unix.Mount("debugfs", "/sys/kernel/debug", "debugfs", 0, "")
}

// machineDirs are the directories of a process's machines. Each is named after the
// thread that made the machine.
func machineDirs(pid int) ([]string, error) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, thread := range threads {
		found, err := filepath.Glob(filepath.Join(kvmStats, thread.Name()+"-*"))
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, found...)
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("%s has nothing of process %d", kvmStats, pid)
	}
	return dirs, nil
}

// exits are the counters of the machine of a process whose names end in "exits", as
// KVM has them: "exits" is their sum and more.
func exits(pid int) (map[string]uint64, error) {
	dirs, err := machineDirs(pid)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]uint64)
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*exits"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			counts[filepath.Base(file)] += n
		}
	}
	return counts, nil
}
