package qcow2

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// history is what a test did to an image while its file recorded: enough to
// tell, for any crash, what each byte of the disk may hold.
type history struct {
	base   []byte      // the file when recording began
	side   []byte      // its external data file, too
	before []byte      // the disk then
	ops    []operation // in order
	log    []fileOp    // with the marks "begin I" and "end I" of each operation
}

// record runs operations on d, which has nothing to flush.
func (d *disk) record(rng *rand.Rand, ops []operation) history {
	d.t.Helper()
	h := history{base: slices.Clone(d.f.data), before: slices.Clone(d.model), ops: ops}
	if d.data != nil {
		h.side = slices.Clone(d.data.data)
	}
	d.f.record = true
	for i, op := range ops {
		d.f.mark(fmt.Sprintf("begin %d", i))
		if err := op.run(d.im, rng); err != nil {
			d.t.Fatalf("%v: %v", op, err)
		}
		op.apply(d.im, d.model)
		d.f.mark(fmt.Sprintf("end %d", i))
	}
	if err := d.im.Close(); err != nil {
		d.t.Fatal(err)
	}
	h.log = d.f.log
	return h
}

// progress says how far the operations were after n entries of the log: the
// first flushed ones are durable, the first begun ones may be.
func (h *history) progress(n int) (flushed, begun int) {
	for _, op := range h.log[:n] {
		if op.kind != opMark {
			continue
		}
		word, number, _ := strings.Cut(string(op.data), " ")
		i, err := strconv.Atoi(number)
		if err != nil {
			continue
		}
		if word == "begin" {
			begun = i + 1
		} else if h.ops[i].kind == "flush" {
			flushed = i
		}
	}
	return flushed, begun
}

// crashed returns what a crash after n entries of the log left, and options to
// open that. keep decides what is left of all that was not synced.
func (h *history) crashed(n int, keep func() int, o Options) ([]byte, Options) {
	image := crash(h.base, h.log, n, keep)
	if o.DataFile != nil {
		data := &memFile{data: crashFile(h.side, h.log, n, keep, true)}
		o.DataFile = func(string) (File, error) { data.closed = false; return data, nil }
	}
	return image, o
}

// survives checks what a crash after n entries of the log left: the image is
// consistent but for leaks; each byte is as after the last flush, or as a later
// operation made it; and it can be written on.
func (h *history) survives(n int, data []byte, o Options) error {
	f := &memFile{data: data}
	im, err := Open(f, o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	var findings []string
	res, err := im.Check(CheckOptions{Report: func(s string) { findings = append(findings, s) }})
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if res.Corruptions != 0 || res.CheckErrors != 0 {
		return fmt.Errorf("check: %+v: %q", res, findings)
	}
	got := borrow(len(h.before))
	defer giveBack(got)
	if err := im.ReadV([][]byte{got}, 0); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if err := im.readsRaw(); err != nil {
		return err
	}
	flushed, begun := h.progress(n)
	want := borrowCopy(h.before)
	defer giveBack(want)
	for _, op := range h.ops[:flushed] {
		op.apply(im, want)
	}
	bad := differences(got, want)
	for _, op := range h.ops[flushed:begun] {
		if op.apply(im, want); len(bad) == 0 {
			continue
		}
		bad = slices.DeleteFunc(bad, func(i int) bool {
			return int64(i) >= op.off && int64(i) < op.off+op.n && got[i] == want[i]
		})
	}
	if len(bad) > 0 {
		return fmt.Errorf("byte %#x is %#02x, which it never was since the last flush", bad[0], got[bad[0]])
	}
	if err := im.WriteV(pattern(0xee, int64(len(got))), 0); err != nil {
		return fmt.Errorf("write after the crash: %w", err)
	}
	if err := im.Close(); err != nil {
		return err
	}
	f.closed = false
	err = consistent(f, o)
	giveBack(f.data)
	return err
}

// consistent checks that an image has no errors, leaks aside.
func consistent(f *memFile, o Options) error {
	im, err := Open(f, o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	res, err := im.Check(CheckOptions{})
	if err != nil {
		return err
	}
	if res.Corruptions != 0 || res.CheckErrors != 0 {
		return fmt.Errorf("not consistent: %+v", res)
	}
	return nil
}

// TestCrash stops the machine at every write of random runs, with what was not
// synced kept in order, lost, or kept in random parts.
func TestCrash(t *testing.T) {
	rounds, samples := scale(2, 20), scale(3, 10)
	if raceDetector {
		rounds, samples = scale(1, 4), scale(1, 3) // one goroutine, and everything takes ten times as long
	}
	for i, c := range allConfigs() {
		c.o.Size = min(c.o.Size, 16*c.o.ClusterSize, 256*kib)
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			states := 0
			for round := range rounds {
				rng := rand.New(rand.NewPCG(seed, uint64(i*1000+round)))
				d := newDisk(t, c, rng)
				d.f.noPunch = round%2 == 0
				for range 6 {
					op := randomOperation(rng, c.o.Size, c.o.ClusterSize)
					if err := op.run(d.im, rng); err != nil {
						t.Fatalf("%v: %v", op, err)
					}
					op.apply(d.im, d.model)
				}
				d.reopen()
				var ops []operation
				for len(ops) < 12 {
					ops = append(ops, randomOperation(rng, c.o.Size, c.o.ClusterSize))
				}
				h := d.record(rng, ops)
				for n := range len(h.log) + 1 {
					for s := range samples + 1 {
						keep := inOrder
						if s > 0 {
							keep = randomly(rng)
						}
						data, o := h.crashed(n, keep, d.opts)
						if err := h.survives(n, data, o); err != nil {
							t.Fatalf("round %d, crash after %d of %v (sample %d), operations %v: %v",
								round, n, h.log, s, h.ops, err)
						}
						states++
					}
				}
			}
			t.Logf("%d crash states", states)
		})
	}
}

// TestFailures lets the n-th operation on the file fail, for n from 1 until a
// whole run succeeds. Whatever fails says so; the image stays usable, and after
// a restart it is consistent and holds what was flushed.
func TestFailures(t *testing.T) {
	stride := 1
	if raceDetector {
		stride = 5
	}
	for i, c := range allConfigs() {
		c.o.Size = min(c.o.Size, 16*c.o.ClusterSize, 256*kib)
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			for n := 1; ; n += stride {
				rng := rand.New(rand.NewPCG(seed, uint64(i)))
				d := newDisk(t, c, rng)
				if done := d.failNth(rng, c, n); done {
					t.Logf("%d operations", n-1)
					return
				}
			}
		})
	}
}

// failNth runs random operations of which the n-th file operation fails, and
// reports whether there were fewer.
func (d *disk) failNth(rng *rand.Rand, c config, n int) (done bool) {
	t := d.t
	d.f.failAfter(n)
	unsure := make([]bool, len(d.model)) // by an operation that failed
	failures := 0
	for range 25 {
		op := randomOperation(rng, c.o.Size, c.o.ClusterSize)
		err := op.run(d.im, rng)
		op.apply(d.im, d.model)
		if err != nil {
			failures++
		}
		if op.kind == "write" || op.kind == "zero" || op.kind == "unmap" || err != nil {
			for i := op.off; i < op.off+op.n; i++ {
				unsure[i] = err != nil
			}
		}
	}
	done = !d.f.failed
	d.f.failAfter(0)
	if err := d.im.Flush(); err != nil {
		t.Fatalf("failure %d: the next flush fails, too: %v", n, err)
	}
	got := make([]byte, len(d.model))
	if err := d.im.ReadV([][]byte{got}, 0); err != nil {
		t.Fatalf("failure %d: the next read fails, too: %v", n, err)
	}
	for i := range got {
		if !unsure[i] && got[i] != d.model[i] {
			t.Fatalf("failure %d: byte %#x is %#02x, want %#02x", n, i, got[i], d.model[i])
		}
	}
	if err := d.im.Close(); err != nil {
		t.Fatalf("failure %d: close: %v", n, err)
	}
	if err := consistent(d.f.reopened(), d.opts); err != nil {
		t.Fatalf("failure %d: %v", n, err)
	}
	if done && failures > 0 {
		t.Fatalf("%d operations failed, though no file operation did", failures)
	}
	return done
}
