package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/internal/kernelcache"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const (
	// kernelCacheNone is the value of --kernel-cache for none.
	kernelCacheNone = "none"
	// kernelUnpackName is the command by which the program starts itself to unpack a
	// kernel.
	kernelUnpackName = "kernel-unpack"
)

// errNotCached is that a kernel will be in the cache at its next start.
var errNotCached = errors.New("the kernel is not in the cache yet")

// findUnpacked has the machine start the unpacked kernel from the cache. If it is not
// there, this machine's kernel unpacks itself, and another process puts it there
// meanwhile. What is wrong with a cache that was not asked for is no error.
func (a *app) findUnpacked(spec *machineSpec) error {
	if spec.kernel == "" || spec.unpacked != "" || spec.kernelCache == kernelCacheNone {
		return nil
	}
	log := spec.log.logger(logVMM, a.stderr)
	err := spec.lookUp()
	switch {
	case errors.Is(err, errNotCached):
		err = startUnpacking(spec.kernelCacheDir(), spec.kernel, log)
	case err != nil && spec.kernelCache != "":
		return fmt.Errorf("--kernel-cache %s: %w", spec.kernelCache, err)
	}
	if err != nil {
		log.Debug("no unpacked kernel", "because", err)
	}
	return nil
}

// kernelCacheDir is the directory of the cache, or empty.
func (s *machineSpec) kernelCacheDir() string {
	if s.kernelCache != "" {
		return s.kernelCache
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "" // there is no home
	}
	return filepath.Join(dir, "govmm", "kernels")
}

// lookUp finds the unpacked kernel in the cache.
func (s *machineSpec) lookUp() error {
	var files closers
	defer files.close()
	kernel, err := files.openSource(s.kernel)
	if err != nil {
		return err
	}
	payload, err := firmware.OpenPayload(kernel)
	if err != nil {
		return nil // it is started as it is, or the machine will say what is wrong
	}
	dir := s.kernelCacheDir()
	if dir == "" {
		return errors.New("no directory for a cache")
	}
	cache, err := kernelcache.Open(dir)
	if err != nil {
		return err
	}
	id, err := payload.ID()
	if err != nil {
		return err
	}
	if s.unpacked, err = cache.Path(id, payload.Size()); errors.Is(err, fs.ErrNotExist) {
		return errNotCached
	}
	return err
}

// startUnpacking starts a process that puts a kernel into a cache. It goes on if this
// one ends.
func startUnpacking(dir, kernel string, log *slog.Logger) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, kernelUnpackName, dir, kernel)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { log.Debug("the kernel was unpacked into the cache", "dir", dir, "error", cmd.Wait()) }()
	return nil
}

func (a *app) kernelUnpackCommand() *cobra.Command {
	return &cobra.Command{
		Use:    kernelUnpackName + " DIR KERNEL",
		Short:  "Put an unpacked kernel into a cache",
		Hidden: true,
		Args:   arguments(2, 2),
		RunE:   func(_ *cobra.Command, args []string) error { return unpackKernel(args[0], args[1]) },
	}
}

// unpackKernel puts a kernel into a cache, unless it is there, or another process fills
// the cache.
func unpackKernel(dir, kernel string) error {
	beModest()
	var files closers
	defer files.close()
	cache, err := kernelcache.Open(dir)
	if err != nil {
		return err
	}
	unlock, ok, err := cache.Lock()
	if !ok {
		return err
	}
	defer unlock()
	src, err := files.openSource(kernel)
	if err != nil {
		return err
	}
	payload, err := firmware.OpenPayload(src)
	if err != nil {
		return fmt.Errorf("%s: %w", kernel, err)
	}
	id, err := payload.ID()
	if err != nil {
		return err
	}
	if _, err := cache.Path(id, payload.Size()); err == nil {
		return nil
	}
	data, err := payload.Unpack()
	if err != nil {
		return fmt.Errorf("%s: %w", kernel, err)
	}
	return cache.Store(id, data)
}

// beModest lets all other processes run before this one, if it was started in a
// session of its own. It works as well if that is refused.
func beModest() {
	if unix.Getpgrp() != unix.Getpid() {
		return // the priority would be that of others too
	}
	const least = 19
	_ = unix.Setpriority(unix.PRIO_PGRP, 0, least)
	_ = os.WriteFile("/proc/self/autogroup", []byte(fmt.Sprint(least)), 0)
}
