package qcow2

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lab is a directory with images that QEMU's tools and this package work on in
// turn.
type lab struct {
	t   *testing.T
	dir string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	for _, tool := range []string{"qemu-img", "qemu-io"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("qemu-utils not installed")
		}
	}
	return &lab{t, t.TempDir()}
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

// run runs a tool in the directory of the lab; it must succeed.
func (l *lab) run(name string, args ...string) string {
	l.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = l.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// put makes a file of the lab.
func (l *lab) put(name string, data []byte) {
	l.t.Helper()
	if err := os.WriteFile(l.path(name), data, 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// check has qemu-img look for errors and leaks.
func (l *lab) check(name string) { l.t.Helper(); l.run("qemu-img", "check", "-f", "qcow2", name) }

// equals has qemu-img compare an image with what it must hold.
func (l *lab) equals(name string, want []byte) {
	l.t.Helper()
	raw := name + ".want"
	if err := os.WriteFile(l.path(raw), want, 0o644); err != nil {
		l.t.Fatal(err)
	}
	l.run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", name, raw)
}

// open opens an image of the lab; backing files are opened as images or, if
// their recorded format is raw, as they are.
func (l *lab) open(name string, o Options) *Image {
	l.t.Helper()
	f, err := OpenFile(l.path(name), os.O_RDWR)
	if err != nil {
		l.t.Fatal(err)
	}
	o.Backing = func(name, format string) (Backing, error) {
		if format == "raw" {
			data, err := os.ReadFile(l.path(name))
			return memBacking(data), err
		}
		return l.open(name, Options{ReadOnly: true}), nil
	}
	o.DataFile = func(name string) (File, error) { return OpenFile(l.path(name), os.O_RDWR) }
	im, err := Open(f, o)
	if err != nil {
		l.t.Fatalf("open %s: %v", name, err)
	}
	return im
}

// contents reads the whole disk of an image.
func (l *lab) contents(im *Image) []byte {
	l.t.Helper()
	data := make([]byte, im.Size())
	if err := im.ReadV([][]byte{data}, 0); err != nil {
		l.t.Fatal(err)
	}
	return data
}

// scribble does random operations on an image and on a model of it.
func (l *lab) scribble(im *Image, model []byte, rng *rand.Rand, steps int) {
	l.t.Helper()
	for range steps {
		op := randomOperation(rng, im.Size(), max(im.g.clusterSize, 4096))
		if err := op.run(im, rng); err != nil {
			l.t.Fatalf("%v: %v", op, err)
		}
		op.apply(im, model)
	}
}

func (l *lab) close(im *Image) {
	l.t.Helper()
	if err := im.Close(); err != nil {
		l.t.Fatal(err)
	}
}

func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestQEMUReadsOurs has qemu-img check and compare images that we created and
// wrote, in several sessions.
func TestQEMUReadsOurs(t *testing.T) {
	for _, c := range configs() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			model := make([]byte, c.o.Size)
			if c.backing {
				base := pattern(0xba, c.o.Size*3/4/sectorSize*sectorSize)[0]
				if err := os.WriteFile(l.path("base"), base, 0o644); err != nil {
					t.Fatal(err)
				}
				copy(model, base)
			}
			l.create("disk", c.o)
			for range 3 {
				im := l.open("disk", Options{})
				l.scribble(im, model, rng, 60)
				l.close(im)
				l.check("disk")
				l.equals("disk", model)
			}
		})
	}
}

// TestWeReadQEMUs reads images that qemu-img and qemu-io wrote, writes on them,
// and hands them back.
func TestWeReadQEMUs(t *testing.T) {
	for _, options := range []string{
		"compat=0.10", "compat=1.1", "cluster_size=512", "cluster_size=4k,refcount_bits=1", "cluster_size=2M,refcount_bits=64",
		"refcount_bits=2", "preallocation=metadata", "preallocation=full,cluster_size=8k", "lazy_refcounts=on",
		"extended_l2=on", "extended_l2=on,cluster_size=16k,preallocation=metadata", "extended_l2=on,cluster_size=2M",
	} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "disk", "3M")
			cmds := []string{"-f", "qcow2"}
			for i := range 12 {
				off, n := rng.Int64N(5900)*512, 512*(1+rng.Int64N(240))
				n = min(n, 3*mib-off)
				cmds = append(cmds, "-c", []string{
					fmt.Sprintf("write -P %d %d %d", i+1, off, n),
					fmt.Sprintf("write -z %d %d", off, n),
					fmt.Sprintf("discard %d %d", off, n),
				}[i%3*rng.IntN(2)])
			}
			l.run("qemu-io", append(cmds, "disk")...)
			l.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "disk", "raw")
			model, err := os.ReadFile(l.path("raw"))
			if err != nil {
				t.Fatal(err)
			}
			im := l.open("disk", Options{})
			if err := compareWith(im, model); err != nil {
				t.Fatal(err)
			}
			if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
				t.Fatalf("check: %+v, %v", res, err)
			}
			l.scribble(im, model, rng, 60)
			l.close(im)
			l.check("disk")
			l.equals("disk", model)
		})
	}
}

// TestCompressed reads compressed clusters and overwrites some.
func TestCompressed(t *testing.T) {
	for _, options := range []string{
		"cluster_size=512", "cluster_size=4k", "cluster_size=64k", "cluster_size=2M", "cluster_size=64k,compat=0.10", "cluster_size=4k,refcount_bits=1",
		"cluster_size=512,compression_type=zstd", "cluster_size=64k,compression_type=zstd", "cluster_size=2M,compression_type=zstd",
	} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			model := make([]byte, 5*mib)
			for i := range model {
				model[i] = byte(i>>9) ^ byte(i&7)
				if i>>12%5 == 0 {
					model[i] = byte(rng.Uint32()) // does not compress
				}
			}
			if err := os.WriteFile(l.path("raw"), model, 0o644); err != nil {
				t.Fatal(err)
			}
			l.run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, "raw", "disk")
			im := l.open("disk", Options{})
			if err := compareWith(im, model); err != nil {
				t.Fatal(err)
			}
			res, err := im.Check(CheckOptions{})
			if err != nil || !res.Clean() || res.CompressedClusters == 0 {
				t.Fatalf("check: %+v, %v", res, err)
			}
			l.scribble(im, model, rng, 80)
			if err := compareWith(im, model); err != nil {
				t.Fatal(err)
			}
			l.close(im)
			l.check("disk")
			l.equals("disk", model)
		})
	}
}

// TestSnapshotsStayIntact writes to an image with internal snapshots: they must
// still hold what they held.
func TestSnapshotsStayIntact(t *testing.T) {
	for _, options := range []string{"cluster_size=512", "cluster_size=64k", "compat=0.10", "cluster_size=4k,refcount_bits=32"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "disk", "2M")
			model := make([]byte, 2*mib)
			saved := make(map[string][]byte)
			for _, name := range []string{"one", "two"} {
				im := l.open("disk", Options{})
				l.scribble(im, model, rng, 40)
				l.close(im)
				l.run("qemu-img", "snapshot", "-c", name, "disk")
				saved[name] = append([]byte(nil), model...)
			}
			im := l.open("disk", Options{})
			if got := im.Info().Snapshots; len(got) != 2 || got[1].Name != "two" {
				t.Errorf("snapshots: %v", got)
			}
			l.scribble(im, model, rng, 80)
			l.close(im)
			l.check("disk")
			l.equals("disk", model)
			for name, want := range saved {
				l.run("qemu-img", "convert", "-f", "qcow2", "-l", name, "-O", "qcow2", "disk", name)
				l.equals(name, want)
			}
			l.run("qemu-img", "snapshot", "-a", "one", "disk")
			l.run("qemu-img", "snapshot", "-d", "two", "disk")
			im = l.open("disk", Options{})
			if err := compareWith(im, saved["one"]); err != nil {
				t.Fatal(err)
			}
			l.scribble(im, saved["one"], rng, 40)
			l.close(im)
			l.check("disk")
		})
	}
}

// TestBackingChain reads and writes the top of a chain of three.
func TestBackingChain(t *testing.T) {
	l := newLab(t)
	rng := seeded(t)
	model := pattern(0x77, mib)[0]
	if err := os.WriteFile(l.path("base.raw"), model, 0o644); err != nil {
		t.Fatal(err)
	}
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "mid", "2M")
	l.run("qemu-io", "-f", "qcow2", "-c", "write -P 5 100k 300k", "-c", "write -z 700k 64k", "mid")
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", "mid", "-F", "qcow2", "top", "3M")
	l.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "top", "raw")
	model, err := os.ReadFile(l.path("raw"))
	if err != nil {
		t.Fatal(err)
	}
	im := l.open("top", Options{})
	if err := compareWith(im, model); err != nil {
		t.Fatal(err)
	}
	l.scribble(im, model, rng, 100)
	l.close(im)
	l.check("top")
	l.check("mid")
	l.equals("top", model)
}

// TestDirtyImage opens images that QEMU left behind without their refcounts.
func TestDirtyImage(t *testing.T) {
	for _, options := range []string{"cluster_size=512", "cluster_size=64k", "cluster_size=4k,refcount_bits=1"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options+",lazy_refcounts=on", "disk", "4M")
			cmd := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 1 100k 2M", "-c", "write -P 2 3M 1k", "-c", "sigraise 9", l.path("disk"))
			if err := cmd.Run(); err == nil {
				t.Fatal("qemu-io outlived its signal")
			}
			im := l.open("disk", Options{ReadOnly: true})
			if !im.Info().Dirty {
				t.Fatal("the image is not dirty")
			}
			model := l.contents(im)
			l.close(im)
			if model[1*mib] != 1 || model[3*mib] != 2 {
				t.Fatal("the image does not hold what was written")
			}

			im = l.open("disk", Options{})
			if im.Info().Dirty {
				t.Error("the image is still dirty")
			}
			if err := compareWith(im, model); err != nil {
				t.Fatal(err)
			}
			l.scribble(im, model, rng, 40)
			l.close(im)
			l.check("disk")
			l.equals("disk", model)
		})
	}
}
