package bench

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/govmm/govmm/internal/block"
)

// recorder is a device that remembers its requests.
type recorder struct {
	block.Device
	mu      sync.Mutex
	offsets map[int64]int
	flushes []int // how many writes there had been
	writes  int
	fail    int // the write with this number fails
}

var errBroken = errors.New("broken")

func (r *recorder) ReadV(bufs [][]byte, off int64) error { return r.WriteV(bufs, off) }

func (r *recorder) WriteV(bufs [][]byte, off int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offsets[off]++
	if r.writes++; r.writes == r.fail {
		return errBroken
	}
	return nil
}

func (r *recorder) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flushes = append(r.flushes, r.writes)
	return nil
}

func newRecorder(t *testing.T, size int64) *recorder {
	d, err := block.Open(block.Spec{Format: block.FormatNull, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	return &recorder{Device: d, offsets: make(map[int64]int)}
}

// TestRun sends each request of the pattern once, around the end of the device.
func TestRun(t *testing.T) {
	for _, depth := range []int{1, 7, 64} {
		d := newRecorder(t, 10*512)
		o := Options{Count: 25, Depth: depth, Offset: 512, BufferSize: 512, Step: 3 * 512}
		if _, err := Run(d, o); err != nil {
			t.Fatal(err)
		}
		want := make(map[int64]int)
		for i := range int64(25) {
			want[(512+i*3*512)%(10*512)]++
		}
		for off, n := range want {
			if d.offsets[off] != n {
				t.Errorf("depth %d: %d requests at %d, want %d", depth, d.offsets[off], off, n)
			}
		}
		if d.writes != 25 {
			t.Errorf("depth %d: %d requests", depth, d.writes)
		}
	}
}

// TestRunFlush flushes after every so many writes. One that drains the queue
// has them behind it, but for those that wait at the gate.
func TestRunFlush(t *testing.T) {
	for _, noDrain := range []bool{false, true} {
		d := newRecorder(t, 1<<20)
		o := Options{Write: true, Count: 100, Depth: 1, BufferSize: 512, Step: 512, FlushInterval: 10, NoDrain: noDrain}
		if _, err := Run(d, o); err != nil {
			t.Fatal(err)
		}
		if len(d.flushes) != 9 {
			t.Errorf("no drain %v: %d flushes", noDrain, len(d.flushes))
		}
		for i, n := range d.flushes {
			if !noDrain && n != (i+1)*10 {
				t.Errorf("flush %d after %d writes", i, n)
			}
		}
	}
}

// TestRunError ends at the first failure: the requests to come are so many
// that they would not end otherwise.
func TestRunError(t *testing.T) {
	for _, depth := range []int{1, 3} {
		d := newRecorder(t, 1<<20)
		d.fail = 5
		_, err := Run(d, Options{Count: math.MaxInt32, Depth: depth, BufferSize: 512, Step: 512})
		if !errors.Is(err, errBroken) {
			t.Errorf("depth %d: %v", depth, err)
		}
		if depth == 1 && d.writes != d.fail {
			t.Errorf("%d requests after a failure", d.writes-d.fail)
		}
	}
}

func TestValidate(t *testing.T) {
	for want, o := range map[string]Options{
		"Invalid queue depth":     {Count: 1},
		"Invalid request count":   {Count: -1, Depth: 1},
		"only available in write": {Depth: 1, FlushInterval: 5},
		"smaller than depth":      {Depth: 10, FlushInterval: 5, Write: true},
		"a negative offset":       {Depth: 1, Offset: -1},
		"Invalid buffer size":     {Depth: 1, BufferSize: 1 << 40},
	} {
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", o, err, want)
		}
	}
}
