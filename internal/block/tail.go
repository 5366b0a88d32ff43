package block

import (
	"sync"
	"sync/atomic"

	"github.com/govmm/govmm/qcow2"
)

// Tail says what becomes of the bytes that an external data file has behind the disk, when that
// grows: package qcow2 makes them zero, with QEMU they show. It may be used concurrently.
type Tail struct{ keep atomic.Bool }

// During calls resize, which makes the disk of an image size bytes long, and maps all of what it
// gains if mapped is set; with a raw data file that is always so. What is mapped then shows the
// bytes that the data file has there already. Nothing else may change the disk meanwhile.
func (t *Tail) During(im *qcow2.Image, size int64, mapped bool, resize func() error) error {
	if info := im.Info(); info.HasDataFile && size > info.Size && (mapped || info.RawData) {
		t.keep.Store(true)
		defer t.keep.Store(false)
	}
	return resize()
}

// tailFile is an external data file whose bytes behind the disk may stay. The image cuts it where
// the disk ended, makes it longer, and provides for storage: it is told that this was done.
type tailFile struct {
	*qcow2.OSFile
	tail *Tail

	mu   sync.Mutex
	end  int64 // the length that the image knows, unless below 0; guarded by mu
	kept int64 // up to where the bytes behind the disk stay; guarded by mu
}

// Size is what the image made of it.
func (f *tailFile) Size() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end >= 0 {
		return f.end, nil
	}
	return f.OSFile.Size()
}

// Truncate leaves the file as long as it is, if its bytes stay.
func (f *tailFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end, f.kept = -1, 0
	if !f.tail.keep.Load() {
		return f.OSFile.Truncate(size)
	}
	has, err := f.OSFile.Size()
	if err != nil {
		return err
	}
	if f.kept = has; size <= has {
		f.end = size
		return nil
	}
	return f.OSFile.Truncate(size)
}

// WriteV leaves out what is to stay: it is zeroes, for the storage.
func (f *tailFile) WriteV(bufs [][]byte, off int64) error {
	skip := int64(0)
	if f.tail.keep.Load() {
		f.mu.Lock()
		skip = max(0, f.kept-off)
		f.mu.Unlock()
	}
	if skip == 0 {
		return f.OSFile.WriteV(bufs, off)
	}
	var rest [][]byte
	for _, b := range bufs {
		n := min(skip, int64(len(b)))
		if skip, off = skip-n, off+n; n < int64(len(b)) {
			rest = append(rest, b[n:])
		}
	}
	if rest == nil {
		return nil
	}
	return f.OSFile.WriteV(rest, off)
}
