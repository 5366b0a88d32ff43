package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/govmm/govmm/guest-tests/initramfs"
	"github.com/govmm/govmm/guest-tests/kernel"
)

// Kernels that the set-up fetches, by the name of their directory in
// build/kernels.
const (
	Debian12  = "debian12"
	Backports = "backports"
)

// ErrNotSetUp is wrapped by errors about what the set-up makes.
var ErrNotSetUp = errors.New("run `make setup` first")

// Artefacts are the files that guests are made of, under the repository's
// build directory.
type Artefacts struct {
	root string
}

// FindArtefacts finds the repository from the current directory.
func FindArtefacts() (Artefacts, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Artefacts{}, err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return Artefacts{root: dir}, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return Artefacts{}, errors.New("not inside the repository: no go.mod in this directory or above")
		}
		dir = parent
	}
}

// Build returns a path in the build directory.
func (a Artefacts) Build(elem ...string) string {
	return filepath.Join(append([]string{a.root, "build"}, elem...)...)
}

// Kernel opens one of the kernels that the set-up fetched.
func (a Artefacts) Kernel(name string) (kernel.Tree, error) {
	tree, err := kernel.Open(a.Build("kernels", name))
	if errors.Is(err, fs.ErrNotExist) {
		return tree, fmt.Errorf("kernel %s is not there: %w", name, ErrNotSetUp)
	}
	return tree, err
}

// Initrd builds the initramfs for a kernel, or finds it built, and returns its
// path.
func (a Artefacts) Initrd(ctx context.Context, tree kernel.Tree) (string, error) {
	return a.InitrdWith(ctx, tree, "", initramfs.Extra{})
}

// InitrdWith builds an initramfs that has more than the usual one, by a name of
// its own.
func (a Artefacts) InitrdWith(ctx context.Context, tree kernel.Tree, name string, extra initramfs.Extra) (string, error) {
	init := a.Build("init")
	if err := a.goBuild(ctx, init, "./guest-tests/init", "CGO_ENABLED=0"); err != nil {
		return "", err
	}
	path := a.Build("initramfs", tree.Release+name+".cpio")
	_, err := initramfs.Build(initramfs.Config{
		Kernel:  tree,
		Init:    init,
		Busybox: a.Build("busybox", "bin", "busybox"),
		Extra:   extra,
	}, path)
	return path, err
}

// Govmm returns the govmm to test: $GOVMM_BIN, or one that is built now.
func (a Artefacts) Govmm(ctx context.Context) (Govmm, error) {
	vmm := Govmm{
		Path: os.Getenv("GOVMM_BIN"),
		Nest: []string{"--nest-dir", a.Build("nest")},
	}
	if vmm.Path != "" {
		return vmm, nil
	}
	vmm.Path = filepath.Join(a.root, "bin", "govmm")
	return vmm, a.goBuild(ctx, vmm.Path, "./cmd/govmm", "CGO_ENABLED=0")
}

func (a Artefacts) goBuild(ctx context.Context, out, pkg string, env ...string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Dir = a.root
	cmd.Env = append(os.Environ(), env...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, output)
	}
	return nil
}
