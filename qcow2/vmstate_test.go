package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// TestOpenAtSnapshot reads disks as they were in snapshots, of another size,
// too, and while the disk itself is something else.
func TestOpenAtSnapshot(t *testing.T) {
	for i, c := range snapshotConfigs() {
		c.o.Size = min(c.o.Size, 80*kib)
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		d := newDisk(t, c, rng)
		w := world{disk: d.model}
		for step := range 40 {
			op := w.resizeStep(rng, c.o, 4, 100*kib)
			if step == 10 || step == 30 {
				op = rootOperation("snapshot", byte(200+step))
			}
			if op.kind == "apply" || c.o.RefcountBits < 16 && op.kind == "compress" {
				continue
			}
			if err := w.do(d.im, op, rng); err != nil {
				t.Fatalf("%v: %v", op, err)
			}
			w.apply(d.im, op)
		}
		if err := d.im.Close(); err != nil {
			t.Fatal(err)
		}
		for _, s := range w.snaps {
			o := d.opts
			o.ReadOnly, o.Snapshot = true, SnapshotRef{Any: s.name}
			im, err := Open(d.f.reopened(), o)
			if err != nil {
				t.Fatal(err)
			}
			if im.Size() != int64(len(s.data)) {
				t.Errorf("%v: a disk of %d bytes, want %d", c, im.Size(), len(s.data))
			}
			if err := compareWith(im, s.data); err != nil {
				t.Errorf("%v: %v", c, err)
			}
			if err := im.WriteV(pattern(1, 512), 0); !errors.Is(err, ErrReadOnly) {
				t.Errorf("a write to a snapshot: %v", err)
			}
			if _, err := im.Check(CheckOptions{}); err == nil {
				t.Error("an image is checked by the L1 table of a snapshot")
			}
		}
	}
}

// TestSnapshotRef chooses among snapshots whose names and IDs are alike.
func TestSnapshotRef(t *testing.T) {
	list := []snapshot{{id: "1", name: "2"}, {id: "2", name: "a"}, {id: "3", name: "a"}}
	for ref, want := range map[SnapshotRef]int{
		{Any: "2"}: 1, {Any: "a"}: 1, {Any: "1"}: 0, {Name: "2"}: 0, {ID: "2"}: 1, {ID: "3", Name: "a"}: 2,
		{ID: "1", Name: "a"}: -1, {Any: "b"}: -1, {ID: "a"}: -1,
	} {
		i, err := ref.find(list)
		if err != nil {
			i = -1
		}
		if i != want || err != nil && !errors.Is(err, ErrNoSnapshot) {
			t.Errorf("%v: %d, %v, want %d", ref, i, err, want)
		}
	}
	f := newImage(t, CreateOptions{})
	if _, err := Open(f, Options{Snapshot: SnapshotRef{Any: "x"}}); err == nil {
		t.Error("a snapshot is opened for writing")
	}
	if _, err := Open(f, Options{ReadOnly: true, Snapshot: SnapshotRef{Any: "x"}}); !errors.Is(err, ErrNoSnapshot) {
		t.Errorf("open at no snapshot: %v", err)
	}
}

// machineState is n bytes, some of them zeroes.
func machineState(n int64) []byte {
	p := make([]byte, n)
	for i := range p {
		if i/5000%3 != 1 {
			p[i] = byte(i ^ i>>8)
		}
	}
	return p
}

// TestVMState keeps the state of a machine in snapshots: it stays what it was,
// and the disk never shows it.
func TestVMState(t *testing.T) {
	for i, c := range snapshotConfigs() {
		c.o.Size = min(c.o.Size, 80*kib)
		t.Run(c.String(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			d := newDisk(t, c, rng)
			states := [][]byte{machineState(300_001), nil, machineState(64 * kib)}
			icount := int64(7)
			for n, state := range states {
				if err := d.im.WriteV(pattern(byte(n+1), 5*kib), 0); err != nil {
					t.Fatal(err)
				}
				copy(d.model, pattern(byte(n+1), 5*kib)[0])
				info, err := d.im.CreateSnapshot(SnapshotOptions{Name: fmt.Sprint("s", n), VMState: iotest.OneByteReader(bytes.NewReader(state)), ICount: &icount})
				if err != nil {
					t.Fatal(err)
				}
				if info.VMStateSize != int64(len(state)) || info.ICount != 7 {
					t.Errorf("%+v", info)
				}
				d.mustBeClean()
				d.compare()
			}
			d.reopen()
			d.compare()
			verify := func(skip int) {
				t.Helper()
				for n, state := range states {
					if n == skip {
						continue
					}
					r, err := d.im.VMState(SnapshotRef{Name: fmt.Sprint("s", n)})
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(r)
					if err != nil || !bytes.Equal(got, state) {
						t.Fatalf("state %d: %d bytes, %v, want %d", n, len(got), err, len(state))
					}
				}
			}
			verify(-1)
			if err := d.im.ApplySnapshot("s0"); err != nil {
				t.Fatal(err)
			}
			verify(-1)
			old, err := d.im.VMState(SnapshotRef{ID: "1"})
			if err != nil {
				t.Fatal(err)
			}
			if c.o.Version == 3 {
				if err := d.im.Resize(c.o.Size + mib); err != nil { // to where the state is
					t.Fatal(err)
				}
				if err := d.im.ReadV(pattern(0, mib), c.o.Size); err != nil {
					t.Fatal(err)
				}
			}
			d.mustBeClean()
			if err := d.im.DeleteSnapshot("s0"); err != nil {
				t.Fatal(err)
			}
			if _, err := old.ReadAt(make([]byte, 10), 0); !errors.Is(err, ErrNoSnapshot) {
				t.Errorf("state of a snapshot that is gone: %v", err)
			}
			verify(0)
			d.reopen()
			verify(0)
			for _, s := range []string{"s1", "s2"} {
				if err := d.im.DeleteSnapshot(s); err != nil {
					t.Fatal(err)
				}
			}
			d.reopen()
		})
	}
}

// TestVMStateFails reads the state from something that breaks, and lets the n-th
// file operation fail: there is no snapshot then, and the image is as before.
func TestVMStateFails(t *testing.T) {
	c := config{o: CreateOptions{Size: 60 * kib, ClusterSize: 512}}
	for n := 0; ; n++ {
		d := newDisk(t, c, rand.New(rand.NewPCG(1, 1)))
		if err := d.im.WriteV(pattern(3, 60*kib), 0); err != nil {
			t.Fatal(err)
		}
		copy(d.model, pattern(3, 60*kib)[0])
		state := io.Reader(bytes.NewReader(machineState(40 * kib)))
		if n == 0 {
			state = io.MultiReader(state, iotest.ErrReader(errInjected))
		} else {
			d.f.failAfter(n)
		}
		_, err := d.im.CreateSnapshot(SnapshotOptions{Name: "s", VMState: state})
		done := n > 0 && !d.f.failed
		d.f.failAfter(0)
		if (err != nil) != (len(d.im.Snapshots()) == 0) {
			t.Fatalf("failure %d: %v, with %d snapshots", n, err, len(d.im.Snapshots()))
		}
		if err := d.im.WriteV(pattern(4, 30*kib), 0); err != nil {
			t.Fatalf("failure %d: %v", n, err)
		}
		copy(d.model, pattern(4, 30*kib)[0])
		d.compare()
		if err := d.im.Close(); err != nil {
			t.Fatal(err)
		}
		if err := consistent(d.f.reopened(), d.opts); err != nil {
			t.Fatalf("failure %d: %v", n, err)
		}
		if done {
			return
		}
	}
}

// TestVMStateWithQEMU hands the state of a machine to qemu-io and back.
func TestVMStateWithQEMU(t *testing.T) {
	l := newLab(t)
	for _, options := range []string{"cluster_size=512", "cluster_size=64k", "compat=0.10"} {
		l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "disk", "3M")
		l.run("qemu-io", "-f", "qcow2", "-c", "write -P 1 1M 100k", "-c", "write -b -P 9 0 300k", "disk") // left behind
		im := l.open("disk", Options{})
		if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s", VMState: bytes.NewReader(pattern(5, 200*kib)[0])}); err != nil {
			t.Fatal(err)
		}
		if err := im.WriteV(pattern(2, 200*kib), mib); err != nil {
			t.Fatal(err)
		}
		l.close(im)
		l.check("disk")
		l.run("qemu-img", "snapshot", "-a", "s", "disk")
		l.run("qemu-io", "-f", "qcow2", "-c", "read -b -P 5 0 200k", "-c", "read -P 1 1M 100k", "disk")
		im = l.open("disk", Options{})
		if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
			t.Fatalf("check: %+v, %v", res, err)
		}
		r, err := im.VMState(SnapshotRef{Any: "s"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, pattern(5, 200*kib)[0]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		// QEMU left the state in the active L1 table, behind the disk.
		if options != "compat=0.10" {
			if err := im.Resize(8 * mib); err != nil {
				t.Fatal(err)
			}
			if got := l.contents(im)[3*mib:]; !allZero(got) {
				t.Error("the machine's state shows in the larger disk")
			}
		}
		l.close(im)
		l.check("disk")
	}
}
