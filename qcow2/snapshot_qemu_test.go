package qcow2

import (
	"fmt"
	"strings"
	"testing"
)

// TestSnapshotsWithQEMU lets this package and QEMU's tools create, apply, list
// and delete the snapshots of one image in turn.
func TestSnapshotsWithQEMU(t *testing.T) {
	for _, options := range []string{"cluster_size=512", "cluster_size=64k", "compat=0.10", "cluster_size=4k,refcount_bits=32", "cluster_size=2M,refcount_bits=64"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "disk", "3M")
			w := world{disk: make([]byte, 3*mib)}
			for step := range 24 {
				op := w.randomStep(rng, 4096, 1)
				switch qemu := rng.IntN(2) == 0; {
				case qemu && op.kind == "snapshot":
					l.run("qemu-img", "snapshot", "-c", op.name(), "disk")
				case qemu && op.kind == "apply":
					l.run("qemu-img", "snapshot", "-a", op.name(), "disk")
				case qemu && op.kind == "delete":
					l.run("qemu-img", "snapshot", "-d", op.name(), "disk")
				default:
					im := l.open("disk", Options{})
					l.scribble(im, w.disk, rng, 15)
					if err := w.do(im, op, rng); err != nil {
						t.Fatalf("step %d, %v: %v", step, op, err)
					}
					w.apply(im, op)
					l.scribble(im, w.disk, rng, rng.IntN(2)*10)
					l.close(im)
					l.check("disk")
					l.equals("disk", w.disk)
					l.holdsSnapshots("disk", &w)
					continue
				}
				im := l.open("disk", Options{})
				w.apply(im, op)
				if err := compareWith(im, w.disk); err != nil {
					t.Fatalf("step %d, %v by QEMU: %v", step, op, err)
				}
				if err := w.sameSnapshots(im); err != nil {
					t.Fatalf("step %d, %v by QEMU: %v", step, op, err)
				}
				if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
					t.Fatalf("step %d, %v by QEMU: check: %+v, %v", step, op, res, err)
				}
				l.close(im)
			}
			im := l.open("disk", Options{})
			if err := w.snapshotsHold(im); err != nil {
				t.Fatal(err)
			}
			l.close(im)
			l.check("disk")
		})
	}
}

// holdsSnapshots has qemu-img list the snapshots and read them.
func (l *lab) holdsSnapshots(name string, w *world) {
	l.t.Helper()
	out := l.run("qemu-img", "snapshot", "-l", name)
	for _, s := range w.snaps {
		if !strings.Contains(out, " "+s.name+" ") {
			l.t.Fatalf("qemu-img does not list %s:\n%s", s.name, out)
		}
		l.run("qemu-img", "convert", "-f", "qcow2", "-l", s.name, "-O", "qcow2", name, "saved")
		l.equals("saved", s.data)
	}
	if n := strings.Count(out, "\n"); len(w.snaps) > 0 && n != len(w.snaps)+2 {
		l.t.Fatalf("qemu-img lists %d lines for %d snapshots:\n%s", n, len(w.snaps), out)
	}
}

// TestSnapshotOfAnotherSize applies snapshots that QEMU made of a disk that was
// smaller, and larger, and one with compressed clusters.
func TestSnapshotOfAnotherSize(t *testing.T) {
	l := newLab(t)
	rng := seeded(t)
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "plain", "3M")
	l.run("qemu-io", "-f", "qcow2", "-c", "write -P 7 100k 1M", "plain")
	l.run("qemu-img", "convert", "-c", "-O", "qcow2", "-o", "cluster_size=512", "plain", "disk")
	want := map[string][]byte{}
	for i, size := range []string{"3M", "8M", "1536k"} {
		l.run("qemu-img", "resize", "-q", "--shrink", "disk", size)
		im := l.open("disk", Options{})
		name := fmt.Sprint("of ", size)
		want[name] = l.contents(im)
		l.close(im)
		l.run("qemu-img", "snapshot", "-c", name, "disk")
		l.run("qemu-io", "-f", "qcow2", "-c", fmt.Sprintf("write -P %d 0 1M", i+20), "disk")
	}
	im := l.open("disk", Options{})
	for _, name := range []string{"of 8M", "of 1536k", "of 3M"} {
		if err := im.ApplySnapshot(name); err != nil {
			t.Fatal(err)
		}
		if im.Size() != int64(len(want[name])) {
			t.Errorf("%s: %d bytes", name, im.Size())
		}
		if err := compareWith(im, want[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
			t.Fatalf("%s: check: %+v, %v", name, res, err)
		}
		model := append([]byte(nil), want[name]...)
		l.scribble(im, model, rng, 20)
		if err := compareWith(im, model); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.close(im)
	l.check("disk")
}
