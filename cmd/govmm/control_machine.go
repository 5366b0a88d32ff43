package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/vmm"
)

// machineCommands are the commands about the machine as a whole.
func (c *control) machineCommands() []qmp.Command {
	return []qmp.Command{
		qmp.NewCommand("query-status", c.queryStatus).OOB(),
		qmp.NewCommand("query-name", c.queryName),
		qmp.NewCommand("query-uuid", c.queryUUID),
		qmp.NewCommand("query-kvm", c.queryKVM),
		qmp.NewCommand("query-cpus-fast", c.queryCPUs),
		qmp.NewCommand("query-memory-size-summary", c.queryMemorySize),
		qmp.NewCommand("query-target", c.queryTarget),
		qmp.NewCommand("query-chardev", c.querySerials),
		qmp.NewCommand("query-pci", c.queryPCI),
		qmp.NewCommand("x-query-stats", c.queryStats),
		qmp.NewCommand("x-controller-fault", c.fault),
		qmp.NewCommand("stop", c.stop),
		qmp.NewCommand("cont", c.cont),
		qmp.NewCommand("system_reset", c.reset).OOB(),
		qmp.NewCommand("system_powerdown", c.powerdown).OOB(),
		qmp.NewCommand("inject-nmi", c.nmi).OOB(),
		qmp.NewCommand("quit", c.quit).OOB(),
	}
}

// runState is a word for what a machine is doing (QEMU, qapi/run-state.json).
type runState string

const (
	statePrelaunch runState = "prelaunch"
	stateRunning   runState = "running"
	statePaused    runState = "paused"
	stateIOError   runState = "io-error"
	statePanicked  runState = "guest-panicked"
	stateWatchdog  runState = "watchdog"
	stateShutdown  runState = "shutdown"
)

// QMPValues implements qmp.Enum.
func (runState) QMPValues() []string {
	return enumeration(statePrelaunch, stateRunning, statePaused, stateIOError, statePanicked, stateWatchdog, stateShutdown)
}

func runStateOf(s vmm.Status) runState {
	switch s {
	case vmm.Running:
		return stateRunning
	case vmm.PausedByHost:
		return statePaused
	case vmm.PausedByIOError:
		return stateIOError
	case vmm.PausedByPanic:
		return statePanicked
	case vmm.PausedByWatchdog:
		return stateWatchdog
	case vmm.HasEnded:
		return stateShutdown
	}
	return statePrelaunch
}

type statusInfo struct {
	Running    bool     `json:"running"`
	SingleStep bool     `json:"singlestep"`
	Status     runState `json:"status"`
}

func (c *control) queryStatus(context.Context, qmp.None) (statusInfo, error) {
	s := c.m.vm.Status()
	return statusInfo{Running: s == vmm.Running, Status: runStateOf(s)}, nil
}

type nameInfo struct {
	Name string `json:"name,omitempty"`
}

func (c *control) queryName(context.Context, qmp.None) (nameInfo, error) {
	return nameInfo{c.name}, nil
}

type uuidInfo struct {
	UUID string `json:"UUID"`
}

// queryUUID answers zero for a machine that was given none, as QEMU does.
func (c *control) queryUUID(context.Context, qmp.None) (uuidInfo, error) {
	return uuidInfo{c.uuid.String()}, nil
}

type kvmInfo struct {
	Enabled bool `json:"enabled"`
	Present bool `json:"present"`
}

func (c *control) queryKVM(context.Context, qmp.None) (kvmInfo, error) {
	return kvmInfo{true, true}, nil
}

type cpuInfo struct {
	Index  int       `json:"cpu-index"`
	Path   string    `json:"qom-path"`
	Thread int       `json:"thread-id"`
	Target processor `json:"target"`
	Props  cpuProps  `json:"props"`
}

// processor is a kind of processors (QEMU, qapi/machine.json).
type processor string

const x86 processor = "x86_64"

// QMPValues implements qmp.Enum.
func (processor) QMPValues() []string { return enumeration(x86) }

type targetInfo struct {
	Arch processor `json:"arch"`
}

func (c *control) queryTarget(context.Context, qmp.None) (targetInfo, error) {
	return targetInfo{x86}, nil
}

// serialInfo is the other end of a serial port.
type serialInfo struct {
	Label    string `json:"label"`
	Filename string `json:"filename"`
	Open     bool   `json:"frontend-open"`
}

func (c *control) querySerials(context.Context, qmp.None) ([]serialInfo, error) {
	list := []serialInfo{}
	for i, s := range c.serials {
		list = append(list, serialInfo{Label: fmt.Sprintf("serial%d", i), Filename: s.String(), Open: true})
	}
	return list, nil
}

type cpuProps struct {
	Socket int `json:"socket-id"`
	Core   int `json:"core-id"`
	Thread int `json:"thread-id"`
}

func (c *control) queryCPUs(context.Context, qmp.None) ([]cpuInfo, error) {
	list := []cpuInfo{}
	for i, cpu := range c.m.vm.CPUs() {
		list = append(list, cpuInfo{
			Index: i, Path: cpuPath(i), Thread: cpu.Thread, Target: x86,
			Props: cpuProps{cpu.Place.Socket, cpu.Place.Core, cpu.Place.Thread},
		})
	}
	return list, nil
}

type memorySizeInfo struct {
	Base    uint64 `json:"base-memory"`
	Plugged uint64 `json:"plugged-memory"` // beyond that, while the machine runs: always none
}

func (c *control) queryMemorySize(context.Context, qmp.None) (memorySizeInfo, error) {
	return memorySizeInfo{Base: c.m.vm.MemorySize()}, nil
}

// statsInfo are figures of govmm's own.
type statsInfo struct {
	Machine    vmm.Stats     `json:"machine"`
	Controller megasas.Stats `json:"controller"`
	Process    processInfo   `json:"process"`
}

func (c *control) queryStats(context.Context, qmp.None) (statsInfo, error) {
	return statsInfo{c.m.vm.Stats(), c.m.controller.Stats(), readProcess()}, nil
}

func (c *control) stop(ctx context.Context, _ qmp.None) (qmp.None, error) {
	return qmp.None{}, running(c.m.vm.Pause(ctx))
}

func (c *control) cont(ctx context.Context, _ qmp.None) (qmp.None, error) {
	return qmp.None{}, running(c.m.vm.Resume(ctx))
}

// running says in QMP's words that a machine does not run.
func running(err error) error {
	if errors.Is(err, vmm.ErrNotRunning) {
		return qmp.Errorf(qmp.GenericError, "Resetting the Virtual Machine is required: %v", err)
	}
	return err
}

func (c *control) reset(context.Context, qmp.None) (qmp.None, error) {
	c.m.vm.Reset()
	return qmp.None{}, nil
}

func (c *control) powerdown(context.Context, qmp.None) (qmp.None, error) {
	c.m.vm.PressPowerButton()
	return qmp.None{}, nil
}

func (c *control) nmi(context.Context, qmp.None) (qmp.None, error) {
	c.m.vm.InjectNMI()
	return qmp.None{}, nil
}

func (c *control) quit(context.Context, qmp.None) (qmp.None, error) {
	c.m.vm.Stop()
	return qmp.None{}, nil
}
