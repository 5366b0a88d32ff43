package qcow2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestRepairSnapshotTable damages the records of snapshots in the ways that are
// known: a check finds them, a repair makes them good as far as that goes, and
// qemu-img agrees.
func TestRepairSnapshotTable(t *testing.T) {
	be := binary.BigEndian
	for _, tt := range []struct {
		name   string
		damage func(table []byte, first, second int64) // offsets of records in the table
		finds  string
		unread bool // only a repair can read the table
		stays  bool // no repair
		names  string
	}{
		{"nothing", func([]byte, int64, int64) {}, "", false, false, "one two"},
		{"too much extra data", func(table []byte, _, second int64) { be.PutUint32(table[second+36:], 2000) },
			"Discarding too much extra metadata in snapshot table entry 1 (2000 > 1024)", true, false, ""},
		{"beyond all limits", func(table []byte, _, second int64) { be.PutUint32(table[second+36:], 0xfffffff0) },
			"Discarding 1 overhanging snapshots (snapshot table is too big)", true, false, "one"},
		{"L1 table unaligned", func(table []byte, first, _ int64) { be.PutUint64(table[first:], be.Uint64(table[first:])+512) },
			"L1 table is not cluster aligned; snapshot table entry corrupted", false, true, ""},
		{"L1 table too large", func(table []byte, first, _ int64) { be.PutUint32(table[first+8:], 0x10000000) },
			"L1 table is too large; snapshot table entry corrupted", false, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newImage(t, CreateOptions{})
			im, err := Open(f, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"one", "two"} {
				if _, err := im.CreateSnapshot(SnapshotOptions{Name: name}); err != nil {
					t.Fatal(err)
				}
			}
			table, second := int64(im.hdr.snapshots), im.snaps[0].record
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			f = f.reopened()
			tt.damage(f.data[table:table+64*kib], 0, second)
			damaged := f.reopened()
			if im, err = Open(f, Options{ForRepair: true}); err != nil {
				t.Fatal(err)
			}
			var lines []string
			report := func(s string) { lines = append(lines, s) }
			res, err := im.Check(CheckOptions{Report: report})
			if (err != nil) != tt.unread || tt.unread && res.CheckErrors != 1 {
				t.Errorf("check: %+v, %v", res, err)
			}
			if _, err = im.Check(CheckOptions{Repair: RepairAll, Report: report}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(lines, "\n"), tt.finds) {
				t.Errorf("%q, want %q", lines, tt.finds)
			}
			res, err = im.Check(CheckOptions{})
			if err != nil || res.Clean() == tt.stays {
				t.Fatalf("after a repair: %+v, %v", res, err)
			}
			if tt.stays {
				return
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			l := newLab(t)
			for name, m := range map[string]*memFile{"ours": f, "theirs": damaged} {
				if err := os.WriteFile(l.path(name), m.data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			l.check("ours")
			if out, err := exec.Command("qemu-img", "check", "-r", "all", l.path("theirs")).CombinedOutput(); err != nil || !strings.Contains(string(out), tt.finds) {
				t.Errorf("qemu-img says %s, %v, want %q", out, err, tt.finds)
			}
			if ours, theirs := l.run("qemu-img", "snapshot", "-l", "ours"), l.run("qemu-img", "snapshot", "-l", "theirs"); tt.names != "" && ours != theirs {
				t.Errorf("snapshots:\n%s\nqemu-img has:\n%s", ours, theirs)
			}
			if tt.names == "" {
				return
			}
			im = l.open("ours", Options{})
			var names []string
			for _, s := range im.Snapshots() {
				names = append(names, s.Name)
			}
			if got := fmt.Sprint(names); got != "["+tt.names+"]" {
				t.Errorf("snapshots %s, want %s", got, tt.names)
			}
			l.close(im)
		})
	}
}

// TestIncompleteSnapshot checks a version 3 image with a snapshot that does not
// say how large its disk is, as version 2 had them.
func TestIncompleteSnapshot(t *testing.T) {
	l := newLab(t)
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "disk", "1M")
	l.run("qemu-img", "snapshot", "-c", "s", "disk")
	data, err := os.ReadFile(l.path("disk"))
	if err != nil {
		t.Fatal(err)
	}
	f := &memFile{data: append(data, make([]byte, 100)...)}
	table := int64(f.get64(64))
	record := f.data[table : table+100]
	copy(record[40:], append(record[64:66:66], make([]byte, 30)...)) // ID and name, without extra data
	clear(record[36:40])
	if err := os.WriteFile(l.path("disk"), f.data, 0o644); err != nil {
		t.Fatal(err)
	}
	im := l.open("disk", Options{})
	var lines []string
	o := CheckOptions{Report: func(s string) { lines = append(lines, s) }}
	res, err := im.Check(o)
	if theirs := l.qemuCheck("disk"); err != nil || res.Corruptions != 1 || theirs.Corruptions != res.Corruptions {
		t.Errorf("%+v, %v, qemu-img %+v", res, err, theirs)
	}
	o.Repair = RepairAll
	if res, err = im.Check(o); err != nil || res.Corruptions != 0 || res.CorruptionsFixed != 1 {
		t.Errorf("repair: %+v, %v", res, err)
	}
	if want := []string{"ERROR snapshot table entry 0 is incomplete", "Repairing snapshot table entry 0 is incomplete"}; fmt.Sprint(lines) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", lines, want)
	}
	l.close(im)
	l.check("disk")
	if out := l.run("qemu-img", "snapshot", "-l", "disk"); !strings.Contains(out, " s ") {
		t.Errorf("the snapshot is gone: %s", out)
	}
}

// TestRepairKeepsSnapshotsThatFit repairs a table that is too large for as long as one of its
// records has too much extra data: only what does not fit without that is dropped.
func TestRepairKeepsSnapshotsThatFit(t *testing.T) {
	f := newImage(t, CreateOptions{})
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two", "three"} {
		if _, err := im.CreateSnapshot(SnapshotOptions{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	table, first, second := int64(im.hdr.snapshots), im.snaps[0].record, im.snaps[1].record
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	f = f.reopened()
	// The second record becomes longer than a table may be, and the third lies behind it.
	const extra = maxSnapshotBytes
	record := bytes.Clone(f.data[table+first : table+first+second])
	rest := bytes.Clone(f.data[table+first+second : table+first+second+72])
	at := int64(len(f.data))
	f.data = append(f.data, make([]byte, extra+64*kib)...)
	copy(f.data[at:], f.data[table:table+first])
	binary.BigEndian.PutUint32(record[36:], extra)
	copy(f.data[at+first:], record[:snapshotMinSize+snapshotExtra])
	names := record[snapshotMinSize+snapshotExtra:]
	copy(f.data[at+first+snapshotMinSize+extra:], names)
	copy(f.data[(at+first+snapshotMinSize+extra+int64(len("2two"))+7)&^7:], rest)
	binary.BigEndian.PutUint64(f.data[hdrSnapshots+4:], uint64(at))
	if im, err = Open(f, Options{ForRepair: true}); err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if _, err := im.Check(CheckOptions{Repair: RepairAll}); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, s := range im.Snapshots() {
		left = append(left, s.Name)
	}
	if got := strings.Join(left, " "); got != "one two three" {
		t.Errorf("left are %q", got)
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		t.Errorf("after the repair: %+v, %v", res, err)
	}
}
