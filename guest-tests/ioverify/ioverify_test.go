package ioverify

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func plain(n int) ([]byte, error) { return make([]byte, n), nil }

var plan = Plan{Seed: 7, Offset: 4096, Length: 1 << 20, Workers: 3, Operations: 100, Sizes: []int{512, 4096, 65536}, Reads: 40}

func device(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "device"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(2 << 20); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWhatRunWroteVerifies(t *testing.T) {
	dev := device(t)
	done, err := Run(dev, plan, plain)
	if err != nil {
		t.Fatal(err)
	}
	if done.Reads+done.Writes != 300 || done.BytesRead < 512*done.Reads || done.BytesWritten < 512*done.Writes {
		t.Errorf("counters of 300 operations: %+v", done)
	}
	seen, err := Verify(dev, plan, plain)
	if err != nil {
		t.Fatal(err)
	}
	if want := uint64(3 * plan.span()); seen.BytesRead != want {
		t.Errorf("verified %d bytes of %d", seen.BytesRead, want)
	}
	outside := make([]byte, 4096)
	if _, err := dev.ReadAt(outside, 0); err != nil || strings.Trim(string(outside), "\x00") != "" {
		t.Errorf("bytes before the area were written (%v)", err)
	}
}

// lastWrite is the last write of worker 0, whose blocks nothing overwrote.
func lastWrite() operation {
	var last operation
	for op := range plan.operations(0) {
		if op.write {
			last = op
		}
	}
	return last
}

func TestVerifyNamesTheDamage(t *testing.T) {
	last := lastWrite()
	block := make([]byte, BlockSize)
	number := uint64(last.offset) / BlockSize
	tests := map[string]struct {
		make func()
		want string
	}{
		"lost":      {func() { clear(block) }, "found zeroes"},
		"stale":     {func() { fill(block, plan.Seed, number, last.generation-1) }, "found generation"},
		"misplaced": {func() { fill(block, plan.Seed, number+1, last.generation) }, "misplaced block"},
		"foreign":   {func() { fill(block, plan.Seed+1, number, last.generation) }, "another run (seed 8)"},
		"torn": {func() {
			fill(block, plan.Seed, number, last.generation)
			clear(block[256:])
		}, "torn from byte 256"},
		"other": {func() { copy(block, "something else, quite") }, "other data"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dev := device(t)
			if _, err := Run(dev, plan, plain); err != nil {
				t.Fatal(err)
			}
			tt.make()
			if _, err := dev.WriteAt(block, last.offset); err != nil {
				t.Fatal(err)
			}
			if _, err := Verify(dev, plan, plain); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// forgetful is a device that loses every write of 4096 bytes.
type forgetful struct{ *os.File }

func (f forgetful) WriteAt(p []byte, off int64) (int, error) {
	if len(p) == 4096 {
		return len(p), nil
	}
	return f.File.WriteAt(p, off)
}

func TestRunNoticesLostWritesItself(t *testing.T) {
	if _, err := Run(forgetful{device(t)}, plan, plain); err == nil {
		t.Error("no error although writes were lost")
	}
}

func TestFlagsRoundTrip(t *testing.T) {
	var got Plan
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	got.Flags(fs)
	if err := fs.Parse(plan.Args()); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, plan) {
		t.Errorf("got %+v, want %+v", got, plan)
	}
}

func TestPlanIsValidated(t *testing.T) {
	for name, change := range map[string]func(*Plan){
		"no workers":        func(p *Plan) { p.Workers = 0 },
		"no sizes":          func(p *Plan) { p.Sizes = nil },
		"odd size":          func(p *Plan) { p.Sizes = []int{1000} },
		"odd offset":        func(p *Plan) { p.Offset = 100 },
		"size too large":    func(p *Plan) { p.Sizes = []int{1 << 20} },
		"too many reads":    func(p *Plan) { p.Reads = 101 },
		"negative position": func(p *Plan) { p.Offset = -512 },
	} {
		bad := plan
		change(&bad)
		if _, err := Run(device(t), bad, plain); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
