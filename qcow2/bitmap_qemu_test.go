package qcow2

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bitmapRanges has qemu-nbd export a bitmap of an image, and qemu-img say what is
// dirty in it.
func (l *lab) bitmapRanges(name, bitmap string) [][2]int64 {
	l.t.Helper()
	// A path without commas, which would end an option.
	dir, err := os.MkdirTemp("", "bitmap")
	if err != nil {
		l.t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "nbd")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		l.t.Fatal(err)
	}
	defer listener.Close()
	passed, err := listener.(*net.UnixListener).File()
	if err != nil {
		l.t.Fatal(err)
	}
	defer passed.Close()
	// It gets the socket as systemd would pass it, and ends after one client.
	var stderr strings.Builder
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec qemu-nbd -r -f qcow2 -B "$0" "$1"`, bitmap, name)
	cmd.Dir, cmd.ExtraFiles, cmd.Stderr = l.dir, []*os.File{passed}, &stderr
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	defer func() {
		passed.Close()
		listener.Close()
		if err := cmd.Wait(); err != nil {
			l.t.Fatalf("qemu-nbd: %v: %s", err, &stderr)
		}
	}()
	out := l.run("qemu-img", "map", "--output=json", "--image-opts",
		"driver=nbd,server.type=unix,server.path="+socket+",x-dirty-bitmap=qemu:dirty-bitmap:"+bitmap)
	var extents []struct {
		Start, Length int64
		Data          bool
	}
	if err := json.Unmarshal([]byte(out), &extents); err != nil {
		l.t.Fatalf("%v: %s", err, out)
	}
	var list [][2]int64
	for _, e := range extents {
		if e.Data {
			continue // qemu-img shows dirty ranges as holes
		}
		if n := len(list); n > 0 && list[n-1][0]+list[n-1][1] == e.Start {
			list[n-1][1] += e.Length
		} else {
			list = append(list, [2]int64{e.Start, e.Length})
		}
	}
	return list
}

// TestBitmapsWithQEMU has qemu-img, qemu-io and this package take turns on a disk
// with bitmaps; each finds what the other recorded.
func TestBitmapsWithQEMU(t *testing.T) {
	for _, options := range []string{"cluster_size=512", "cluster_size=64k", "cluster_size=2M", "cluster_size=4k,refcount_bits=64"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			const size = 40*mib + 5*512
			l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "disk", fmt.Sprint(size))
			l.run("qemu-img", "bitmap", "--add", "-g", "512", "-f", "qcow2", "disk", "fine")
			l.run("qemu-img", "bitmap", "--add", "-f", "qcow2", "disk", "wide")
			fine, ours := newGranules(size, 512), newGranules(size, 8192)
			for round := range 3 {
				var cmds []string
				for range 5 {
					off := rng.Int64N(size/512-1000) * 512
					n := (1 + rng.Int64N(1000)) * 512
					cmds = append(cmds, "-c", fmt.Sprintf("write -P 1 %d %d", off, n))
					fine.mark(off, n)
					if round > 0 {
						ours.mark(off, n)
					}
				}
				l.run("qemu-io", append(append([]string{"-f", "qcow2"}, cmds...), "disk")...)
				im := l.open("disk", Options{})
				if round == 0 {
					if err := im.AddBitmap("ours", BitmapOptions{Granularity: 8192}); err != nil {
						t.Fatal(err)
					}
				}
				for range 5 {
					off := rng.Int64N(size - 5000)
					if err := im.WriteV(pattern(3, 5000), off); err != nil {
						t.Fatal(err)
					}
					fine.mark(off, 5000)
					ours.mark(off, 5000)
				}
				if got := dirtyRanges(t, im, "fine"); !slices.Equal(got, fine.ranges()) {
					t.Fatalf("fine is %v, want %v", got, fine.ranges())
				}
				l.close(im)
				l.check("disk")
				if got := l.bitmapRanges("disk", "fine"); !slices.Equal(got, fine.ranges()) {
					t.Fatalf("QEMU finds %v in fine, want %v", got, fine.ranges())
				}
				if got := l.bitmapRanges("disk", "ours"); !slices.Equal(got, ours.ranges()) {
					t.Fatalf("QEMU finds %v in ours, want %v", got, ours.ranges())
				}
			}
			im := l.open("disk", Options{})
			for _, err := range []error{im.DisableBitmap("wide"), im.ClearBitmap("fine"), im.MergeBitmap("fine", im, "ours"),
				im.RemoveBitmap("ours"), im.AddBitmap("full", BitmapOptions{}), im.WriteZeroes(0, size, true)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			l.close(im)
			l.check("disk")
			out := l.run("qemu-img", "info", "disk")
			for _, want := range []string{"name: fine", "name: wide", "name: full"} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in %s", want, out)
				}
			}
			if strings.Contains(out, "name: ours") || strings.Count(out, "auto") != 2 || strings.Contains(out, "in-use") {
				t.Errorf("%s", out)
			}
			// All bits are set: in our image by an entry that says so.
			if got := l.bitmapRanges("disk", "full"); !slices.Equal(got, [][2]int64{{0, size}}) {
				t.Errorf("QEMU finds %v in full", got)
			}
			l.run("qemu-img", "bitmap", "--merge", "full", "-f", "qcow2", "disk", "wide")
			im = l.open("disk", Options{ReadOnly: true})
			if n, err := im.DirtyBytes("wide"); n != size || err != nil {
				t.Errorf("%d bytes are dirty in wide, %v", n, err)
			}
			l.close(im)
			l.run("qemu-img", "bitmap", "--remove", "-f", "qcow2", "disk", "full")
			im = l.open("disk", Options{})
			if list, err := im.Bitmaps(); len(list) != 2 || err != nil {
				t.Errorf("%+v, %v", list, err)
			}
			l.close(im)
			l.check("disk")
		})
	}
}

// TestQEMUSeesBitmapsInUse has QEMU look at bitmaps while this package, or a
// machine that stopped with it, has them in use.
func TestQEMUSeesBitmapsInUse(t *testing.T) {
	l := newLab(t)
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "disk", "8M")
	l.run("qemu-img", "bitmap", "--add", "-f", "qcow2", "disk", "b")
	im := l.open("disk", Options{})
	defer im.Close()
	if out := l.run("qemu-img", "info", "-U", "disk"); !strings.Contains(out, "in-use") {
		t.Errorf("%s", out)
	}
	l.run("cp", "disk", "crashed")
	cmd := exec.Command("qemu-img", "bitmap", "--clear", "-f", "qcow2", l.path("crashed"), "b")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "inconsistent") {
		t.Errorf("%v: %s", err, out)
	}
	l.run("qemu-img", "bitmap", "--remove", "-f", "qcow2", "crashed", "b")
	l.check("crashed")
}
