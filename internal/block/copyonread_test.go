package block

import (
	"bytes"
	"sync"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// TestCopyOnReadKeepsWhatIsRead has a disk that was read all over need its backing file no
// more.
func TestCopyOnReadKeepsWhatIsRead(t *testing.T) {
	const size = 4 << 20
	at := newDir(t)
	at.raw("base", 7, size/2)
	path := at.image("top", qcow2.CreateOptions{Size: size, BackingFile: "base", BackingFormat: FormatRaw})
	d := mustOpen(t, Spec{Path: path, CopyOnRead: true})
	got := make([]byte, size)
	for off := int64(0); off < size; off += 100_000 {
		n := min(100_000, size-off)
		if err := d.ReadV([][]byte{got[off : off+n/2], got[off+n/2 : off+n]}, off); err != nil {
			t.Fatal(err)
		}
	}
	want := append(bytes.Repeat([]byte{7}, size/2), make([]byte, size/2)...)
	if !bytes.Equal(got, want) {
		t.Error("other bytes are read than there are")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, Spec{Path: path, NoBacking: true, LeaveBacking: true, ReadOnly: true})
	defer d.Close()
	clear(got)
	if err := d.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("without the backing file: %v, or other bytes", err)
	}
}

// TestCopyOnReadLosesNoWrite writes clusters while others read them: nothing that was
// written is overwritten by what the backing file has.
func TestCopyOnReadLosesNoWrite(t *testing.T) {
	const size, step = 4 << 20, 4096
	at := newDir(t)
	at.raw("base", 7, size)
	d := mustOpen(t, Spec{Path: at.image("top", qcow2.CreateOptions{Size: size, BackingFile: "base", BackingFormat: FormatRaw}), CopyOnRead: true})
	defer d.Close()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			p := make([]byte, step)
			for off := int64(0); off < size; off += step {
				var err error
				if i == 0 {
					err = d.WriteV([][]byte{bytes.Repeat([]byte{9}, step)}, off)
				} else {
					err = d.ReadV([][]byte{p}, off)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	got := make([]byte, size)
	if err := d.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{9}, size)) {
		t.Errorf("%v, or what was written is gone", err)
	}
}

// TestCopyOnReadWantsToWrite refuses a disk that can't be written.
func TestCopyOnReadWantsToWrite(t *testing.T) {
	at := newDir(t)
	if d, err := Open(Spec{Path: at.image("top", qcow2.CreateOptions{Size: 1 << 20}), ReadOnly: true, CopyOnRead: true}); err == nil {
		t.Error("opened")
		_ = d.Close()
	}
}
