package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/internal/textscreen"
	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/vmm"
)

// controllerSlot is the controller's place on the PCI bus, the first free one.
const controllerSlot = 5

// drainTimeout is how long the controller may take to finish what it accepted.
const drainTimeout = 60 * time.Second

// machine is a virtual machine with all that it stands on.
type machine struct {
	vm         *vmm.Machine
	controller *megasas.Controller
	display    *textscreen.Display // or nil
	disks      disks
	control    *control
	host       closers // files, disks, serial ports
}

// runHere runs the machine on this host's KVM.
func (a *app) runHere(ctx context.Context, spec machineSpec) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var built atomic.Pointer[machine]
	goOn := func() {
		if m := built.Load(); m != nil {
			m.tryAgain(ctx)
		}
	}
	defer onContinue(goOn)()
	defer powerSwitch{
		press: func() bool {
			m := built.Load()
			if m == nil {
				return false
			}
			go goOn() // a guest that waits for its disk would not see the button
			return m.vm.PressPowerButton()
		},
		stop:    cancel,
		timeout: spec.react.shutdownTimeout,
		say:     func(text string) { fmt.Fprintln(a.stderr, "govmm:", text) },
	}.watch()()

	stats, err := openStats(spec.stats)
	if err != nil {
		return err
	}
	defer stats.Close()
	makeRoomFor(spec.cpus)
	m, err := a.buildMachine(spec, func() { cancel(errQuit) })
	if err != nil {
		return err
	}
	built.Store(m)
	start := time.Now()
	outcome, err := m.vm.Run(ctx)
	report := m.report(outcome, time.Since(start))
	if err = errors.Join(err, m.close()); err != nil {
		return err
	}
	if err := report.save(stats); err != nil {
		return err
	}
	return outcomeStatus(outcome, m.vm.ExitValue(), context.Cause(ctx))
}

// makeRoomFor lets as many goroutines run beside the vCPUs as there are
// processors: a vCPU's keeps its place while its guest leaves often, and all the
// others must not have to wait for the scheduler to take it away.
func makeRoomFor(vcpus int) {
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), runtime.NumCPU()+vcpus))
}

// buildMachine opens everything and puts it together. The terminal comes last:
// until then errors appear on it as usual.
func (a *app) buildMachine(spec machineSpec, quit func()) (_ *machine, err error) {
	m := &machine{}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	config := vmm.Config{Memory: spec.memory, RAM: spec.ram, CPUs: spec.cpus, UUID: spec.uuid, Topology: spec.topology, Logger: spec.log.logger(logVMM, a.stderr)}
	spec.react.apply(&config)
	if err := m.host.openBoot(&config, spec); err != nil {
		return nil, err
	}
	m.host.add(m.disks.close)
	drives, err := m.disks.open(spec.disks)
	if err != nil {
		return nil, err
	}
	controller := spec.controller.config()
	controller.Drives, controller.Logger = drives, spec.log.logger(logController, a.stderr)
	if controller.Observer, err = m.host.openTrace(spec.controller, controller.Logger); err != nil {
		return nil, err
	}
	m.control = newControl(m, spec, spec.log.logger(logControl, a.stderr))
	if err := m.control.listen(spec.qmp); err != nil {
		return nil, err
	}
	controller.Listener, config.Notify = m.control, m.control.notify
	if m.controller, err = megasas.New(controller); err != nil {
		return nil, err
	}
	if err := spec.controller.arrange(m.controller); err != nil {
		return nil, err
	}
	m.disks.plugged(m.controller)
	for _, s := range spec.serials {
		end, err := s.open(func() (serialEnd, error) { return a.openStdio(quit) })
		if err != nil {
			return nil, err
		}
		m.host.add(end.close)
		config.Serial = append(config.Serial, vmm.SerialConfig{In: end.in, Out: end.out})
	}
	if m.vm, err = vmm.New(config); err != nil {
		return nil, err
	}
	if err := m.vm.AddDevice(controllerSlot, m.controller); err != nil {
		return nil, err
	}
	if err := m.openDisplay(a, spec, quit); err != nil {
		return nil, err
	}
	m.control.serve()
	return m, nil
}

// tryAgain lets a machine go on that was paused after an I/O error.
func (m *machine) tryAgain(ctx context.Context) {
	if m.vm.Status() != vmm.PausedByIOError {
		return
	}
	if err := m.vm.Resume(ctx); err != nil && !errors.Is(err, vmm.ErrNotRunning) {
		m.control.log.Error("the machine does not go on", "err", err)
	}
}

// close drains the controller, closes the images clean and restores the
// terminal. If the controller cannot be drained, its images are left as they
// are, because it may still use them.
func (m *machine) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if m.control != nil {
		m.control.close()
	}
	shown := m.closeDisplay()
	if err := m.disks.settle(ctx); err != nil {
		return errors.Join(shown, err)
	}
	if m.vm != nil {
		if err := m.vm.Close(ctx); err != nil {
			return errors.Join(shown, err)
		}
	}
	return errors.Join(shown, m.host.close())
}

// runReport is what --stats writes.
type runReport struct {
	Outcome    string        `json:"outcome"`
	Seconds    float64       `json:"seconds"` // from the guest's start to its end
	Machine    vmm.Stats     `json:"machine"`
	Controller megasas.Stats `json:"controller"`
}

func (m *machine) report(outcome vmm.Outcome, took time.Duration) runReport {
	return runReport{outcome.String(), took.Seconds(), m.vm.Stats(), m.controller.Stats()}
}

// openStats opens the file of --stats, so that figures are not lost for want of one
// in the end; nil if there is none.
func openStats(path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("--stats: %w", err)
	}
	return f, nil
}

// save writes the figures to a file, unless that is nil.
func (r runReport) save(f *os.File) error {
	if f == nil {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "    ")
	if err == nil {
		_, err = f.Write(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("--stats: %w", err)
	}
	return nil
}

// closers undo what was opened, last first.
type closers struct {
	funcs []func() error
}

func (c *closers) add(f func() error) { c.funcs = append(c.funcs, f) }

func (c *closers) close() error {
	var err error
	for _, f := range slices.Backward(c.funcs) {
		err = errors.Join(err, f())
	}
	c.funcs = nil
	return err
}

// source is a file for the loader, with a name for its errors.
type source struct {
	*io.SectionReader
	path string
}

func (s source) Name() string { return s.path }

// openSource opens a file to read at any offset.
func (c *closers) openSource(path string) (firmware.Source, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // of a pipe, nobody may hold the other end
	if err != nil {
		return nil, err
	}
	c.add(f.Close)
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	return source{io.NewSectionReader(f, 0, info.Size()), path}, nil
}
