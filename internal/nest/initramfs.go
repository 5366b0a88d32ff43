package nest

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/govmm/govmm/internal/kmod"
	"golang.org/x/sys/unix"
)

// Names in the initramfs.
const (
	binaryName = "govmm"
	moduleDir  = "modules" // files are loaded in the order of their names
)

// Modules lists the kernel modules that a nest needs, without what they depend
// on in turn.
func Modules() []string {
	return []string{"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "kvm_amd"}
}

// kernel is the path of the kernel to boot.
func (cfg Config) kernel() (string, error) {
	if cfg.Dir == "" {
		return "", errors.New("no directory with a kernel is set")
	}
	for _, name := range []string{"vmlinux", "vmlinuz"} {
		path := filepath.Join(cfg.Dir, name)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, err
		}
	}
	return "", fmt.Errorf("no vmlinux in %s: %w", cfg.Dir, fs.ErrNotExist)
}

// modules returns the files of the modules to load, in order.
func (cfg Config) modules() ([]string, error) {
	dir := filepath.Join(cfg.Dir, "modules")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if found, _ := filepath.Glob(filepath.Join(cfg.Dir, "lib/modules/*")); len(found) == 1 {
			dir = found[0]
		}
	}
	tree, err := kmod.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("kernel modules of the nest: %w", err)
	}
	return tree.Closure(Modules()...)
}

// initramfs writes the archive to an anonymous file in memory.
func (cfg Config) initramfs() (*os.File, error) {
	if err := checkStatic(cfg.Binary); err != nil {
		return nil, err
	}
	modules, err := cfg.modules()
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("nest-initramfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "nest-initramfs")
	if err := writeInitramfs(f, cfg.Binary, modules); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func writeInitramfs(w io.Writer, binary string, modules []string) error {
	buffered := bufio.NewWriterSize(w, 1<<20)
	archive := &newcWriter{w: buffered}
	archive.directory("dev")
	archive.console("dev/console")
	archive.directory("proc")
	archive.directory("host")
	archive.directory(moduleDir)
	if err := writeFile(archive, binaryName, binary); err != nil {
		return err
	}
	for i, module := range modules {
		name := fmt.Sprintf("%s/%03d-%s", moduleDir, i, filepath.Base(module))
		if err := writeFile(archive, name, module); err != nil {
			return err
		}
	}
	if err := archive.close(); err != nil {
		return err
	}
	return buffered.Flush()
}

func writeFile(archive *newcWriter, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	archive.executable(name, f, info.Size())
	return archive.err
}

// checkStatic refuses an executable that needs shared libraries, which the
// initramfs does not have.
func checkStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is dynamically linked and cannot start in the nest (build it with CGO_ENABLED=0)", path)
		}
	}
	return nil
}
