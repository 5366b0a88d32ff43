package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/vmm/kvm"
)

// What the host's kernel counts of the machine (QEMU, qapi/stats.json).

// statsProvider is who counts.
type statsProvider string

const statsKVM statsProvider = "kvm"

// QMPValues implements qmp.Enum.
func (statsProvider) QMPValues() []string { return enumeration(statsKVM) }

// statsTarget is what it counts of.
type statsTarget string

const (
	statsOfMachine statsTarget = "vm"
	statsOfCPU     statsTarget = "vcpu"
)

// QMPValues implements qmp.Enum.
func (statsTarget) QMPValues() []string { return enumeration(statsOfMachine, statsOfCPU) }

type statsRequest struct {
	Provider statsProvider `json:"provider"`
	Names    *[]string     `json:"names,omitempty"` // nil: all
}

type statsArgs struct {
	Target    statsTarget     `json:"target"`
	Providers *[]statsRequest `json:"providers,omitempty"` // nil: all
	CPUs      *[]string       `json:"vcpus,omitempty"`     // by path, with the target vcpu; nil: all
}

type statsResult struct {
	Provider statsProvider `json:"provider"`
	Path     string        `json:"qom-path,omitempty"`
	Stats    []statValue   `json:"stats"`
}

type statValue struct {
	Name  string `json:"name"`
	Value any    `json:"value"` // a number, a boolean, or the numbers of a histogram
}

// cpuPath is a processor's name in QMP.
func cpuPath(index int) string { return fmt.Sprintf("/machine/cpu[%d]", index) }

func (c *control) queryKernelStats(_ context.Context, a statsArgs) ([]statsResult, error) {
	if a.Target == statsOfMachine && a.CPUs != nil {
		return nil, qmp.Errorf(qmp.GenericError, "Parameter 'vcpus' is unexpected")
	}
	list := []statsResult{}
	machine, cpus, err := c.m.vm.KernelStatistics()
	if errors.Is(err, kvm.ErrNoStatistics) {
		return list, nil
	}
	if err != nil {
		return nil, err
	}
	add := func(path string, stats []kvm.Statistic) {
		r := statsResult{Provider: statsKVM, Path: path}
		for _, s := range stats {
			if a.asksFor(s.Name) {
				r.Stats = append(r.Stats, statValue{s.Name, describeValue(s)})
			}
		}
		if len(r.Stats) > 0 {
			list = append(list, r)
		}
	}
	if a.Target == statsOfMachine {
		add("", machine)
		return list, nil
	}
	for i, stats := range cpus {
		if path := cpuPath(i); a.CPUs == nil || slices.Contains(*a.CPUs, path) {
			add(path, stats)
		}
	}
	return list, nil
}

// asksFor reports whether a statistic is wanted.
func (a *statsArgs) asksFor(name string) bool {
	if a.Providers == nil {
		return true
	}
	return slices.ContainsFunc(*a.Providers, func(r statsRequest) bool { return r.Names == nil || slices.Contains(*r.Names, name) })
}

func describeValue(s kvm.Statistic) any {
	switch {
	case len(s.Values) != 1:
		return s.Values
	case s.Unit == kvm.Truth:
		return s.Values[0] != 0
	}
	return s.Values[0]
}

type statsSchemaArgs struct {
	Provider statsProvider `json:"provider,omitempty"`
}

// statsSchema says what there is of a target.
type statsSchema struct {
	Provider statsProvider `json:"provider"`
	Target   statsTarget   `json:"target"`
	Stats    []statInfo    `json:"stats"`
}

type statInfo struct {
	Name       string   `json:"name"`
	Kind       statKind `json:"type"`
	Unit       statUnit `json:"unit,omitempty"`
	Base       int      `json:"base,omitempty"` // with an exponent
	Exponent   int      `json:"exponent"`
	BucketSize int      `json:"bucket-size,omitempty"`
}

// statKind and statUnit are the words for those of package kvm.
type (
	statKind string
	statUnit string
)

func statKinds() []statKind {
	return []statKind{
		kvm.Cumulative: "cumulative", kvm.Instant: "instant", kvm.Peak: "peak",
		kvm.LinearHistogram: "linear-histogram", kvm.LogHistogram: "log2-histogram",
	}
}

func statUnits() []statUnit {
	return []statUnit{kvm.Times: "", kvm.Bytes: "bytes", kvm.Seconds: "seconds", kvm.Cycles: "cycles", kvm.Truth: "boolean"}
}

// QMPValues implements qmp.Enum.
func (statKind) QMPValues() []string { return enumeration(statKinds()...) }

// QMPValues implements qmp.Enum.
func (statUnit) QMPValues() []string { return enumeration(statUnits()[kvm.Bytes:]...) }

func (c *control) queryStatsSchemas(context.Context, statsSchemaArgs) ([]statsSchema, error) {
	list := []statsSchema{}
	machine, cpus, err := c.m.vm.KernelStatistics()
	if errors.Is(err, kvm.ErrNoStatistics) {
		return list, nil
	}
	if err != nil {
		return nil, err
	}
	for _, of := range []struct {
		target statsTarget
		stats  []kvm.Statistic
	}{{statsOfMachine, machine}, {statsOfCPU, cpus[0]}} {
		schema := statsSchema{Provider: statsKVM, Target: of.target}
		for _, s := range of.stats {
			// A kernel may have kinds that came after this.
			if int(s.Kind) < len(statKinds()) && int(s.Unit) < len(statUnits()) {
				schema.Stats = append(schema.Stats, describeStatistic(s))
			}
		}
		list = append(list, schema)
	}
	return list, nil
}

func describeStatistic(s kvm.Statistic) statInfo {
	x := statInfo{Name: s.Name, Kind: statKinds()[s.Kind], Unit: statUnits()[s.Unit], Exponent: s.Exponent}
	if s.Exponent != 0 {
		x.Base = s.Base
	}
	if s.Kind == kvm.LinearHistogram {
		x.BucketSize = s.BucketSize
	}
	return x
}
