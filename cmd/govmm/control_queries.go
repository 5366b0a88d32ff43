package main

import (
	"context"

	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/vmm"
)

// What clients of QEMU ask for when they come to know a machine (QEMU, qapi/machine.json
// and others): what this one is, and what it has nothing of.

// queryCommands are the commands that ask for that.
func (c *control) queryCommands() []qmp.Command {
	list := []qmp.Command{
		qmp.NewCommand("query-machines", c.queryMachines),
		qmp.NewCommand("query-current-machine", c.queryCurrentMachine),
		qmp.NewCommand("query-memdev", c.queryMemory),
		qmp.NewCommand("query-chardev-backends", c.querySerialKinds),
		qmp.NewCommand("query-stats", c.queryKernelStats),
		qmp.NewCommand("query-stats-schemas", c.queryStatsSchemas),
		qmp.NewCommand("query-migrate", answer(qmp.None{})), // that there was none
		qmp.NewCommand("query-vnc", answer(enabledInfo{})),
		qmp.NewCommand("query-balloon", refuse[balloonInfo](qmp.DeviceNotActive, "No balloon device has been activated")),
		qmp.NewCommand("query-hotpluggable-cpus", refuse[[]qmp.None](qmp.GenericError, "The feature 'query-hotpluggable-cpus' is not enabled")),
		qmp.NewCommand("query-vm-generation-id", refuse[generationInfo](qmp.GenericError, "VM Generation ID device not found")),
	}
	for _, name := range []string{
		"query-jobs", "query-block-jobs", "query-block-exports", "query-pr-managers", "query-iothreads",
		"query-memory-devices", "query-acpi-ospm-status", "query-mice", "query-vnc-servers",
		"query-tpm", "query-tpm-models", "query-tpm-types",
	} {
		list = append(list, qmp.NewCommand(name, answer([]qmp.None{})))
	}
	return list
}

// answer makes a command that always returns the same.
func answer[R any](r R) func(context.Context, qmp.None) (R, error) {
	return func(context.Context, qmp.None) (R, error) { return r, nil }
}

// refuse makes a command that asks for a device which the machine never has.
func refuse[R any](class, desc string) func(context.Context, qmp.None) (R, error) {
	return func(context.Context, qmp.None) (r R, err error) { return r, &qmp.Error{Class: class, Desc: desc} }
}

type (
	enabledInfo struct {
		Enabled bool `json:"enabled"`
	}
	balloonInfo struct {
		Actual int64 `json:"actual"` // bytes
	}
	generationInfo struct {
		GUID string `json:"guid"`
	}
)

// kindOfMachine is a kind of machines that can be had. There is one.
type kindOfMachine struct {
	Name       string `json:"name"`
	Default    bool   `json:"is-default"`
	CPUs       int    `json:"cpu-max"`
	CPUPlug    bool   `json:"hotpluggable-cpus"`
	NUMA       bool   `json:"numa-mem-supported"`
	Deprecated bool   `json:"deprecated"`
	RAM        string `json:"default-ram-id"`
}

// memoryID is the name of the guest's memory.
const memoryID = "pc.ram"

func (c *control) queryMachines(context.Context, qmp.None) ([]kindOfMachine, error) {
	return []kindOfMachine{{Name: "pc", Default: true, CPUs: vmm.MaxCPUs, RAM: memoryID}}, nil
}

type currentMachine struct {
	// WakeUp says whether there is a sleep that the host must wake the guest from, by
	// ACPI's state S3.
	WakeUp bool `json:"wakeup-suspend-support"`
}

func (c *control) queryCurrentMachine(context.Context, qmp.None) (currentMachine, error) {
	return currentMachine{}, nil
}

// memoryBackend is how the host provides memory.
type memoryBackend struct {
	ID       string       `json:"id"`
	Size     uint64       `json:"size"`
	Merge    bool         `json:"merge"` // pages that are alike may be one
	Dump     bool         `json:"dump"`  // it is in core dumps
	Prealloc bool         `json:"prealloc"`
	Share    bool         `json:"share"`
	Reserve  bool         `json:"reserve"` // of swap space or of pages of a pool
	Nodes    []int        `json:"host-nodes"`
	Policy   memoryPolicy `json:"policy"`
}

// memoryPolicy says which of the host's nodes memory comes from.
type memoryPolicy string

const memoryPolicyDefault memoryPolicy = "default"

// QMPValues implements qmp.Enum.
func (memoryPolicy) QMPValues() []string { return enumeration(memoryPolicyDefault) }

func (c *control) queryMemory(context.Context, qmp.None) ([]memoryBackend, error) {
	pool := c.ram.PoolPage > 0
	return []memoryBackend{{
		ID: memoryID, Size: c.m.vm.MemorySize(),
		Prealloc: c.ram.Prealloc, Share: c.ram.Shared || pool, Reserve: pool,
		Nodes: []int{}, Policy: memoryPolicyDefault,
	}}, nil
}

type serialKindInfo struct {
	Name string `json:"name"`
}

// querySerialKinds tells QEMU's names of what --serial takes.
func (c *control) querySerialKinds(context.Context, qmp.None) ([]serialKindInfo, error) {
	return []serialKindInfo{{"stdio"}, {"null"}, {"socket"}, {"file"}}, nil
}
