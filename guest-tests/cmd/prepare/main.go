// Command prepare is the last part of the set-up: it makes what guests need out
// of the kernel packages that setup.sh unpacked.
//
//	build/kernels/NAME/vmlinux   the ELF image, which boots faster than the bzImage
//	build/nest/vmlinux           the kernel of the machine that nested runs happen in
//	build/nest/modules/*.ko      its modules
//	build/nest/modules.load      their file names, in the order to load them
//
// What is there already is left alone.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/govmm/govmm/guest-tests/harness"
	"github.com/govmm/govmm/guest-tests/kernel"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "prepare: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	artefacts, err := harness.FindArtefacts()
	if err != nil {
		return err
	}
	for _, name := range []string{harness.Debian12, harness.Backports} {
		tree, err := artefacts.Kernel(name)
		if name != harness.Debian12 && errors.Is(err, harness.ErrNotSetUp) {
			continue // only tests need it
		}
		if err != nil {
			return err
		}
		if err := tree.WriteVMLinux(); err != nil {
			return err
		}
	}
	tree, err := artefacts.Kernel(harness.Debian12)
	if err != nil {
		return err
	}
	return makeNest(tree, artefacts.Build("nest"))
}

// nestModules are what the outer machine of a nested run needs: KVM on AMD, and
// virtio for its console and for the host's file system over 9p.
var nestModules = []string{"kvm-amd", "virtio_pci", "virtio_console", "9pnet_virtio", "9p"}

func makeNest(tree kernel.Tree, dir string) error {
	list := filepath.Join(dir, "modules.load")
	if _, err := os.Stat(list); err == nil {
		return nil
	}
	all, err := tree.Modules()
	if err != nil {
		return err
	}
	modules, err := all.Closure(nestModules...)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "modules"), 0o755); err != nil {
		return err
	}
	var order strings.Builder
	for _, m := range modules {
		file := filepath.Base(m.Path)
		fmt.Fprintln(&order, file)
		if err := os.WriteFile(filepath.Join(dir, "modules", file), m.Image, 0o644); err != nil {
			return err
		}
	}
	if err := relink(tree.VMLinux(), filepath.Join(dir, "vmlinux")); err != nil {
		return err
	}
	// Last: that it is there says that the rest is.
	return os.WriteFile(list, []byte(order.String()), 0o644)
}

// relink makes a link at path to the file target, whatever was there.
func relink(target, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Link(target, path)
}
