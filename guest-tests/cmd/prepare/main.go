// Command prepare is the last part of the set-up: it makes what guests need out
// of the kernel packages that setup.sh unpacked.
//
//	build/kernels/NAME/vmlinux   the ELF image, which boots faster than the bzImage
//	build/nest                   the kernel of the machine that nested runs happen in
//
// What is there already is left alone.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/govmm/govmm/guest-tests/harness"
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
	// An unpacked kernel package with its vmlinux is all that a nest needs.
	err = os.Symlink(filepath.Join("kernels", harness.Debian12), artefacts.Build("nest"))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
