package main

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/qmp"
)

// TestHotPlugLeavesNothing plugs a disk in and takes it out a thousand times as
// govmm ctl does, each time over a connection of its own: files, goroutines and memory of the process are what they were, the lists
// of disks too, and the next disk gets the slot and the name that the first had.
func TestHotPlugLeavesNothing(t *testing.T) {
	m := startMachine(t, halting())
	other := m.image("b.qcow2")
	before := m.ctl("disk", "list")
	// Not by m.ctl: what a command line leaves behind in cobra would be taken for the
	// machine's.
	round := func() {
		t.Helper()
		c, err := qmp.Dial(t.Context(), m.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := addDisk(t.Context(), c, "data", "path="+other); err != nil {
			t.Fatal(err)
		}
		if err := removeDisk(t.Context(), c, "data"); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 { // what is made once, pools and the event log's first events, is there
		round()
	}
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	files, goroutines, heap := openFiles(t)+1, runtime.NumGoroutine()+4, liveHeap() // and a connection more
	for range rounds {
		round()
	}
	// The machine closes its end of the last connection in its own time.
	for deadline := time.Now().Add(testLimit); openFiles(t) > files || runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d files are open and %d goroutines run, there were %d and %d", openFiles(t), runtime.NumGoroutine(), files, goroutines)
			break
		}
	}
	grown := int64(liveHeap()) - int64(heap)
	t.Logf("%d rounds: %d bytes more on the heap", rounds, grown)
	// The event log keeps its last 1,024 events, of which the first rounds made some.
	if grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes in %d rounds", grown, rounds)
	}
	if now := m.ctl("disk", "list"); now != before {
		t.Errorf("the disks were\n%sand are\n%s", before, now)
	}
	m.ctl("disk", "add", "data", "path="+other)
	m.want(m.ctl("disk", "list"), fmt.Sprintf("data   64M   qcow2   writethrough  %s", other))
	m.ctl("quit")
	m.wantEnd(0)
}

// openFiles is how many files this process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// liveHeap is the memory in use on the heap, in bytes.
func liveHeap() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC() // sync.Pools take two
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
