package payloadtests

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
	"github.com/govmm/govmm/qcow2"
)

const (
	blockSize = 512
	diskSize  = 4 << 20
	// preloaded is how many blocks have data in them before the guest starts.
	preloaded = 256
)

// disk is a qcow2 image, and what it has to hold.
type disk struct {
	t     *testing.T
	file  qcow2.File
	image *qcow2.Image
	want  []byte // all of the disk; what the guest writes is entered when its program is made
}

// newDisk makes an image in file with data in its first blocks.
func newDisk(t *testing.T, file qcow2.File) *disk {
	t.Helper()
	d := &disk{t: t, file: file, want: make([]byte, diskSize)}
	if err := qcow2.Create(file, qcow2.CreateOptions{Size: diskSize}); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.image, err = qcow2.Open(file, qcow2.Options{}); err != nil {
		t.Fatal(err)
	}
	first := pattern(1, preloaded*blockSize)
	copy(d.want, first)
	if err := d.image.WriteV([][]byte{first}, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.image.Flush(); err != nil {
		t.Fatal(err)
	}
	return d
}

// tempFile creates an image file that goes away with the test.
func tempFile(t *testing.T) *qcow2.OSFile {
	t.Helper()
	file, err := qcow2.OpenFile(filepath.Join(t.TempDir(), "disk.qcow2"), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// pattern is n bytes that are nowhere like those of another place or seed.
func pattern(seed byte, n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p) // never fails
	return p
}

// close closes the image and judges it.
func (d *disk) close() {
	d.t.Helper()
	if err := d.image.Close(); err != nil {
		d.t.Errorf("close the image: %v", err)
	}
	if f, ok := d.file.(*qcow2.OSFile); ok {
		judge(d.t, f.Path(), d.want, false)
	}
}

// judge checks an image and compares it with what it must hold. Leaks are fine
// only after a power cut. The second opinion is that of QEMU's tools.
func judge(t *testing.T, path string, want []byte, leaks bool) {
	t.Helper()
	file, err := qcow2.OpenFile(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	image, err := qcow2.Open(file, qcow2.Options{ReadOnly: true})
	if err != nil {
		t.Fatalf("open the image again: %v", err)
	}
	defer image.Close()
	var findings strings.Builder
	result, err := image.Check(qcow2.CheckOptions{Report: func(text string) { findings.WriteString("\n" + text) }})
	if err != nil {
		t.Fatal(err)
	}
	if result.Corruptions != 0 || result.CheckErrors != 0 || result.Leaks != 0 && !leaks {
		t.Errorf("the image has %d corruptions and %d leaks:%s", result.Corruptions, result.Leaks, findings.String())
	}
	got := make([]byte, len(want))
	if err := image.ReadV([][]byte{got}, 0); err != nil {
		t.Fatal(err)
	}
	if diff := difference(got, want); diff >= 0 {
		t.Errorf("the disk differs from block %d on: % x..., want % x...",
			diff/blockSize, got[diff:][:min(8, len(got)-diff)], want[diff:][:min(8, len(want)-diff)])
	}
	qemuJudge(t, path, want, leaks)
}

// qemuJudge has QEMU's tools say what judge says, if they are installed.
func qemuJudge(t *testing.T, path string, want []byte, leaks bool) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Log("qemu-img is not installed: no second opinion on the image")
		return
	}
	// The test's own context is over when it cleans up.
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	if !leaks { // they are an error to qemu-img
		if out, err := harness.QemuImg(ctx, "check", "-f", "qcow2", path); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	raw := path + ".want"
	if err := os.WriteFile(raw, want, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := harness.QemuImg(ctx, "compare", "-f", "qcow2", "-F", "raw", path, raw); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// difference is where a and b begin to differ, or -1.
func difference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
