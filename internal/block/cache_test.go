package block

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// TestCacheModes writes and reads a disk in each mode.
func TestCacheModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for name := range cacheModes {
		spec := Spec{Path: path, Format: FormatRaw}
		if err := spec.SetCacheMode(name); err != nil {
			t.Fatal(err)
		}
		d, err := Open(spec)
		if err != nil {
			if spec.Direct && strings.Contains(err.Error(), "direct I/O") {
				t.Logf("%s: %v", name, err)
				continue
			}
			t.Fatalf("%s: %v", name, err)
		}
		out := []byte(strings.Repeat(name+" ", 200))[:500]
		in := make([]byte, 500)
		if err := d.WriteV([][]byte{out}, 100); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := d.ReadV([][]byte{in}, 100); err != nil || string(in) != string(out) {
			t.Errorf("%s: read %q, %v", name, in, err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := new(Spec).SetCacheMode("quick"); err == nil || !strings.Contains(err.Error(), "writeback") {
		t.Errorf("an unknown mode: %v", err)
	}
}

// syncCounter counts what a disk asks its file to make durable.
type syncCounter struct {
	qcow2.File
	syncs int
}

func (f *syncCounter) Sync() error { f.syncs++; return f.File.Sync() }

// TestDurability makes each write durable in write-through modes, and none with
// no-flush.
func TestDurability(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := qcow2.OpenFile(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	counter := &syncCounter{File: f}
	disk, err := newRaw(counter, false)
	if err != nil {
		t.Fatal(err)
	}
	d := writeThrough{disk}
	for i, change := range []func() error{
		func() error { return d.WriteV([][]byte{make([]byte, 512)}, 0) },
		func() error { return d.WriteZeroes(0, 512, false) },
		func() error { return d.Discard(0, 512) },
	} {
		if err := change(); err != nil || counter.syncs != i+1 {
			t.Errorf("change %d: %d syncs, %v", i, counter.syncs, err)
		}
	}
	counter.syncs = 0
	if err := (neverSynced{counter}).Sync(); err != nil || counter.syncs != 0 {
		t.Errorf("%d syncs, %v", counter.syncs, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
