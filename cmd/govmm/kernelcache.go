package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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
// meanwhile. What is wrong with a cache that was not asked for is no error, and that one can't
// be written or is damaged never is.
func (a *app) findUnpacked(spec *machineSpec) error {
	if spec.kernel == "" || spec.unpacked != "" || spec.kernelCache == kernelCacheNone {
		return nil
	}
	log := spec.log.logger(logVMM, a.stderr)
	err := spec.lookUp()
	switch {
	case errors.Is(err, kernelcache.ErrDamaged):
		spec.replaceUnpacked(err, log)
		return nil
	case errors.Is(err, errNotCached):
		err = startUnpacking(spec.kernelCacheDir(), spec.kernel, log)
	case spec.kernelCache != "" && refusedByHost(err):
		log.Warn(notPutIntoCache, "dir", spec.kernelCache, "error", err)
		return nil
	case err != nil && spec.kernelCache != "":
		return fmt.Errorf("--kernel-cache %s: %w", spec.kernelCache, err)
	}
	if err != nil {
		log.Debug("no unpacked kernel", "because", err)
	}
	return nil
}

// refusedByHost reports whether a directory can't be made for reasons other than its name.
func refusedByHost(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
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

// cachedKernel is the unpacked kernel for a machine, which puts up with errors in it.
type cachedKernel struct {
	*kernelcache.Kernel
	failed func(error) // is called with the first error
}

func (k cachedKernel) ReadAt(p []byte, off int64) (int, error) {
	n, err := k.Kernel.ReadAt(p, off)
	if err != nil && err != io.EOF {
		k.failed(err)
	}
	return n, err
}

// openUnpacked opens the unpacked kernel, or nothing: then the kernel unpacks itself.
func (c *closers) openUnpacked(spec machineSpec, log *slog.Logger) firmware.Source {
	k, err := kernelcache.OpenKernel(spec.unpacked)
	if errors.Is(err, kernelcache.ErrDamaged) {
		spec.replaceUnpacked(err, log)
		return nil
	}
	if err != nil {
		log.Debug("no unpacked kernel", "because", err) // it has left the cache again
		return nil
	}
	c.add(k.Close)
	var once sync.Once
	return cachedKernel{k, func(err error) { once.Do(func() { spec.replaceUnpacked(err, log) }) }}
}

// replaceUnpacked has the unpacked kernel, which can't be read, leave the cache, and put
// there anew. Where that is not for this process to do, the next start does.
func (s *machineSpec) replaceUnpacked(err error, log *slog.Logger) {
	log.Warn("the kernel unpacks itself, as what is in the cache can't be used", "error", err)
	if s.unpacked != "" {
		_ = os.Remove(s.unpacked) // if it fails, so does putting another there, and is reported
	}
	if s.kernelCache == kernelCacheNone {
		return
	}
	if err := startUnpacking(s.kernelCacheDir(), s.kernel, log); err != nil {
		log.Warn(notPutIntoCache, "error", err)
	}
}

const notPutIntoCache = "the unpacked kernel was not put into the cache"

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
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		if err := cmd.Wait(); err != nil {
			why := strings.TrimPrefix(strings.TrimSpace(said.String()), "govmm: ")
			log.Warn(notPutIntoCache, "dir", dir, "error", cmp.Or(why, err.Error()))
			return
		}
		log.Debug("the kernel was unpacked into the cache", "dir", dir)
	}()
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
