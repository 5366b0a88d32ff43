package qcow2

import (
	"slices"
	"sync"
	"testing"
)

// TestEvents does one thing after another and asks which points each passed.
func TestEvents(t *testing.T) {
	const cs = 512
	f := new(memFile)
	if err := Create(f, CreateOptions{Size: 16 * mib, ClusterSize: cs, BackingFile: "base", BackingFormat: "raw"}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []Event
	im, err := Open(f, Options{
		Event: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if !slices.Contains(seen, e) {
				seen = append(seen, e)
			}
		},
		Backing: func(string, string) (Backing, error) { return make(memBacking, 16*mib), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	buf := func(n int64) [][]byte { return [][]byte{make([]byte, n)} }
	steps := []struct {
		what string
		do   func() error
		want []Event
	}{
		{"open", func() error { return nil }, []Event{EventReftableLoad}},
		{"write a part of a new cluster", func() error { return im.WriteV(buf(100), 0) },
			[]Event{EventRefblockLoad, EventClusterAlloc, EventCowRead, EventCowWrite, EventWriteAio}},
		{"flush it", im.Flush, []Event{EventFlushToOs, EventRefblockUpdatePart, EventL2AllocWrite, EventFlushToDisk, EventL1Update}},
		{"read it", func() error { return im.ReadV(buf(100), 0) }, []Event{EventReadAio}},
		{"read the backing file", func() error { return im.ReadV(buf(100), mib) }, []Event{EventReadBackingAio}},
		{"write in place", func() error { return im.WriteV(buf(100), 0) }, []Event{EventWriteAio}},
		{"write another cluster", func() error { return im.WriteV(buf(cs), cs) }, []Event{EventClusterAlloc, EventWriteAio}},
		{"flush that", im.Flush, []Event{EventL2Update}},
		{"write compressed", func() error { return im.WriteCompressed(make([]byte, cs), 2*cs) },
			[]Event{EventClusterAllocBytes, EventWriteCompressed, EventL2UpdateCompressed}},
		{"read compressed", func() error { return im.ReadV(buf(cs), 2*cs) }, []Event{EventReadCompressed}},
		{"discard", func() error { return im.Discard(0, cs) }, []Event{EventClusterFree}},
		{"snapshot", func() error { _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); return err }, nil},
		{"another snapshot", func() error { _, err := im.CreateSnapshot(SnapshotOptions{Name: "t"}); return err }, nil},
		{"write to a shared table", func() error { return im.WriteV(buf(cs), cs) }, []Event{EventL2AllocCowRead}},
		{"write much", func() error { return im.WriteV(buf(8*mib), 8*mib) }, []Event{EventRefblockAlloc, EventReftableGrow, EventRefblockAllocWriteTable, EventRefblockAllocSwitchTable}},
		{"grow the disk", func() error { return im.Resize(64 * mib) }, []Event{EventL1GrowAllocTable, EventL1GrowWriteTable, EventL1GrowActivateTable}},
		{"shrink the disk", func() error { return im.Resize(32 * mib) }, []Event{EventL1ShrinkWriteTable}},
		{"write a little more", func() error { return im.WriteV(buf(mib), 20*mib) }, []Event{EventRefblockAlloc}},
		{"flush a little", im.Flush, []Event{EventRefblockAllocHookup}},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.what, err)
		}
		for _, e := range s.want {
			if !slices.Contains(seen, e) {
				t.Errorf("%s: did not pass %v, but %v", s.what, e, seen)
			}
		}
		seen = nil
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
}
