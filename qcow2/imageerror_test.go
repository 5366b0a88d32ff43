package qcow2

import (
	"errors"
	"testing"
)

// TestCorruptionIsTold has damage found by requests: whoever asked to be told is told once, in
// QEMU's words, and whether the image was marked.
func TestCorruptionIsTold(t *testing.T) {
	const text = "Cluster allocation offset 0x50200 unaligned (L2 offset: 0x40000, L2 index: 0)"
	for _, readOnly := range []bool{false, true} {
		f := newImage(t, CreateOptions{})
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(im.WriteV(pattern(1, 512), 0), im.Close()); err != nil {
			t.Fatal(err)
		}
		f = f.reopened()
		f.put64(0x40000, 0x50200|entryCopied)
		var told []string
		im, err = Open(f, Options{ReadOnly: readOnly, Corruption: func(problem string, marked bool) {
			if told = append(told, problem); marked == readOnly {
				t.Errorf("read-only %v, marked %v", readOnly, marked)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := im.ReadV(pattern(0, 512), 0); !errors.Is(err, ErrCorrupt) {
				t.Errorf("read: %v", err)
			}
		}
		if len(told) != 1 || told[0] != text {
			t.Errorf("told %q", told)
		}
		if err := im.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRepairedImageCanBeWritten has a guest cluster mapped to an L2 table of a snapshot. A
// repair counts that; a write afterwards moves the guest's data elsewhere, and leaves the
// snapshot what it was. It was refused once, and the image marked corrupt again.
func TestRepairedImageCanBeWritten(t *testing.T) {
	f := newImage(t, CreateOptions{})
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(im.WriteV(pattern(1, 512), 0))
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	must(im.WriteV(pattern(2, 512), 0))
	must(im.Flush())
	table, err := im.l2Table(0)
	must(err)
	theirs := int64(0)
	im.eachSnapshotL2(func(table int64) { theirs = table })
	must(im.Close())
	f = f.reopened()
	f.put64(table, uint64(theirs)|entryCopied)

	im, err = Open(f, Options{ForRepair: true})
	must(err)
	res, err := im.Check(CheckOptions{Repair: RepairAll})
	if err != nil || res.Corruptions != 0 || res.CorruptionsFixed == 0 {
		t.Fatalf("repair: %+v, %v", res, err)
	}
	must(im.Close())
	im, err = Open(f.reopened(), Options{})
	must(err)
	must(im.WriteV(pattern(3, 512), 0))
	got := pattern(0, 512)
	must(im.ReadV(got, 0))
	if got[0][0] != pattern(3, 512)[0][0] {
		t.Error("the write is lost")
	}
	must(im.ApplySnapshot("s"))
	must(im.ReadV(got, 0))
	if got[0][0] != pattern(1, 512)[0][0] {
		t.Error("the snapshot is damaged")
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		t.Errorf("check: %+v, %v", res, err)
	}
	must(im.Close())
}
