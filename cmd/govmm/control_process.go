package main

import (
	"os"
	"runtime/metrics"
)

// processInfo are figures of the process that runs the machine: ones that stay what they
// are, however long it runs and whatever is plugged in and out.
type processInfo struct {
	Goroutines uint64 `json:"goroutines"`
	Files      int    `json:"files"` // open ones
	Heap       uint64 `json:"heap"`  // bytes in use at the last garbage collection
}

// readProcess reads the figures of this process. What the system does not tell is 0.
func readProcess() processInfo {
	samples := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	number := func(s metrics.Sample) uint64 {
		if s.Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return s.Value.Uint64()
	}
	p := processInfo{Goroutines: number(samples[0]), Heap: number(samples[1])}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.Files = len(files) - 1 // without the directory itself
	}
	return p
}
