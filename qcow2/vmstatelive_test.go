package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// TestVMStateBehindTheDisk writes the machine's state in pieces, as who saves a machine
// does, and finds it again: now, in a snapshot, and after going back to that.
func TestVMStateBehindTheDisk(t *testing.T) {
	for _, o := range []CreateOptions{
		{Size: 3 * mib, ClusterSize: 512}, {Size: 3 * mib}, {Size: 3 * mib, Version: 2}, {Size: 3 * mib, ExtendedL2: true}, {Size: 8 << 40},
	} {
		t.Run(fmt.Sprintf("%d bytes, cluster %d, version %d", o.Size, o.ClusterSize, o.Version), func(t *testing.T) {
			f := newImage(t, o)
			im, err := Open(f, Options{})
			if err != nil {
				t.Fatal(err)
			}
			read := func(off int64, want []byte) {
				t.Helper()
				got := bytes.Repeat([]byte{0xee}, len(want))
				if err := im.ReadVMState([][]byte{got}, off); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("state of %d bytes at %d: %v, equal %v", len(want), off, err, bytes.Equal(got, want))
				}
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			read(1000, make([]byte, 5000)) // nothing was ever written
			a, b := pattern(3, 100*kib), pattern(4, 300)
			must(im.WriteV(pattern(1, 100*kib), 0))
			must(im.WriteVMState(a, 700))
			must(im.WriteVMState(b, 40*mib+1))
			read(700, a[0])
			read(40*mib, append([]byte{0}, b[0]...))
			read(200*kib, make([]byte, 1000))
			must(im.Flush())
			if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
				t.Fatal(err)
			}
			must(im.WriteV(pattern(2, 200*kib), 0))
			read(0, make([]byte, 200*kib)) // the snapshot has it now
			must(im.WriteVMState(pattern(9, kib), 0))
			must(im.ApplySnapshot("s"))
			read(700, a[0])
			read(40*mib+1, b[0])
			must(im.WriteVMState(pattern(7, 5000), 700)) // shared with the snapshot
			read(700+5000, a[0][5000:])
			if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
				t.Fatalf("check: %+v, %v", res, err)
			}
			must(im.ApplySnapshot("s"))
			read(700, a[0])
			must(im.DeleteSnapshot("s"))
			read(700, a[0])
			if o.Version != 2 {
				must(im.Resize(o.Size + mib))
				got := make([]byte, mib)
				must(im.ReadV([][]byte{got}, o.Size))
				if !allZero(got) {
					t.Error("the machine's state shows in the larger disk")
				}
			}
			must(im.Close())
			if im, err = Open(f.reopened(), Options{}); err != nil {
				t.Fatal(err)
			}
			defer im.Close()
			if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
				t.Fatalf("check: %+v, %v", res, err)
			}
		})
	}
}

// TestVMStateLimits refuses state where no L1 table reaches, and on images that can't
// have snapshots; what is refused changes nothing.
func TestVMStateLimits(t *testing.T) {
	im, err := Open(newImage(t, CreateOptions{ClusterSize: 512}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	for off, want := range map[int64]error{-1: ErrRange, 1<<63 - 100: ErrRange, 1 << 50: ErrTooLarge} {
		if err := im.WriteVMState(pattern(1, 512), off); !errors.Is(err, want) {
			t.Errorf("state at %#x: %v, want %v", off, err, want)
		}
	}
	f, data := newDataImage(t, false)
	apart, err := Open(f, Options{DataFile: func(string) (File, error) { return data, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer apart.Close()
	if err := apart.WriteVMState(pattern(1, 512), 0); !errors.Is(err, ErrUnsupported) {
		t.Errorf("state in an external data file: %v", err)
	}
}
