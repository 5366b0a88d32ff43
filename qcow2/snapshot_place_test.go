package qcow2

import (
	"errors"
	"strings"
	"testing"
)

// TestSnapshotOutOfPlace has the record of a snapshot say what can't be of its L1 table: the
// disk and the other snapshot are used as ever, and what needs that table is refused,
// without a change.
func TestSnapshotOutOfPlace(t *testing.T) {
	for name, edit := range map[string]func(f *memFile, record int64){
		"offset invalid": func(f *memFile, record int64) { f.put64(record, 0x400200) },
		"too large":      func(f *memFile, record int64) { f.put32(record+8, 0x10000000) },
	} {
		t.Run(name, func(t *testing.T) {
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
			for _, s := range []string{"bad", "good"} {
				if _, err := im.CreateSnapshot(SnapshotOptions{Name: s}); err != nil {
					t.Fatal(err)
				}
			}
			must(im.WriteV(pattern(2, 512), 0))
			record := int64(im.hdr.snapshots)
			must(im.Close())
			f = f.reopened()
			edit(f, record)
			explainAnything(t, f)

			if _, err := Open(f.reopened(), Options{ReadOnly: true, Snapshot: SnapshotRef{Name: "bad"}}); !errors.Is(err, ErrInvalid) {
				t.Errorf("opened at the snapshot: %v", err)
			}
			im, err = Open(f, Options{})
			must(err)
			defer im.Close()
			must(im.WriteV(pattern(3, 512), 1000))
			for what, err := range map[string]error{
				"apply": im.ApplySnapshot("bad"), "delete": im.DeleteSnapshot("bad"), "downgrade": im.Amend(AmendOptions{Version: 2}),
			} {
				if e := (*ImageError)(nil); !errors.As(err, &e) || e.Problem != "Snapshot L1 table "+name {
					t.Errorf("%s: %v", what, err)
				}
			}
			got := pattern(0, 512)
			must(im.ReadV(got, 0))
			if got[0][0] != pattern(2, 512)[0][0] {
				t.Error("the disk is not what it was")
			}
			said := ""
			res, err := im.Check(CheckOptions{Report: func(line string) { said += line }})
			if err != nil || res.Corruptions != 1 || !strings.Contains(said, "snapshot table entry corrupted") {
				t.Errorf("check: %+v, %v, %s", res, err, said)
			}
			must(im.ApplySnapshot("good"))
			must(im.DeleteSnapshot("good"))
			if _, err := im.CreateSnapshot(SnapshotOptions{Name: "new"}); err != nil {
				t.Error(err)
			}
			must(im.ReadV(got, 0))
			if got[0][0] != pattern(1, 512)[0][0] {
				t.Error("the good snapshot is not what it was")
			}
		})
	}
}
