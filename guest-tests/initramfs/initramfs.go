// Package initramfs builds the file system that test guests live in: the init
// program of guest-tests/init, the kernel modules that the controller, its
// disks and a file system need, and Debian's own tools with the shared
// libraries that they use, taken from the machine that builds it. busybox
// stands in for the rest of a Debian system.
//
// The archive is a plain newc cpio: a compressed one would be smaller on the
// host and slower in the guest. It is kept small for the same reason.
package initramfs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/govmm/govmm/guest-tests/kernel"
	"github.com/govmm/govmm/internal/kmod"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/u-root/u-root/pkg/ldd"
)

// Config says what goes into the archive.
type Config struct {
	Kernel  kernel.Tree
	Init    string // the init program, a static executable
	Busybox string // a statically linked busybox
	Extra   Extra
}

// Extra is what a guest has beyond what every guest has.
type Extra struct {
	Tools   []string // programs of this machine
	Modules []string // loaded after the optional ones, before all others
	Files   []string // further files of this machine, under their own names
}

// loads are the modules that init loads, in this order. Those with optional set
// are ones that some kernels do not have: checksums that other modules ask the
// kernel's crypto layer for, which would otherwise start modprobe.
var loads = []struct {
	name     string
	optional bool
}{
	{name: "crct10dif_generic", optional: true},
	{name: "crc64_rocksoft_generic", optional: true},
	{name: "crc32c_generic", optional: true},
	{name: "ext4"},
	{name: "sd_mod"},
	{name: "megaraid_sas"},
}

// carried are modules that init does not load, where a kernel has them: tests do, by
// their files.
var carried = []string{"button", "evdev", "i6300esb", "msr", "pvpanic_mmio", "sg"}

// tools are the programs taken from this machine. dash is the shell of scripts:
// that of busybox prefers its own commands to those of Debian.
var tools = []string{"blockdev", "dash", "dd", "e2fsck", "lsblk", "mkfs.ext4", "sfdisk", "sha256sum", "sync"}

// toolPath is where Debian has them, whatever the caller's PATH.
const toolPath = "/usr/sbin:/usr/bin:/sbin:/bin"

// Build writes the archive to path, unless what is there is the same already,
// and returns its size in bytes.
func Build(cfg Config, path string) (int, error) {
	image, err := assemble(cfg)
	if err != nil {
		return 0, fmt.Errorf("initramfs for kernel %s: %w", cfg.Kernel.Release, err)
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, image) {
		return len(image), nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, err
	}
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(part.Name())
	if _, err := part.Write(image); err != nil {
		part.Close()
		return 0, err
	}
	if err := part.Chmod(0o644); err != nil {
		part.Close()
		return 0, err
	}
	if err := part.Close(); err != nil {
		return 0, err
	}
	return len(image), os.Rename(part.Name(), path)
}

func assemble(cfg Config) ([]byte, error) {
	b := builder{files: map[string]cpio.Record{}}
	for _, dir := range []string{"dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"} {
		b.add(cpio.Directory(dir, 0o755))
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		b.add(cpio.Symlink(link, "usr/"+link))
	}
	// The kernel opens the console for init before init can mount anything.
	b.add(cpio.CharDev("dev/console", 0o600, 5, 1))
	b.add(cpio.StaticFile("etc/mtab", "", 0o644))
	for _, step := range []func(Config) error{b.addInit, b.addModules, b.addTools, b.addBusybox} {
		if err := step(cfg); err != nil {
			return nil, err
		}
	}
	return b.archive()
}

// builder collects files by their path in the guest.
type builder struct {
	files map[string]cpio.Record
}

func (b *builder) add(r cpio.Record) { b.files[r.Name] = r }

// addFile adds a file of this machine under the given name.
func (b *builder) addFile(name, path string, perm uint64) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b.add(cpio.StaticFile(name, string(content), perm))
	return nil
}

func (b *builder) addInit(cfg Config) error {
	return b.addFile("init", cfg.Init, 0o755)
}

// addModules adds the modules and, as etc/modules, their paths in the order in
// which init loads them.
func (b *builder) addModules(cfg Config) error {
	tree, err := kmod.Open(cfg.Kernel.ModuleDir())
	if err != nil {
		return err
	}
	var names []string
	for _, l := range loads {
		if l.name == "ext4" {
			names = append(names, cfg.Extra.Modules...)
		}
		if !l.optional || tree.Has(l.name) {
			names = append(names, l.name)
		}
	}
	files, err := tree.Closure(names...)
	if err != nil {
		return err
	}
	var order strings.Builder
	for _, file := range files {
		path, err := filepath.Rel(cfg.Kernel.Dir, file)
		if err != nil {
			return err
		}
		path = guestPath(path)
		fmt.Fprintf(&order, "/%s\n", path)
		if err := b.addFile(path, file, 0o644); err != nil {
			return err
		}
	}
	b.add(cpio.StaticFile("etc/modules", order.String(), 0o644))
	there := slices.DeleteFunc(slices.Clone(carried), func(name string) bool { return !tree.Has(name) })
	files, err = tree.Closure(there...)
	if err != nil {
		return err
	}
	for _, file := range files {
		path, err := filepath.Rel(cfg.Kernel.Dir, file)
		if err != nil {
			return err
		}
		if err := b.addFile(guestPath(path), file, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) addTools(cfg Config) error {
	for _, file := range cfg.Extra.Files {
		if err := b.addFile(strings.TrimPrefix(file, "/"), file, 0o644); err != nil {
			return err
		}
	}
	for _, tool := range slices.Concat(tools, cfg.Extra.Tools) {
		path, err := find(tool)
		if err != nil {
			return err
		}
		if err := b.addFile(guestPath(path), path, 0o755); err != nil {
			return err
		}
		libraries, err := ldd.List(path)
		if err != nil {
			return fmt.Errorf("libraries of %s: %w", path, err)
		}
		for _, lib := range libraries {
			if err := b.addFile(guestPath(lib), lib, 0o755); err != nil {
				return err
			}
		}
	}
	// mkfs.ext4 has its defaults from here.
	return b.addFile("etc/mke2fs.conf", "/etc/mke2fs.conf", 0o644)
}

// addBusybox adds busybox under the name of every program that is not there.
func (b *builder) addBusybox(cfg Config) error {
	list, err := exec.Command(cfg.Busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", cfg.Busybox, err)
	}
	b.add(cpio.Symlink("usr/bin/sh", "dash"))
	for applet := range strings.FieldsSeq(string(list)) {
		if b.has("usr/bin/"+applet) || b.has("usr/sbin/"+applet) {
			continue
		}
		b.add(cpio.Symlink("usr/bin/"+applet, "busybox"))
	}
	return b.addFile("usr/bin/busybox", cfg.Busybox, 0o755)
}

func (b *builder) has(name string) bool {
	_, ok := b.files[name]
	return ok
}

// archive returns the files as a cpio in which nothing but their content and
// names counts: the same files give the same bytes.
func (b *builder) archive() ([]byte, error) {
	names := make([]string, 0, len(b.files))
	for name := range b.files {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if !b.has(dir) {
				b.add(cpio.Directory(dir, 0o755))
			}
		}
	}
	for name := range b.files {
		names = append(names, name)
	}
	slices.Sort(names) // a directory before what is in it
	var out bytes.Buffer
	w := cpio.Newc.Writer(&out)
	for _, name := range names {
		if err := w.WriteRecord(cpio.MakeReproducible(b.files[name])); err != nil {
			return nil, err
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// find returns the path of a program of this machine.
func find(tool string) (string, error) {
	for dir := range strings.SplitSeq(toolPath, ":") {
		path := filepath.Join(dir, tool)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed (looked in %s)", tool, toolPath)
}

// guestPath is where a file of this machine goes in the guest, where /bin,
// /sbin, /lib and /lib64 are links into /usr.
func guestPath(path string) string {
	path = strings.TrimPrefix(filepath.Clean(path), "/")
	if !strings.HasPrefix(path, "usr/") {
		path = "usr/" + path
	}
	return path
}
