package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/govmm/govmm/internal/kmod"
	"golang.org/x/sys/unix"
)

// hostKernelName is the value of --kernel that stands for the running kernel.
const hostKernelName = "host"

// controllerDriver is the module with the driver of the emulated controller.
const controllerDriver = "megaraid_sas"

// hostKernel finds the running host's kernel and its initial RAM disk, as
// distributions install them under root.
func hostKernel(root, release string) (kernel, initrd string, err error) {
	kernel = filepath.Join(root, "boot", "vmlinuz-"+release)
	initrd = filepath.Join(root, "boot", "initrd.img-"+release)
	const advice = "name a kernel with --kernel FILE"
	if _, err := os.Stat(kernel); err != nil {
		return "", "", fmt.Errorf("--kernel host: %w (%s)", err, advice)
	}
	dir := filepath.Join(root, "lib", "modules", release)
	modules, err := kmod.Open(dir)
	if err != nil {
		return "", "", fmt.Errorf("--kernel host: %w (%s)", err, advice)
	}
	if !modules.Has(controllerDriver) {
		return "", "", fmt.Errorf("--kernel host: Linux %s has no driver %s in %s (%s)", release, controllerDriver, dir, advice)
	}
	if _, err := os.Stat(initrd); errors.Is(err, fs.ErrNotExist) {
		initrd = "" // built without one
	}
	return kernel, initrd, nil
}

// kernelRelease is what uname -r prints.
func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	name, _, _ := bytes.Cut(u.Release[:], []byte{0})
	return string(name), nil
}
