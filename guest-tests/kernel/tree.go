// Package kernel reads Debian kernel packages that were unpacked, not
// installed: it finds the image and the modules, and takes the ELF vmlinux out
// of the image.
package kernel

import (
	"fmt"
	"os"
	"path/filepath"
)

// Tree is an unpacked linux-image package.
type Tree struct {
	Dir     string // what the package was unpacked to
	Release string // what uname -r prints on it
}

// Open looks at the kernel package unpacked at dir.
func Open(dir string) (Tree, error) {
	releases, err := os.ReadDir(filepath.Join(dir, "lib", "modules"))
	if err != nil {
		return Tree{}, fmt.Errorf("no kernel package is unpacked here: %w", err)
	}
	if len(releases) != 1 {
		return Tree{}, fmt.Errorf("%s: %d kernels in lib/modules, want one", dir, len(releases))
	}
	return Tree{Dir: dir, Release: releases[0].Name()}, nil
}

// Image is the path of the kernel as Debian ships it, a bzImage.
func (t Tree) Image() string { return filepath.Join(t.Dir, "boot", "vmlinuz-"+t.Release) }

// ModuleDir is where the modules are.
func (t Tree) ModuleDir() string { return filepath.Join(t.Dir, "lib", "modules", t.Release) }

// VMLinux is the path of the ELF image, which is there after WriteVMLinux.
func (t Tree) VMLinux() string { return filepath.Join(t.Dir, "vmlinux") }

// WriteVMLinux takes the ELF image out of the bzImage, unless that was done.
func (t Tree) WriteVMLinux() error {
	if _, err := os.Stat(t.VMLinux()); err == nil {
		return nil
	}
	image, err := os.ReadFile(t.Image())
	if err != nil {
		return err
	}
	elf, err := ExtractELF(image)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Image(), err)
	}
	part := t.VMLinux() + ".part"
	if err := os.WriteFile(part, elf, 0o644); err != nil {
		return err
	}
	return os.Rename(part, t.VMLinux())
}
