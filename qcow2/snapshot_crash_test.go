package qcow2

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// snapshotHistory is a history in which snapshots come and go. states holds the
// model before each operation, and after the last.
type snapshotHistory struct {
	history
	states []world
}

// recordWorld runs operations on an image that has nothing to flush.
func (d *disk) recordWorld(w *world, rng *rand.Rand, ops []operation) snapshotHistory {
	d.t.Helper()
	h := snapshotHistory{history: history{base: slices.Clone(d.f.data), ops: ops}}
	if d.data != nil {
		h.side = slices.Clone(d.data.data)
	}
	d.f.record = true
	for i, op := range ops {
		h.states = append(h.states, w.clone())
		d.f.mark(fmt.Sprintf("begin %d", i))
		if err := w.do(d.im, op, rng); err != nil {
			d.t.Fatalf("%v: %v", op, err)
		}
		w.apply(d.im, op)
		d.f.mark(fmt.Sprintf("end %d", i))
	}
	h.states = append(h.states, w.clone())
	if err := d.im.Close(); err != nil {
		d.t.Fatal(err)
	}
	h.log = d.f.log
	return h
}

// durable returns the number of operations that are durable after n entries of
// the log, and of those that may be.
func (h *snapshotHistory) durable(n int) (durable, begun int) {
	for i := range h.ops {
		if !marked(h.log[:n], fmt.Sprintf("begin %d", i)) {
			break
		}
		begun = i + 1
		if marked(h.log[:n], fmt.Sprintf("end %d", i)) && (h.ops[i].kind == "flush" || h.ops[i].onSnapshots()) {
			durable = i + 1
		}
	}
	return durable, begun
}

// marked reports whether a mark is in a log.
func marked(log []fileOp, mark string) bool {
	return slices.ContainsFunc(log, func(op fileOp) bool { return op.kind == opMark && string(op.data) == mark })
}

// survives checks what a crash after n entries of the log left. Each operation
// on snapshots was done or it was not; what was written around it is there.
func (h *snapshotHistory) survives(n int, data []byte, o Options) error {
	im, err := Open(&memFile{data: data}, o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	var findings []string
	res, err := im.Check(CheckOptions{Report: func(s string) { findings = append(findings, s) }})
	if err != nil || res.Corruptions != 0 || res.CheckErrors != 0 {
		return fmt.Errorf("check: %+v, %w: %q", res, err, findings)
	}
	if err := im.readsRaw(); err != nil {
		return err
	}
	durable, begun := h.durable(n)
	err = h.matches(im, durable, begun)
	for to := begun - 1; to >= durable && err != nil; to-- {
		err = h.matches(im, durable, to)
	}
	if err != nil {
		return err
	}
	if err := im.WriteV(pattern(0xee, im.Size()), 0); err != nil {
		return fmt.Errorf("write after the crash: %w", err)
	}
	w := h.states[begun]
	for s := durable; s <= begun; s++ {
		if h.states[s].sameSnapshots(im) == nil {
			w = h.states[s]
		}
	}
	if err := w.snapshotsHold(im); err != nil {
		return err
	}
	if _, err := im.Check(CheckOptions{Repair: RepairLeaks}); err != nil {
		return err
	}
	if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
		return fmt.Errorf("after deleting all snapshots: %+v, %w", res, err)
	}
	return im.Close()
}

// matches holds an image against states[from:to+1] of the model: all operations
// on snapshots among them are done. Of the writes since, any part may be.
func (h *snapshotHistory) matches(im *Image, from, to int) error {
	if err := h.states[to].sameSnapshots(im); err != nil {
		return err
	}
	for i := from; i < to; i++ {
		if h.ops[i].onSnapshots() {
			from = i + 1
		}
	}
	got := borrow(len(h.states[to].disk))
	defer giveBack(got)
	if err := im.ReadV([][]byte{got}, 0); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	bad := differences(got, h.states[to].disk)
	for s := from; s < to && len(bad) > 0; s++ {
		bad = slices.DeleteFunc(bad, func(i int) bool { return got[i] == h.states[s].disk[i] })
	}
	if len(bad) > 0 {
		return fmt.Errorf("byte %#x is %#02x, which it never was since the last flush", bad[0], got[bad[0]])
	}
	return nil
}

// TestCrashSnapshots stops the machine at every write of runs that create,
// apply and delete snapshots, with every subset of what was not synced as far
// as there are not too many.
func TestCrashSnapshots(t *testing.T) {
	for i, c := range snapshotConfigs() {
		c.o.Size = min(c.o.Size, 80*kib)
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			d := newDisk(t, c, rng)
			d.f.noPunch = i%2 == 0
			w := world{disk: d.model}
			do := func(op operation) {
				if err := w.do(d.im, op, rng); err != nil {
					t.Fatalf("%v: %v", op, err)
				}
				w.apply(d.im, op)
			}
			write := func() operation { return randomOperation(rng, c.o.Size, c.o.ClusterSize) }
			for range 6 {
				do(write())
			}
			do(rootOperation("snapshot", 1))
			for range 3 {
				do(write())
			}
			d.reopen()
			h := d.recordWorld(&w, rng, []operation{
				write(), rootOperation("snapshot", 2),
				write(), write(), rootOperation("apply", 1),
				write(), rootOperation("delete", 1),
				write(), {kind: "flush"}, write(), rootOperation("delete", 2), write(),
			})
			most := 4
			if raceDetector {
				most = 0
			} else if c.o.ClusterSize > 4096 {
				most = 1 // these take longer
			}
			states, stride := 0, everyNth(3)
			for n := rng.IntN(stride); n <= len(h.log); n += stride {
				for _, keep := range subsets(h.log[:n], most, rng) {
					states++
					if err := h.survives(n, crash(h.base, h.log, n, keep), d.opts); err != nil {
						t.Fatalf("crash after %d of %v, operations %v: %v", n, h.log, h.ops, err)
					}
				}
			}
			t.Logf("%d crash states", states)
		})
	}
}

// TestCrashSnapshotGrowsTable makes a snapshot that needs a longer refcount
// table, with a crash at some of its writes.
func TestCrashSnapshotGrowsTable(t *testing.T) {
	const cs = 512
	const table = 64 * 64 // clusters that a refcount table of one cluster counts (64 bit)
	rng := rand.New(rand.NewPCG(1, 2))
	d := newDisk(t, config{o: CreateOptions{Size: (table - 170) * cs, ClusterSize: cs, RefcountBits: 64}}, rng)
	w := world{disk: d.model}
	fill := operation{"write", 0, (table - 170) * cs, 7}
	if err := fill.run(d.im, rng); err != nil {
		t.Fatal(err)
	}
	fill.apply(d.im, d.model)
	d.reopen()
	before := d.im.hdr.refClusters
	h := d.recordWorld(&w, rng, []operation{rootOperation("snapshot", 1), {"write", 0, 2 * cs, 8}})
	if d.im.hdr.refClusters <= before {
		t.Fatal("the refcount table did not grow")
	}
	stride := 9
	if raceDetector {
		stride = 100
	}
	for n := 0; n <= len(h.log); n += stride {
		for _, keep := range []func() int{inOrder, randomly(rng)} {
			if err := h.survives(n, crash(h.base, h.log, n, keep), d.opts); err != nil {
				t.Fatalf("crash after %d of %d writes: %v", n, len(h.log), err)
			}
		}
	}
}

// TestSnapshotFailures lets the n-th file operation in the creation, the
// application or the deletion of a snapshot fail, for n from 1 until none is
// left. Nothing has happened then; the next attempt succeeds.
func TestSnapshotFailures(t *testing.T) {
	for i, c := range snapshotConfigs() {
		c.o.Size = min(c.o.Size, 80*kib)
		for _, kind := range []string{"snapshot", "apply", "delete"} {
			t.Run(c.String()+","+kind, func(t *testing.T) {
				t.Parallel()
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				stride := everyNth(4)
				for n := 1 + int(seed%uint64(stride)); ; n += stride {
					rng := rand.New(rand.NewPCG(seed, uint64(i)))
					if done := failSnapshot(t, c, rng, kind, n); done {
						t.Logf("%d operations", n-1)
						return
					}
				}
			})
		}
	}
}

// failSnapshot lets the n-th file operation of an operation on snapshots fail,
// and reports whether there were fewer.
func failSnapshot(t *testing.T, c config, rng *rand.Rand, kind string, n int) (done bool) {
	d := newDisk(t, c, rng)
	w := world{disk: d.model}
	for i := range 20 {
		op := randomOperation(rng, c.o.Size, c.o.ClusterSize)
		if i == 8 || i == 12 {
			op = rootOperation("snapshot", byte(i))
		}
		if err := w.do(d.im, op, rng); err != nil {
			t.Fatalf("%v: %v", op, err)
		}
		w.apply(d.im, op)
	}
	op := rootOperation(kind, 8)
	if kind == "snapshot" {
		op.fill = 99
	}
	d.f.failAfter(n)
	err := w.do(d.im, op, rng)
	done = !d.f.failed
	d.f.failAfter(0)
	if err == nil {
		w.apply(d.im, op) // what failed was only the freeing
	}
	verify := func(when string) {
		t.Helper()
		if err := w.sameSnapshots(d.im); err != nil {
			t.Fatalf("failure %d, %s: %v", n, when, err)
		}
		if err := compareWith(d.im, w.disk); err != nil {
			t.Fatalf("failure %d, %s: %v", n, when, err)
		}
	}
	verify("after the failure")
	if err != nil {
		if err := w.do(d.im, op, rng); err != nil {
			t.Fatalf("failure %d: the next attempt fails, too: %v", n, err)
		}
		w.apply(d.im, op)
	}
	for range 5 {
		op := randomOperation(rng, c.o.Size, c.o.ClusterSize)
		if err := w.do(d.im, op, rng); err != nil {
			t.Fatalf("failure %d, %v: %v", n, op, err)
		}
		w.apply(d.im, op)
	}
	verify("after the next attempt")
	if err := d.im.Close(); err != nil {
		t.Fatalf("failure %d: close: %v", n, err)
	}
	if err := consistent(d.f.reopened(), d.opts); err != nil {
		t.Fatalf("failure %d: %v", n, err)
	}
	d.f = d.f.reopened()
	d.open()
	verify("after reopening")
	if err := w.snapshotsHold(d.im); err != nil {
		t.Fatalf("failure %d: %v", n, err)
	}
	return done
}

// TestHeaderLost lets the switch to the new state fail, and the attempt to
// restore the old one: nothing may be written until that succeeds.
func TestHeaderLost(t *testing.T) {
	for _, reached := range []bool{false, true} {
		f := &headerFile{memFile: new(memFile)}
		if err := Create(f, CreateOptions{Size: mib}); err != nil {
			t.Fatal(err)
		}
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.WriteV(pattern(1, mib), 0); err != nil {
			t.Fatal(err)
		}
		f.broken, f.reached = true, reached
		if _, err := im.CreateSnapshot(SnapshotOptions{Name: "a"}); err == nil {
			t.Fatal("the snapshot was made without a header")
		}
		if err := im.WriteV(pattern(2, 512), 0); err == nil {
			t.Error("a write is accepted though nobody knows which state is on disk")
		}
		if _, err := im.Check(CheckOptions{Repair: RepairAll}); err == nil {
			t.Error("a repair is begun though nobody knows which state is on disk")
		}
		if err := compareWith(im, pattern(1, mib)[0]); err != nil {
			t.Error(err)
		}
		f.broken = false
		if _, err := im.CreateSnapshot(SnapshotOptions{Name: "a"}); err != nil {
			t.Fatal(err)
		}
		if err := im.WriteV(pattern(2, mib), 0); err != nil {
			t.Fatal(err)
		}
		if err := im.ApplySnapshot("a"); err != nil {
			t.Fatal(err)
		}
		if err := compareWith(im, pattern(1, mib)[0]); err != nil {
			t.Error(err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		if err := consistent(f.reopened(), Options{}); err != nil {
			t.Fatal(err)
		}
	}
}

// headerFile fails writes to the first sector while broken is set, after they
// were done if reached is.
type headerFile struct {
	*memFile
	broken, reached bool
}

func (f *headerFile) WriteV(bufs [][]byte, off int64) error {
	if !f.broken || off >= sectorSize {
		return f.memFile.WriteV(bufs, off)
	}
	if f.reached {
		f.reached = false // later ones are lost
		if err := f.memFile.WriteV(bufs, off); err != nil {
			return err
		}
	}
	return errInjected
}
