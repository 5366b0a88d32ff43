package proctime

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCPUGrowsWithWork(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const work = 20 * time.Millisecond
	for begun := time.Now(); ; {
		after, err := CPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after-before >= work {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("%v of CPU time after a minute of work", after-before)
		}
	}
	if _, err := CPU(1 << 22); err == nil {
		t.Error("a process that there is not has used CPU time")
	}
}

// TestReadCountsWhatTheDiskWasAskedFor counts what is read past the page cache.
func TestReadCountsWhatTheDiskWasAskedFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	const size = 1 << 20
	if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Skipf("no direct I/O here: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.Fsync(fd); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC {
		t.Skipf("files are in memory here, or nobody knows: %v", err)
	}
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(mem) }()
	before, err := Read(os.Getpid())
	if err != nil {
		t.Skipf("this host does not count: %v", err)
	}
	if n, err := unix.Pread(fd, mem, 0); n != size || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	after, err := Read(os.Getpid())
	if err != nil || after-before < size {
		t.Errorf("%d bytes, %v", after-before, err)
	}
	if _, err := Read(1 << 22); err == nil {
		t.Error("a process that there is not has read something")
	}
}
