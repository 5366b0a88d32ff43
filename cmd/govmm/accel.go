package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/govmm/govmm/internal/nest"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/spf13/cobra"
)

// Values of --accel.
const (
	accelAuto   = "auto"
	accelKVM    = "kvm"
	accelNested = "nested"
)

// nestFlags describe the nested machine.
type nestFlags struct {
	dir    string
	memory byteSize
	pool   uint64 // size of the huge pages that the memory is to come from, or 0
	cpus   int
}

// nestDirEnv names the directory of the nested machine's kernel if --nest-dir
// does not.
const nestDirEnv = "GOVMM_NEST_DIR"

func (f *nestFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "nest-dir", "",
		"directory with the kernel of the nested machine (default: $"+nestDirEnv+", ~/.cache/govmm/nest, or build/nest beside the program)")
	if err := cmd.MarkFlagDirname("nest-dir"); err != nil {
		panic(err) // no such flag: known at the first run
	}
}

// config is the nested machine.
func (f *nestFlags) config() nest.Config {
	return nest.Config{
		Dir:      nestDir(f.dir, os.Getenv(nestDirEnv), nestDirCandidates()),
		InitArgs: []string{nestInitName},
		CPUs:     f.cpus,
		Memory:   f.memory.bytes,
		PoolPage: f.pool,
	}
}

// nestDir picks what was asked for or, of the candidates, the first that is
// there, or else the first of all, for the error message.
func nestDir(flag, env string, candidates []string) string {
	if flag != "" {
		return flag
	}
	if env != "" {
		return env
	}
	for _, dir := range candidates {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return dir
		}
	}
	return strings.Join(candidates[:min(1, len(candidates))], "")
}

// nestDirCandidates are the places where the kernel may be: the user's cache,
// and the build directory of the source tree that the program was built in.
func nestDirCandidates() []string {
	var dirs []string
	if cache, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, filepath.Join(cache, "govmm", "nest"))
	}
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Join(filepath.Dir(exe), "..", "build", "nest"))
	}
	return dirs
}

// chooseAccel resolves auto: KVM where it executes guests, else the nested
// machine. why says it in one line.
func chooseAccel(report kvm.Report, problems []nest.Problem) (accel, why string, err error) {
	if report.CanBoot() {
		return accelKVM, "using kvm: " + kvmInWords(report), nil
	}
	if len(problems) == 0 {
		return accelNested, "using the nested machine: " + kvmInWords(report), nil
	}
	return "", "", fmt.Errorf("no way to run a guest: %s; nested: %w (\"govmm doctor\" tells what to do)", kvmInWords(report), problems[0].What)
}

// kvmInWords is one line about the host's KVM.
func kvmInWords(r kvm.Report) string {
	switch {
	case r.Class == kvm.ClassInterpreting:
		return kvm.DevicePath + " interprets guest code, which is too slow for an operating system"
	case r.Class != kvm.ClassExecuting:
		return r.Reason
	case r.Speed == kvm.SpeedHardware:
		return kvm.DevicePath + " runs guest code on the processor"
	}
	return fmt.Sprintf("%s runs guest code on an emulated processor, %.0f million instructions a second", kvm.DevicePath, r.MInsnPerSecond)
}

// inNest runs a command in the nested machine. The command gets this program's
// standard error, the signals that ask to stop, and SIGCONT. Those that ask to stop it gets
// once, or twice if it takes the first SIGTERM for the power button; the next one ends the
// nested machine.
func (a *app) inNest(ctx context.Context, cfg nest.Config, cmd nest.Command, button bool) error {
	signals, abort := make(chan os.Signal, 2), make(chan struct{})
	var last signalError
	asked, stopped := false, false
	defer onSignals(func(sig syscall.Signal) (more bool) {
		if stopped {
			last = signalError{sig}
			close(abort)
			return false
		}
		stopped = asked || !button || sig != syscall.SIGTERM
		asked = true
		signals <- sig
		return true
	})()
	defer onContinue(func() {
		select {
		case signals <- syscall.SIGCONT:
		default: // others wait to be passed on
		}
	})()
	cmd.Signals, cmd.Abort = signals, abort
	cmd.Stderr = a.stderr
	status, err := nest.Run(ctx, cfg, cmd)
	if errors.Is(err, nest.ErrAborted) {
		return &exitError{code: last.status()}
	}
	if err != nil {
		return err
	}
	if status != 0 {
		return &exitError{code: status}
	}
	return nil
}
