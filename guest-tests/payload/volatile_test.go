package payloadtests

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// volatileFile is an image file on storage that loses in a power cut all that was
// not synced.
type volatileFile struct {
	mu      sync.Mutex
	data    []byte // guarded by mu
	durable []byte // guarded by mu; never changed, only replaced
}

var _ qcow2.File = (*volatileFile)(nil)

// afterPowerCut is what would be left now.
func (f *volatileFile) afterPowerCut() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.durable
}

func (f *volatileFile) ReadV(bufs [][]byte, off int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range bufs {
		n := 0
		if off < int64(len(f.data)) {
			n = copy(b, f.data[off:])
		}
		clear(b[n:])
		off += int64(len(b))
	}
	return nil
}

func (f *volatileFile) WriteV(bufs [][]byte, off int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range bufs {
		copy(f.extent(off, int64(len(b))), b)
		off += int64(len(b))
	}
	return nil
}

// extent is a range of the data, which grows for it.
//
// Preconditions: f.mu is held.
func (f *volatileFile) extent(off, n int64) []byte {
	if end := off + n; end > int64(len(f.data)) {
		f.data = append(f.data, make([]byte, end-int64(len(f.data)))...)
	}
	return f.data[off : off+n]
}

func (f *volatileFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.durable = bytes.Clone(f.data)
	return nil
}

func (f *volatileFile) Size() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f *volatileFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.extent(0, size)
	f.data = f.data[:size:size]
	return nil
}

func (f *volatileFile) PunchHole(off, n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if size := int64(len(f.data)); off < size {
		clear(f.data[off:min(off+n, size)])
	}
	return nil
}

func (f *volatileFile) ZeroRange(off, n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.extent(off, n))
	return nil
}

func (f *volatileFile) Close() error { return nil }

// store writes an image to a temporary file and returns its path.
func store(t *testing.T, image []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
