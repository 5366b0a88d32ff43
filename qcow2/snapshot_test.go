package qcow2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// snapshotConfigs are the image options with refcounts wide enough for
// snapshots.
func snapshotConfigs() []config {
	var list []config
	for _, c := range soloConfigs() {
		if c.o.RefcountBits > 2 {
			list = append(list, c)
		}
	}
	return list
}

// TestRandomSnapshots holds images with snapshots against a plain model.
func TestRandomSnapshots(t *testing.T) {
	for i, c := range snapshotConfigs() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			d := newDisk(t, c, rng)
			d.opts.L2CacheSize, d.opts.RefcountCacheSize = 1, 1
			d.reopen()
			w := world{disk: d.model}
			for step := range 300 {
				op := w.randomStep(rng, max(c.o.ClusterSize, 4096), 6)
				switch err := w.do(d.im, op, rng); {
				case (op.kind == "snapshot" || op.kind == "apply") && c.o.RefcountBits < 16 && errors.Is(err, ErrTooLarge):
					// Narrow refcounts and compressed clusters that share a
					// host cluster: refused, and nothing has changed.
					d.mustBeClean()
				case err != nil:
					t.Fatalf("step %d, %v: %v", step, op, err)
				default:
					w.apply(d.im, op)
				}
				if op.onSnapshots() {
					d.mustBeClean()
					if err := w.sameSnapshots(d.im); err != nil {
						t.Fatalf("step %d, %v: %v", step, op, err)
					}
				}
				if step%75 == 74 {
					d.reopen()
				}
				if step%15 == 14 {
					if err := compareWith(d.im, w.disk); err != nil {
						t.Fatalf("step %d, %v: %v", step, op, err)
					}
				}
			}
			if err := w.snapshotsHold(d.im); err != nil {
				t.Fatal(err)
			}
			d.reopen() // and clean
		})
	}
}

// TestSnapshotsUnderLoad makes, applies and deletes snapshots while writers
// fill their parts of the disk with one value after the other: a snapshot
// holds what each had finished, and applying one takes nothing apart.
func TestSnapshotsUnderLoad(t *testing.T) {
	for _, c := range []config{
		{o: CreateOptions{Size: 512 * kib, ClusterSize: 512}},
		{o: CreateOptions{Size: 2 * mib, ClusterSize: 64 * kib}},
	} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			const workers = 8
			d := newDisk(t, c, rand.New(rand.NewPCG(1, 1)))
			share := c.o.Size / workers
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for worker := range int64(workers) {
				wg.Go(func() {
					for fill := byte(1); ; fill++ {
						select {
						case <-stop:
							return
						default:
						}
						if err := d.im.WriteV(pattern(fill, share), worker*share); err != nil {
							t.Errorf("worker %d: %v", worker, err)
							return
						}
						if fill%16 == 0 {
							if err := d.im.Flush(); err != nil {
								t.Errorf("worker %d: %v", worker, err)
							}
						}
					}
				})
			}
			for i := range 12 {
				name := fmt.Sprint("n", i)
				if _, err := d.im.CreateSnapshot(SnapshotOptions{Name: name}); err != nil {
					t.Fatal(err)
				}
				if i%3 == 1 {
					if err := d.im.ApplySnapshot(name); err != nil {
						t.Fatal(err)
					}
				}
				if i%4 == 3 {
					if err := d.im.DeleteSnapshot(fmt.Sprint("n", i-2)); err != nil {
						t.Fatal(err)
					}
				}
			}
			close(stop)
			wg.Wait()
			d.mustBeClean()
			for _, s := range d.im.Snapshots() {
				if err := d.im.ApplySnapshot(s.ID); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, c.o.Size)
				if err := d.im.ReadV([][]byte{got}, 0); err != nil {
					t.Fatal(err)
				}
				for i, b := range got {
					if b != got[int64(i)/share*share] {
						t.Fatalf("snapshot %s: byte %#x is %d, in the middle of a write of %d", s.Name, i, b, got[int64(i)/share*share])
					}
				}
			}
			d.reopen()
		})
	}
}

// TestSnapshotFields makes snapshots with all that a record holds.
func TestSnapshotFields(t *testing.T) {
	d := newDisk(t, config{o: CreateOptions{Size: mib}}, nil)
	date := time.Unix(1700000000, 123456789)
	made, err := d.im.CreateSnapshot(SnapshotOptions{Name: "before the update", Date: date, VMClock: 90 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.im.Close(); err != nil {
		t.Fatal(err)
	}
	d.f = d.f.reopened()
	d.open()
	list := d.im.Snapshots()
	want := SnapshotInfo{ID: "1", Name: "before the update", Date: date, VMClock: 90 * time.Minute, DiskSize: mib, ICount: -1}
	if len(list) != 1 || list[0] != want || made != want {
		t.Fatalf("made %+v, listed %+v, want %+v", made, list, want)
	}
}

// TestSnapshotRecordIsKept rewrites a record with fields of a later version.
func TestSnapshotRecordIsKept(t *testing.T) {
	s := snapshot{
		l1Offset: 0x30000, l1Size: 7, id: "17", name: "n", dateSec: 1, dateNsec: 2, vmClock: 3,
		vmState: 1 << 33, diskSize: 5 << 20, icount: 6, laterData: []byte("a field of the future"),
	}
	b := s.marshal(nil)
	got, err := readSnapshot(strings.NewReader(string(b)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if again := string(got.marshal(nil)); again != string(b) || got.record != int64(len(b)) || len(b)%8 != 0 {
		t.Fatalf("record of %d bytes\n%x\nread as %+v and written as\n%x", got.record, b, got, again)
	}
}

// TestSnapshotNamesEndAtNUL lists, as QEMU does, what of names comes before a NUL, and
// chooses by that. In the image they stay as they are.
func TestSnapshotNamesEndAtNUL(t *testing.T) {
	s := snapshot{id: "7\x00\x00", name: "a\x00b"}
	if i := s.info(); i.ID != "7" || i.Name != "a" {
		t.Errorf("listed as %q, %q", i.ID, i.Name)
	}
	if !hasID("7")(s) || !hasName("a")(s) || hasName("a\x00b")(s) {
		t.Error("not found by what is listed")
	}
	if id := nextSnapshotID([]snapshot{s}); id != "8" {
		t.Errorf("the next is %q", id)
	}
	if b := string(s.marshal(nil)); !strings.Contains(b, "7\x00\x00a\x00b") {
		t.Errorf("written as %q", b)
	}
}

// TestSnapshotNames chooses snapshots by ID and name.
func TestSnapshotNames(t *testing.T) {
	d := newDisk(t, config{o: CreateOptions{Size: mib}}, nil)
	for i, name := range []string{"2", "x", "x"} {
		if err := d.im.WriteV(pattern(byte(i+1), 512), 0); err != nil {
			t.Fatal(err)
		}
		if s, err := d.im.CreateSnapshot(SnapshotOptions{Name: name}); err != nil || s.ID != fmt.Sprint(i+1) {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	apply := func(which string, want byte) {
		t.Helper()
		got := make([]byte, 1)
		if err := errors.Join(d.im.ApplySnapshot(which), d.im.ReadV([][]byte{got}, 0)); err != nil || got[0] != want {
			t.Errorf("apply %s: %d, %v; want %d", which, got[0], err, want)
		}
	}
	apply("2", 2) // the ID goes before the name
	apply("x", 2) // the first of that name
	apply("3", 3)
	if err := d.im.DeleteSnapshot("2"); err != nil { // the name goes before the ID
		t.Fatal(err)
	}
	if list := d.im.Snapshots(); len(list) != 2 || list[0].ID != "2" {
		t.Fatalf("left: %+v", list)
	}
	for _, err := range []error{d.im.ApplySnapshot("y"), d.im.DeleteSnapshot("1")} {
		if !errors.Is(err, ErrNoSnapshot) {
			t.Errorf("%v, want %v", err, ErrNoSnapshot)
		}
	}
	for _, name := range []string{"", "a\x00b", strings.Repeat("n", 256)} {
		if _, err := d.im.CreateSnapshot(SnapshotOptions{Name: name}); err == nil {
			t.Errorf("the name %q is accepted", name)
		}
	}
	if id := nextSnapshotID([]snapshot{{id: "18446744073709551615"}, {id: "1"}, {id: "abc"}}); id != "2" {
		t.Errorf("next ID %s, want 2", id)
	}
}

// TestSnapshotNeedsRefcounts takes snapshots until the refcounts are too narrow.
func TestSnapshotNeedsRefcounts(t *testing.T) {
	for _, tt := range []struct{ bits, snapshots int }{{1, 0}, {2, 2}, {4, 14}} {
		d := newDisk(t, config{o: CreateOptions{Size: mib, RefcountBits: tt.bits}}, nil)
		if err := d.im.WriteV(pattern(1, 512), 0); err != nil {
			t.Fatal(err)
		}
		for range tt.snapshots {
			if _, err := d.im.CreateSnapshot(SnapshotOptions{Name: "x"}); err != nil {
				t.Fatalf("%d bits: %v", tt.bits, err)
			}
		}
		if _, err := d.im.CreateSnapshot(SnapshotOptions{Name: "x"}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bits, snapshot %d: %v, want %v", tt.bits, tt.snapshots+1, err, ErrTooLarge)
		}
		d.mustBeClean()
		if tt.snapshots > 0 {
			if err := d.im.ApplySnapshot("1"); err != nil {
				t.Errorf("%d bits: %v", tt.bits, err)
			}
		}
		d.reopen()
	}
}

// TestSnapshotRefusals tries what must not be possible.
func TestSnapshotRefusals(t *testing.T) {
	d := newDisk(t, config{o: CreateOptions{Size: mib, ClusterSize: 512}}, nil)
	if err := d.im.WriteV(pattern(1, mib), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.im.CreateSnapshot(SnapshotOptions{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := d.im.Close(); err != nil {
		t.Fatal(err)
	}
	ro, err := Open(d.f.reopened(), Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = ro.CreateSnapshot(SnapshotOptions{Name: "b"})
	for _, err := range []error{err, ro.ApplySnapshot("a"), ro.DeleteSnapshot("a")} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%v, want %v", err, ErrReadOnly)
		}
	}
	for name, damage := range map[string]func(*Image, []byte){
		"disk size beyond the L1 table": func(im *Image, b []byte) { storeEntry(b[im.hdr.snapshots:], 6, 1<<40) },
		"disk size of half sectors":     func(im *Image, b []byte) { storeEntry(b[im.hdr.snapshots:], 6, 1<<19+1) },
		"one L2 table twice": func(im *Image, b []byte) {
			storeEntry(b[im.snaps[0].l1Offset:], 1, loadEntry(b[im.snaps[0].l1Offset:], 0))
		},
		"L2 table beyond the end": func(im *Image, b []byte) { storeEntry(b[im.snaps[0].l1Offset:], 1, 1<<40) },
		"L2 table unaligned":      func(im *Image, b []byte) { storeEntry(b[im.snaps[0].l1Offset:], 1, 1<<30+512*3/2) },
		"data at a free cluster": func(im *Image, b []byte) {
			storeEntry(b[loadEntry(b[im.snaps[0].l1Offset:], 0)&entryOffset:], 0, 1<<40)
		},
	} {
		f := d.f.reopened()
		damage(ro, f.data)
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := im.ApplySnapshot("a"); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: apply: %v", name, err)
		}
		if err := compareWith(im, pattern(1, mib)[0]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDeleteSharesWithActive deletes a snapshot that lies over the active disk,
// with refcounts that know nothing of it: nothing in use may be freed.
func TestDeleteSharesWithActive(t *testing.T) {
	d := newDisk(t, config{o: CreateOptions{Size: mib, ClusterSize: 512}}, nil)
	if _, err := d.im.CreateSnapshot(SnapshotOptions{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := d.im.WriteV(pattern(1, mib), 0); err != nil {
		t.Fatal(err)
	}
	d.reopen()
	for name, damage := range map[string]func(b []byte){
		"its L1 table is the active one": func(b []byte) { storeEntry(b[d.im.hdr.snapshots:], 0, d.im.hdr.l1Offset) },
		"its L2 table is an active one":  func(b []byte) { storeEntry(b[d.im.snaps[0].l1Offset:], 0, d.im.l1[0]) },
	} {
		f := d.f.reopened()
		damage(f.data)
		im, err := Open(f, Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := im.DeleteSnapshot("a"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: delete: %v, want %v", name, err, ErrCorrupt)
		}
		if err := compareWith(im, pattern(1, mib)[0]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestApplySnapshotSkipsWhatIsTheSame: tables that disk and snapshot share are
// not counted down and up again.
func TestApplySnapshotSkipsWhatIsTheSame(t *testing.T) {
	a := []uint64{0x10000 | entryCopied, 0x20000, 0, 0x30000}
	b := []uint64{0x10000, 0x40000, 0x50000}
	onlyA, onlyB := differing(a, b)
	if !slices.Equal(onlyA, []uint64{0, 0x20000, 0, 0x30000}) || !slices.Equal(onlyB, []uint64{0, 0x40000, 0x50000}) {
		t.Errorf("%#x and %#x", onlyA, onlyB)
	}
}
