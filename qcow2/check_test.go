package qcow2

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// damage is something done to the image that newImage makes.
type damage struct {
	name       string
	o          CreateOptions
	edit       func(*memFile)
	unfixable  bool // errors are left after a repair of all
	ourselves  bool // counted in another way than QEMU does
	wantErrors bool
	wantLeaks  bool
}

func damages() []damage {
	put16 := func(off int64, v uint16) func(*memFile) {
		return func(f *memFile) { f.data[off], f.data[off+1] = byte(v>>8), byte(v) }
	}
	set64 := func(off int64, v uint64) func(*memFile) { return func(f *memFile) { f.put64(off, v) } }
	return []damage{
		{name: "nothing", edit: func(*memFile) {}},
		{name: "leak", edit: func(f *memFile) { f.data = append(f.data, make([]byte, 64*kib)...); f.data[atRefBlock+2*13+1] = 1 }, wantLeaks: true},
		{name: "leak of a data cluster", edit: put16(atRefBlock+2*5, 2), wantErrors: true, wantLeaks: true},
		{name: "leak beyond the end", edit: put16(atRefBlock+2*30000, 7), wantLeaks: true, ourselves: true},
		{name: "reference lost", edit: set64(atL2, 0), wantLeaks: true},
		{name: "refcount 0", edit: put16(atRefBlock+2*6, 0), wantErrors: true},
		{name: "cluster used twice", edit: func(f *memFile) { f.put64(atL2, f.get64(atL2+8)) }, wantErrors: true, wantLeaks: true},
		{name: "all refcounts 0", edit: func(f *memFile) { clear(f.data[atRefBlock : atRefBlock+64*kib]) }, wantErrors: true},
		{name: "no refcount block", edit: set64(atRefTable, 0), wantErrors: true},
		{name: "refcount block unaligned", edit: set64(atRefTable, 0x20200), wantErrors: true, ourselves: true},
		{name: "refcount table entry reserved bits", edit: set64(atRefTable, 0x20001), wantErrors: true, ourselves: true},
		{name: "refcount block is the L1 table", edit: set64(atRefTable, atL1), wantErrors: true, wantLeaks: true},
		{name: "refcount block is the header", edit: set64(atRefTable, 1<<63), wantErrors: true, ourselves: true},
		{name: "refcount table is the L2 table", edit: set64(48, atL2), wantErrors: true, ourselves: true},
		{name: "COPIED missing", edit: func(f *memFile) { f.put64(atL2, f.get64(atL2)&^entryCopied) }, wantErrors: true},
		{name: "COPIED missing in L1", edit: func(f *memFile) { f.put64(atL1, f.get64(atL1)&^entryCopied) }, wantErrors: true},
		{name: "zero cluster unaligned", edit: set64(atL2, 0x50200|entryZero), wantErrors: true, ourselves: true},
		{name: "data cluster unaligned", edit: set64(atL2, 0x50200), wantErrors: true, unfixable: true, ourselves: true},
		{name: "data cluster past the end", edit: set64(atL2, 0x5000000|entryCopied), wantErrors: true, unfixable: true, wantLeaks: true, ourselves: true},
		{name: "L2 table unaligned", edit: set64(atL1, 0x40200|entryCopied), wantErrors: true, unfixable: true, wantLeaks: true, ourselves: true},
		{name: "compressed with COPIED", edit: set64(atL2, entryCompressed|entryCopied|atData), wantErrors: true, unfixable: true, ourselves: true},
		{name: "reserved bits in L2", edit: set64(atL2, atData|entryCopied|2), wantErrors: true, unfixable: true, ourselves: true},
		{name: "narrow refcounts lost", o: CreateOptions{ClusterSize: 512, RefcountBits: 1},
			edit: func(f *memFile) { f.put64(512, 0) }, wantErrors: true},
		{name: "wide refcounts lost", o: CreateOptions{ClusterSize: 512, RefcountBits: 64},
			edit: func(f *memFile) { clear(f.data[512:1024]) }, wantErrors: true},
	}
}

// qemuCheck is what qemu-img check says about an image.
func (l *lab) qemuCheck(name string) (res struct{ Corruptions, Leaks int64 }) {
	l.t.Helper()
	cmd := exec.Command("qemu-img", "check", "--output=json", "-f", "qcow2", l.path(name))
	out, err := cmd.Output()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	if err := json.Unmarshal(out, &res); err != nil {
		l.t.Fatalf("%v in %q", err, out)
	}
	return res
}

// TestCheck damages images in known ways: check sees it, and counts as QEMU
// does; repair leaves an image that both call clean, with the data in place.
func TestCheck(t *testing.T) {
	for _, tt := range damages() {
		t.Run(tt.name, func(t *testing.T) {
			f := newImage(t, tt.o)
			tt.edit(f)
			before := f.reopened()
			im, err := Open(f, Options{ForRepair: true})
			if err != nil {
				t.Fatal(err)
			}
			report := func(s string) { t.Log(s) }
			found, err := im.Check(CheckOptions{Report: report})
			if err != nil {
				t.Fatal(err)
			}
			if (found.Corruptions != 0) != tt.wantErrors || (found.Leaks != 0) != tt.wantLeaks {
				t.Errorf("check: %+v", found)
			}
			if err := im.WriteV(pattern(1, 512), 0); !errors.Is(err, ErrCorrupt) {
				t.Errorf("a write before the repair: %v, want %v", err, ErrCorrupt)
			}
			fixed, err := im.Check(CheckOptions{Repair: RepairAll, Report: report})
			if err != nil && !tt.unfixable {
				t.Fatal(err)
			}
			again, err := im.Check(CheckOptions{Report: report})
			if err != nil {
				t.Fatal(err)
			}
			if again.Corruptions != 0 != tt.unfixable || !tt.unfixable && !again.Clean() {
				t.Errorf("repair: %+v\nafter that: %+v", fixed, again)
			}
			if !tt.unfixable && fixed.CorruptionsFixed+fixed.LeaksFixed == 0 && tt.name != "nothing" {
				t.Errorf("repair says it did nothing: %+v", fixed)
			}
			if !tt.unfixable {
				if err := im.WriteV(pattern(0x77, 4*kib), 512*kib); err != nil {
					t.Errorf("a write after the repair: %v", err)
				}
				got := pattern(0, 64*kib)
				if err := im.ReadV(got, 128*kib); err != nil || got[0][100] != 0x5a {
					t.Errorf("data after the repair: %#x, %v", got[0][100], err)
				}
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			l := newLab(t)
			for name, m := range map[string]*memFile{"before": before, "after": f} {
				if err := os.WriteFile(l.path(name), m.data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if !tt.unfixable {
				l.check("after")
			}
			if theirs := l.qemuCheck("before"); !tt.ourselves && (theirs.Corruptions != found.Corruptions || theirs.Leaks != found.Leaks) {
				t.Errorf("we found %+v, qemu-img %+v", found, theirs)
			}
		})
	}
}

// TestRepairLeaks repairs leaks only: errors stay. Where nothing counts what is in use, the
// refcounts can't be trusted, and it does nothing.
func TestRepairLeaks(t *testing.T) {
	for _, count := range []byte{0, 2} {
		f := newImage(t, CreateOptions{})
		f.data[atRefBlock+2*40+1] = 1 // leaked
		if count == 0 {
			f.data[atRefBlock+2*6+1] = 0
		} else {
			f.put64(atL2, f.get64(atL2+8)) // two references, one counted
		}
		im, err := Open(f, Options{ForRepair: true})
		if err != nil {
			t.Fatal(err)
		}
		res, err := im.Check(CheckOptions{Repair: RepairLeaks})
		if count == 0 && !errors.Is(err, syscall.EIO) {
			t.Errorf("%+v, %v", res, err)
		}
		if count != 0 && (err != nil || res.LeaksFixed == 0 || res.Leaks != 0 || res.CorruptionsFixed != 0 || res.Corruptions == 0) {
			t.Errorf("%+v, %v", res, err)
		}
		if im.Info().Corrupt || !im.corrupt.Load() {
			t.Error("writes are allowed with errors left")
		}
	}
}

// TestCorruptBit opens an image that somebody marked: only for reading, or for
// a repair, which clears the mark.
func TestCorruptBit(t *testing.T) {
	f := newImage(t, CreateOptions{})
	f.put64(hdrIncompat, incompatCorrupt)
	if _, err := Open(f, Options{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("open: %v, want %v", err, ErrCorrupt)
	}
	im, err := Open(f, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if !im.Info().Corrupt {
		t.Error("info does not say that the image is corrupt")
	}
	if _, err := im.Check(CheckOptions{Repair: RepairAll}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("repair of a read-only image: %v", err)
	}
	im, err = Open(f, Options{ForRepair: true})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := im.Check(CheckOptions{Repair: RepairAll}); err != nil || !res.Clean() {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(f.reopened(), Options{}); err != nil {
		t.Errorf("open after the repair: %v", err)
	}
}

// TestRepairFailures lets the n-th operation of a repair fail: the next one
// makes it good.
func TestRepairFailures(t *testing.T) {
	for _, tt := range damages() {
		if tt.unfixable {
			continue
		}
		damaged := newImage(t, tt.o)
		tt.edit(damaged)
		stride := everyNth(3)
		for n := 1 + rand.IntN(stride); ; n += stride {
			f := damaged.reopened()
			im, err := Open(f, Options{ForRepair: true})
			if err != nil {
				t.Fatal(err)
			}
			f.failAfter(n)
			_, failed := im.Check(CheckOptions{Repair: RepairAll})
			f.failAfter(0)
			again, err := Open(f.reopened(), Options{ForRepair: true})
			if err != nil {
				t.Fatalf("%s, failure %d: %v", tt.name, n, err)
			}
			if _, err := again.Check(CheckOptions{Repair: RepairAll}); err != nil {
				t.Fatalf("%s, failure %d: repair: %v", tt.name, n, err)
			}
			if res, err := again.Check(CheckOptions{}); err != nil || !res.Clean() {
				t.Fatalf("%s, failure %d: %+v, %v", tt.name, n, res, err)
			}
			if failed == nil {
				break
			}
		}
	}
}
