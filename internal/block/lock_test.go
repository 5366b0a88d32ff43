package block

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// hold has qemu-io open an image, and keep it open until the test ends it.
func hold(t *testing.T, args ...string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("qemu-io", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// It asks for a command once it has the image.
	if prompt, err := bufio.NewReader(out).ReadString('>'); err != nil {
		t.Fatalf("qemu-io: %q, %v", prompt, err)
	}
	return cmd.Process.Pid, func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func lockDir(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip("qemu-utils not installed")
	}
	dir := t.TempDir()
	for _, args := range [][]string{
		{"create", "-q", "-f", "raw", "raw", "1M"},
		{"create", "-q", "-f", "qcow2", "base", "1M"},
		{"create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top"},
	} {
		cmd := exec.Command("qemu-img", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

// TestLocksAgainstQEMU opens images that QEMU has open, and has it open images
// that are open here: writers keep everybody out, readers only writers.
func TestLocksAgainstQEMU(t *testing.T) {
	dir := lockDir(t)
	type use struct {
		name, format string
		readOnly     bool
		share        bool
	}
	uses := []use{
		{"top", "qcow2", false, false}, {"top", "qcow2", true, false}, {"top", "qcow2", true, true},
		{"base", "qcow2", false, false}, {"base", "qcow2", true, false},
		{"raw", "raw", false, false}, {"raw", "raw", true, false}, {"raw", "raw", true, true},
	}
	excludes := func(a, b use) bool {
		if a.share || b.share {
			return false
		}
		switch {
		case a.name == b.name:
			return !a.readOnly || !b.readOnly
		case a.name == "base" && b.name == "top":
			return !a.readOnly // the backing file of top is read
		case a.name == "top" && b.name == "base":
			return !b.readOnly
		}
		return false
	}
	// qemu-io lets others write a raw file that it reads, as do we with force-share.
	lenient := func(u use) use { u.share = u.share || u.format == "raw" && u.readOnly; return u }
	for _, ours := range uses {
		for _, theirs := range uses {
			t.Run(fmt.Sprintf("ours %+v theirs %+v", ours, theirs), func(t *testing.T) {
				spec := Spec{Path: filepath.Join(dir, ours.name), Format: ours.format, ReadOnly: ours.readOnly, ForceShare: ours.share}
				args := []string{"-f", theirs.format}
				if theirs.readOnly {
					args = append(args, "-r")
				}
				if theirs.share {
					args = append(args, "-U")
				}
				args = append(args, filepath.Join(dir, theirs.name))

				pid, end := hold(t, args...)
				d, err := Open(spec)
				want := excludes(ours, theirs)
				// Who reads without sharing keeps a writer out; a raw reader of
				// theirs does not mind, but then our own writing must be unshared.
				if theirs.format == "raw" && theirs.readOnly && !ours.readOnly && ours.name == theirs.name {
					want = false
				}
				switch {
				case want && (!errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", pid))):
					t.Errorf("open while QEMU has it: %v; want ErrLocked by process %d", err, pid)
				case !want && err != nil:
					t.Errorf("open while QEMU has it: %v", err)
				}
				if err == nil {
					d.Close()
				}
				end()

				d, err = Open(spec)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				out, err := exec.Command("qemu-io", append([]string{"-c", "length"}, args...)...).CombinedOutput()
				want = excludes(ours, lenient(theirs)) || !theirs.share && excludes(ours, theirs) && !theirs.readOnly
				if want != (err != nil) || want && !strings.Contains(string(out), "Is another process using the image") {
					t.Errorf("QEMU opens what is open here: %v, %s; want it refused: %v", err, out, want)
				}
			})
		}
	}
}

// TestLocksInOneProcess opens an image twice, and again after it was closed.
func TestLocksInOneProcess(t *testing.T) {
	dir := lockDir(t)
	spec := Spec{Path: filepath.Join(dir, "top")}
	d, err := Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	var locked *qcow2.LockError
	if _, err := Open(spec); !errors.As(err, &locked) || locked.Permission != qcow2.PermWrite || locked.Path != spec.Path ||
		len(locked.Holders) != 1 || locked.Holders[0] != "this process itself" {
		t.Errorf("open twice: %v", err)
	}
	off := spec
	off.Locking = LockingOff
	if other, err := Open(off); err != nil {
		t.Errorf("open twice without locks: %v", err)
	} else {
		other.Close()
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(spec); err != nil {
		t.Fatalf("open after it was closed: %v", err)
	}
	d.Close()
}

// TestShareBacking writes to a backing file while an image on top of it is open.
func TestShareBacking(t *testing.T) {
	dir := lockDir(t)
	base := Spec{Path: filepath.Join(dir, "base")}
	for _, share := range []bool{false, true} {
		top, err := Open(Spec{Path: filepath.Join(dir, "top"), ShareBacking: share})
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(base)
		if err == nil != share || err != nil && !errors.Is(err, ErrLocked) {
			t.Errorf("share=%v: %v", share, err)
		}
		if err == nil {
			d.Close()
		}
		top.Close()
	}
	// It is for the one who asks for it: others keep the base to themselves.
	_, end := hold(t, "-r", "-f", "qcow2", filepath.Join(dir, "top"))
	defer end()
	top, err := Open(Spec{Path: filepath.Join(dir, "top"), ReadOnly: true, ShareBacking: true})
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	if _, err := Open(base); !errors.Is(err, ErrLocked) {
		t.Errorf("a base that somebody else reads: %v", err)
	}
}

// TestLockSpec parses the keys about locks.
func TestLockSpec(t *testing.T) {
	spec, _, err := ParseSpec("disk,readonly=on,force-share=on,locking=on")
	if err != nil || !spec.ForceShare || spec.Locking != LockingOn {
		t.Errorf("%+v, %v", spec, err)
	}
	for s, want := range map[string]string{
		"disk,force-share=on": "readonly=on",
		"disk,locking=maybe":  "on, off and auto are allowed",
	} {
		if _, _, err := ParseSpec(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// TestNoLocks opens a file on a file system without locks: /proc has none.
func TestNoLocks(t *testing.T) {
	for _, path := range []string{"/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		f.Close()
		g, err := qcow2.OpenFile(path, os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		if err := Lock(g, true, false); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		g.Close()
	}
}

// TestShareRaw has a tool write a raw disk that others write, too. A machine's is its own, an image with
// metadata is its writer's, and who unshares the size keeps out who changes it.
func TestShareRaw(t *testing.T) {
	dir := lockDir(t)
	raw, image := filepath.Join(dir, "raw"), filepath.Join(dir, "base")
	tool := Spec{Path: raw, Format: FormatRaw, ShareRaw: true}
	fixed, resizing := tool, tool
	fixed.Unshare, resizing.Take = qcow2.PermResize, qcow2.PermResize
	machine := Spec{Path: raw, Format: FormatRaw}
	qcow := Spec{Path: image, ShareRaw: true}
	for _, tt := range []struct {
		name   string
		a, b   Spec
		locked bool
	}{
		{"two tools", tool, tool, false},
		{"a machine's disk", machine, tool, true},
		{"a machine starts", tool, machine, true},
		{"the size is asked to stay", fixed, tool, false},
		{"the size is to change", fixed, resizing, true},
		{"the size is changed by one", tool, resizing, false},
		{"a qcow2 image", qcow, qcow, true},
	} {
		a, err := Open(tt.a)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		b, err := Open(tt.b)
		if err == nil {
			err = b.Close()
		} else if !errors.Is(err, qcow2.ErrLocked) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if locked := errors.Is(err, qcow2.ErrLocked); locked != tt.locked {
			t.Errorf("%s: locked %t, want %t", tt.name, locked, tt.locked)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}
