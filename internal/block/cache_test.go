package block

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCacheModes writes and reads a disk in each mode.
func TestCacheModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for name := range cacheModes {
		spec := Spec{Path: path, Format: FormatRaw}
		through, err := spec.SetCacheMode(name)
		if err != nil {
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
		if through {
			d = WriteThrough(d)
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
	if _, err := new(Spec).SetCacheMode("quick"); err == nil || !strings.Contains(err.Error(), "writeback") {
		t.Errorf("an unknown mode: %v", err)
	}
}

// flushCounter counts what is asked to be made durable.
type flushCounter struct {
	Device
	flushes int
}

func (d *flushCounter) Flush() error { d.flushes++; return nil }

// TestWriteThrough makes each change durable.
func TestWriteThrough(t *testing.T) {
	counter := &flushCounter{Device: newNull(1<<20, false)}
	d := WriteThrough(counter)
	for i, change := range []func() error{
		func() error { return d.WriteV([][]byte{make([]byte, 512)}, 0) },
		func() error { return d.WriteZeroes(0, 512, false) },
		func() error { return d.Discard(0, 512) },
	} {
		if err := change(); err != nil || counter.flushes != i+1 {
			t.Errorf("change %d: %d flushes, %v", i, counter.flushes, err)
		}
	}
}
