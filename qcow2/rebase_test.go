package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// shelf holds backing files by name.
type shelf map[string]memBacking

func (s shelf) open(name, _ string) (Backing, error) {
	if b, ok := s[name]; ok {
		return b, nil
	}
	return nil, os.ErrNotExist
}

// options opens images over the shelf, encrypted ones, too.
func (s shelf) options() Options { return Options{Backing: s.open, Secret: secret("secret")} }

// soloConfigs are the image options without an external data file.
func soloConfigs() []config {
	return slices.DeleteFunc(configs(), func(c config) bool { return c.o.DataFile != "" })
}

// bases returns backing files that are alike in parts, of different lengths.
func bases(rng *rand.Rand, size int64) shelf {
	old := make([]byte, size*3/4/sectorSize*sectorSize)
	for i := range old {
		old[i] = byte(rng.Uint32())
	}
	clear(old[len(old)/3 : len(old)/2])
	other := append(slices.Clone(old), pattern(9, size)[0]...)
	for range 5 {
		off := rng.IntN(len(old) - 100)
		clear(other[off : off+100])
		copy(other[rng.IntN(len(old)-3):], "new")
	}
	return shelf{"base": old, "longer": other, "short": old[:len(old)/4/sectorSize*sectorSize], strings.Repeat("long name ", 60): other}
}

// overlay makes an image over "base" with some writes, and returns what it holds.
func (s shelf) overlay(t *testing.T, c config, rng *rand.Rand) (*memFile, []byte) {
	t.Helper()
	f := new(memFile)
	c.o.BackingFile, c.o.BackingFormat = "base", "raw"
	if err := Create(f, c.o); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, s.options())
	if err != nil {
		t.Fatal(err)
	}
	model := make([]byte, c.o.Size)
	copy(model, s["base"])
	for range 8 {
		op := randomOperation(rng, c.o.Size, c.o.ClusterSize)
		if err := op.run(im, rng); err != nil {
			t.Fatal(err)
		}
		op.apply(im, model)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return f.reopened(), model
}

// holds opens an image and checks what is in it.
func (s shelf) holds(f *memFile, want []byte) error {
	im, err := Open(f, s.options())
	if err != nil {
		return err
	}
	if err := compareWith(im, want); err != nil {
		return err
	}
	res, err := im.Check(CheckOptions{})
	if err == nil && res.Corruptions+res.CheckErrors != 0 {
		err = fmt.Errorf("check: %+v", res)
	}
	return err
}

func (s shelf) names() []string {
	names := []string{""}
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// rebase puts an image on the named file of the shelf.
func (s shelf) rebase(im *Image, name string) error {
	o := RebaseOptions{Name: name}
	if name != "" {
		o.Backing, o.Format = s[name], "raw"
	}
	return im.Rebase(o)
}

// TestRebase puts images on other backing files, and on none: they hold what
// they held. It is interrupted at every write, with every subset of what was not
// synced as far as there are not too many.
func TestRebase(t *testing.T) {
	for i, c := range soloConfigs() {
		c.o.Size = min(c.o.Size, 70*kib)
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			s := bases(rng, c.o.Size)
			states := 0
			for _, name := range s.names() {
				f, model := s.overlay(t, c, rng)
				base := slices.Clone(f.data)
				im, err := Open(f, s.options())
				if err != nil {
					t.Fatal(err)
				}
				f.record = true
				if err := s.rebase(im, name); err != nil {
					if len(name) > 500 && errors.Is(err, ErrTooLarge) && c.o.ClusterSize <= 1024 {
						continue // no room for the name
					}
					t.Fatal(err)
				}
				if err := compareWith(im, model); err != nil {
					t.Fatalf("on %q: %v", name, err)
				}
				if err := im.Close(); err != nil {
					t.Fatal(err)
				}
				if got := im.Info(); got.BackingFile != name {
					t.Errorf("backing file %q, want %q", got.BackingFile, name)
				}
				stride, most := scale(2, 1), 2
				if raceDetector {
					stride, most = 5, 0
				}
				for n := 0; n <= len(f.log); n += stride {
					for _, keep := range subsets(f.log[:n], most, rng) {
						states++
						if err := s.holds(&memFile{data: crash(base, f.log, n, keep)}, model); err != nil {
							t.Fatalf("to %q, crash after %d of %v: %v", name, n, f.log, err)
						}
					}
				}
			}
			t.Logf("%d crash states", states)
		})
	}
}

// TestRebaseFailures lets the n-th file operation of a rebase fail: the image
// holds what it held, and the next attempt succeeds.
func TestRebaseFailures(t *testing.T) {
	for i, c := range soloConfigs() {
		if c.o.ClusterSize > 4096 {
			continue
		}
		c.o.Size = 20 * kib
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(i), 7))
			s := bases(rng, c.o.Size)
			for n := 1; ; n++ {
				f, model := s.overlay(t, c, rng)
				im, err := Open(f, s.options())
				if err != nil {
					t.Fatal(err)
				}
				f.failAfter(n)
				failed := s.rebase(im, "longer")
				done := !f.failed
				f.failAfter(0)
				if err := compareWith(im, model); err != nil {
					t.Fatalf("failure %d: %v", n, err)
				}
				if err := s.holds(f.reopened(), model); err != nil {
					t.Fatalf("failure %d, opened again: %v", n, err)
				}
				if failed != nil {
					if err := s.rebase(im, "longer"); err != nil {
						t.Fatalf("failure %d, next attempt: %v", n, err)
					}
				}
				if err := im.Close(); err != nil {
					t.Fatal(err)
				}
				if err := s.holds(f.reopened(), model); err != nil {
					t.Fatalf("failure %d, after all: %v", n, err)
				}
				if done {
					return
				}
			}
		})
	}
}

// chain makes a chain of three images with random contents.
func (l *lab) chain(rng *rand.Rand, options string) {
	l.t.Helper()
	if err := os.WriteFile(l.path("base"), pattern(0xba, 2*mib)[0], 0o644); err != nil {
		l.t.Fatal(err)
	}
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "low", "4M")
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", "low", "-F", "qcow2", "mid", "1M")
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", "mid", "-F", "qcow2", "top", "5M")
	for _, name := range []string{"low", "mid", "top"} {
		im := l.open(name, Options{})
		l.scribble(im, make([]byte, im.Size()), rng, 15)
		l.close(im)
	}
}

// TestRebaseWithQEMU rebases in a chain, safely and unsafely; qemu-img reads
// the same as before.
func TestRebaseWithQEMU(t *testing.T) {
	for _, options := range []string{"cluster_size=512", "cluster_size=64k", "compat=0.10", "cluster_size=2M"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			l.chain(rng, options)
			for _, target := range []string{"low", "base", "mid", ""} {
				im := l.open("top", Options{})
				want := l.contents(im)
				o := RebaseOptions{Name: target, Format: "qcow2"}
				switch target {
				case "":
					o.Format = ""
				case "base":
					data, err := os.ReadFile(l.path("base"))
					if err != nil {
						t.Fatal(err)
					}
					o.Backing, o.Format = memBacking(data), "raw"
				case "low":
					o.Backing, o.SharedDepth = l.open(target, Options{ReadOnly: true}), 2
				default:
					o.Backing = l.open(target, Options{ReadOnly: true})
				}
				var last, total int64
				o.Progress = func(done, of int64) {
					if done < last || done > of {
						t.Errorf("progress %d of %d after %d", done, of, last)
					}
					last, total = done, of
				}
				if err := im.Rebase(o); err != nil {
					t.Fatal(err)
				}
				if want := im.Size() / (2 << 20); last != want || total != want {
					t.Errorf("progress ended at %d of %d", last, total)
				}
				l.close(im)
				l.check("top")
				l.equals("top", want)
				if out := l.run("qemu-img", "info", "top"); strings.Contains(out, "backing file: "+target+"\n") != (target != "") {
					t.Errorf("rebased to %q: %s", target, out)
				}
			}
			im := l.open("top", Options{})
			want := l.contents(im)
			if err := im.SetBackingFile("mid", "qcow2"); err != nil {
				t.Fatal(err)
			}
			l.close(im)
			l.equals("top", want) // flattened: nothing shows through
		})
	}
}

// TestCommitTo commits a chain into its lowest image, and an overlay into the
// image under it; qemu-img reads the same as before.
func TestCommitTo(t *testing.T) {
	for _, options := range []string{"cluster_size=512", "cluster_size=64k", "compat=0.10", "cluster_size=2M"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			l.chain(rng, options)
			im := l.open("top", Options{})
			want := l.contents(im)
			low := l.open("low", Options{})
			if err := im.CommitTo(low, CommitOptions{Depth: 2, Keep: true}); err != nil {
				t.Fatal(err)
			}
			if err := im.CommitTo(low, CommitOptions{Depth: 2}); err == nil {
				t.Error("an image far above the target is emptied")
			}
			l.close(im)
			l.close(low)
			for _, name := range []string{"low", "top"} {
				l.check(name)
				l.equals(name, want)
			}
			im, mid := l.open("top", Options{}), l.open("mid", Options{})
			if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
				t.Fatal(err)
			}
			if err := im.DeleteSnapshot("s"); err != nil {
				t.Fatal(err)
			}
			if err := im.CommitTo(mid, CommitOptions{}); err != nil {
				t.Fatal(err)
			}
			l.close(im)
			l.close(mid)
			for _, name := range []string{"mid", "top"} {
				l.check(name)
				l.equals(name, want)
			}
			for _, e := range l.mapWithQEMU("top") {
				if e.Depth == 0 {
					t.Errorf("the image still has %+v", e)
				}
			}
			if st, err := os.Stat(l.path("top")); err != nil || st.Size() > 16*mib {
				t.Errorf("the emptied image has %d bytes, %v", st.Size(), err)
			}
		})
	}
}

// failingBase is a base that takes some writes only.
type failingBase struct {
	*Image
	left int
}

func (f *failingBase) WriteV(bufs [][]byte, off int64) error {
	if f.left--; f.left < 0 {
		return errFull
	}
	return f.Image.WriteV(bufs, off)
}

var errFull = errors.New("full")

// TestCommitToFails commits more than is in memory at a time to a base that fails,
// at once and in the middle: the error is told, and nobody goes on reading.
func TestCommitToFails(t *testing.T) {
	for _, left := range []int{0, 3} {
		low := newImage(t, CreateOptions{Size: 16 * mib})
		top := newImage(t, CreateOptions{Size: 16 * mib, BackingFile: "low", BackingFormat: "qcow2"})
		im, err := Open(top, Options{Backing: func(string, string) (Backing, error) { return Open(low.reopened(), Options{ReadOnly: true}) }})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.WriteV([][]byte{bytes.Repeat([]byte{7}, int(8*mib))}, 0); err != nil {
			t.Fatal(err)
		}
		base, err := Open(low, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.CommitTo(&failingBase{base, left}, CommitOptions{}); !errors.Is(err, errFull) {
			t.Errorf("after %d writes: %v", left, err)
		}
		if err := errors.Join(im.Close(), base.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestCrashCommitTo stops the machine while an overlay is committed: overlay and
// base together hold what they held, and it can be done again.
func TestCrashCommitTo(t *testing.T) {
	for i, c := range soloConfigs() {
		if c.o.ClusterSize > 4096 {
			continue
		}
		c.o.Size = 30 * kib
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(i), 8))
			s := bases(rng, c.o.Size)
			f, model := s.overlay(t, c, rng)
			baseFile := new(memFile)
			o := c.o
			o.Size, o.BackingFile, o.BackingFormat, o.Encryption = int64(len(s["base"])), "", "", nil
			if err := Create(baseFile, o); err != nil {
				t.Fatal(err)
			}
			base, err := Open(baseFile, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := base.WriteV([][]byte{s["base"]}, 0); err != nil {
				t.Fatal(err)
			}
			if err := base.Flush(); err != nil {
				t.Fatal(err)
			}
			im, err := Open(f, s.options())
			if err != nil {
				t.Fatal(err)
			}
			both := &joinedLog{}
			start := [2][]byte{slices.Clone(f.data), slices.Clone(baseFile.data)}
			im.f, base.f = both.of(0, f), both.of(1, baseFile)
			im.data, base.data = im.f, base.f
			if err := im.CommitTo(base, CommitOptions{}); err != nil {
				t.Fatal(err)
			}
			for n := 0; n <= len(both.ops); n += 3 {
				for _, keep := range []func() int{inOrder, randomly(rng)} {
					files := both.crash(start, n, keep)
					if err := committed(files, model); err != nil {
						t.Fatalf("crash after %d of %d: %v", n, len(both.ops), err)
					}
				}
			}
		})
	}
}

// committed checks an overlay and its base after a crash, and commits again.
func committed(files [2][]byte, want []byte) error {
	base, err := Open(&memFile{data: files[1]}, Options{})
	if err != nil {
		return err
	}
	open := func(string, string) (Backing, error) { return base, nil }
	f := &memFile{data: files[0]}
	im, err := Open(f, Options{Backing: open, Secret: secret("secret")})
	if err != nil {
		return err
	}
	if err := compareWith(im, want); err != nil {
		return err
	}
	if err := im.CommitTo(base, CommitOptions{}); err != nil {
		return err
	}
	for _, im := range []*Image{im, base} {
		if err := compareWith(im, want); err != nil {
			return fmt.Errorf("committed again: %w", err)
		}
		if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions != 0 {
			return fmt.Errorf("check: %+v, %w", res, err)
		}
	}
	return nil
}

// joinedLog records what is done to two files, in one order.
type joinedLog struct {
	ops []joinedOp
}

type joinedOp struct {
	file int
	op   fileOp
}

func (j *joinedLog) of(i int, f *memFile) File { return &joinedFile{f, j, i} }

// crash returns both files as a crash after n operations may leave them.
func (j *joinedLog) crash(start [2][]byte, n int, keep func() int) (files [2][]byte) {
	for i := range files {
		var log []fileOp
		for _, op := range j.ops[:n] {
			if op.file == i {
				log = append(log, op.op)
			}
		}
		files[i] = crash(start[i], log, len(log), keep)
	}
	return files
}

type joinedFile struct {
	*memFile
	log *joinedLog
	i   int
}

func (f *joinedFile) note(op fileOp, err error) error {
	f.log.ops = append(f.log.ops, joinedOp{f.i, op})
	return err
}

func (f *joinedFile) WriteV(bufs [][]byte, off int64) error {
	op := fileOp{kind: opWrite, off: off, data: bytes.Join(bufs, nil)}
	return f.note(op, f.memFile.WriteV(bufs, off))
}

func (f *joinedFile) Sync() error { return f.note(fileOp{kind: opSync}, f.memFile.Sync()) }

func (f *joinedFile) Truncate(n int64) error {
	return f.note(fileOp{kind: opTruncate, n: n}, f.memFile.Truncate(n))
}

func (f *joinedFile) PunchHole(off, n int64) error {
	return f.note(fileOp{kind: opZero, off: off, n: n}, f.memFile.PunchHole(off, n))
}

func (f *joinedFile) ZeroRange(off, n int64) error {
	return f.note(fileOp{kind: opZero, off: off, n: n}, f.memFile.ZeroRange(off, n))
}
