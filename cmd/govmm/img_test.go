package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// qemuImg runs the tool that the commands take after.
func qemuImg(t *testing.T, args ...string) (status int, stdout string) {
	t.Helper()
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img is not installed")
	}
	cmd := exec.Command(tool, args...)
	out, err := cmd.Output()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestCreateAgreesWithQEMU(t *testing.T) {
	t.Chdir(t.TempDir())
	if status, _, stderr := govmm("img", "create", "base.qcow2", "3M"); status != 0 {
		t.Fatal(stderr)
	}
	write(t, strings.Repeat("x", 5000), "base.raw")
	for name, args := range map[string][]string{
		"plain":         {"img", "10G"},
		"odd size":      {"img", "1000001"},
		"nothing":       {"img", "0"},
		"clusters":      {"-o", "cluster_size=4K,refcount_bits=1", "img", "1G"},
		"two -o":        {"-o", "cluster_size=2M", "-o", "lazy_refcounts=on", "img", "1T"},
		"version 2":     {"-o", "compat=0.10", "img", "1G"},
		"overlay":       {"-b", "base.qcow2", "-F", "qcow2", "img"},
		"larger":        {"-b", "base.qcow2", "-F", "qcow2", "img", "64M"},
		"over raw":      {"-b", "base.raw", "-F", "raw", "img"},
		"preallocated":  {"-o", "preallocation=metadata,cluster_size=4K", "img", "10M"},
		"subclusters":   {"-o", "extended_l2=on,preallocation=metadata,cluster_size=16K", "img", "10M"},
		"data file":     {"-o", "data_file=data", "img", "10M"},
		"raw data file": {"-o", "data_file=data,data_file_raw=on,preallocation=falloc", "img", "10M"},
		"options after": {"img", "10G", "-o", "cluster_size=128K"},
	} {
		t.Run(name, func(t *testing.T) {
			status, line, stderr := govmm(append([]string{"img", "create", "-f", "qcow2"}, args...)...)
			if status != 0 {
				t.Fatalf("status %d: %s", status, stderr)
			}
			ours, err := os.ReadFile("img")
			if err != nil {
				t.Fatal(err)
			}
			_, want := qemuImg(t, append([]string{"create", "-f", "qcow2"}, args...)...)
			theirs, err := os.ReadFile("img")
			if err != nil {
				t.Fatal(err)
			}
			if line != want {
				t.Errorf("printed\n%s, not\n%s", line, want)
			}
			if !bytes.Equal(ours, theirs) {
				t.Errorf("the images differ: %d and %d bytes", len(ours), len(theirs))
			}
		})
	}
}

func TestCheckAgreesWithQEMU(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "disk.qcow2")
	create := func(damage func(image []byte) []byte) {
		t.Helper()
		if status, _, stderr := govmm("img", "create", "-q", image, "1G"); status != 0 {
			t.Fatal(stderr)
		}
		b, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		write(t, string(damage(b)), image)
	}
	// Of a fresh image the third cluster is the refcount block, the fourth the
	// L1 table; a refcount is 16 bits, big-endian.
	const refcounts = 2 << 16
	for name, tt := range map[string]struct {
		damage func([]byte) []byte
		status int
	}{
		"clean":   {func(b []byte) []byte { return b }, 0},
		"leak":    {func(b []byte) []byte { b[refcounts+9] = 1; return append(b, make([]byte, 2<<16)...) }, 3},
		"corrupt": {func(b []byte) []byte { b[refcounts+7] = 0; return b }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			create(tt.damage)
			for _, output := range []string{"human", "json"} {
				status, out, stderr := govmm("img", "check", "--output", output, image)
				if status != tt.status {
					t.Errorf("status %d, want %d: %s", status, tt.status, stderr)
				}
				theirs, want := qemuImg(t, "check", "-f", "qcow2", "--output="+output, image)
				if theirs != tt.status || verdict(out) != verdict(want) {
					t.Errorf("status %d, printed\n%s, not\n%s", theirs, out, want)
				}
			}
		})
	}
	write(t, "no image at all", image)
	status, out, stderr := govmm("img", "check", image)
	if want := "govmm img: This image format does not support checks\n"; status != 63 || out != "" || stderr != want {
		t.Errorf("not an image: status %d, %q, %q", status, out, stderr)
	}
}

// verdict is the output of a check without the line about where the image ends:
// where leaked clusters lie is no part of it.
func verdict(out string) string {
	var s strings.Builder
	for line := range strings.Lines(out) {
		if !strings.Contains(strings.ToLower(line), "image") || !strings.Contains(strings.ToLower(line), "end") {
			s.WriteString(line)
		}
	}
	return s.String()
}

// TestBenchPrintsWhatQEMUDoes but for the time.
func TestBenchPrintsWhatQEMUDoes(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skipf("the comparison is with qemu-img: %v", err)
	}
	image := filepath.Join(t.TempDir(), "disk.qcow2")
	if status, _, stderr := govmm("img", "create", "-q", image, "1G"); status != 0 {
		t.Fatal(stderr)
	}
	args := []string{"bench", "-w", "-f", "qcow2", "-c", "100", "-d", "4", "-s", "2k", "-S", "64k", "-o", "1M",
		"--pattern", "0x55", "--flush-interval", "10", "--no-drain", image}
	theirs, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, theirs)
	}
	status, ours, stderr := govmm(append([]string{"img"}, args...)...)
	if status != 0 {
		t.Fatal(stderr)
	}
	digits := regexp.MustCompile(`completed in \d+\.\d{3} seconds`)
	blank := func(s string) string { return digits.ReplaceAllString(s, "completed") }
	if blank(ours) != blank(string(theirs)) {
		t.Errorf("got %q, want %q", ours, theirs)
	}
}

// TestCalledQEMUImg has the defaults of the tool of that name.
func TestCalledQEMUImg(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"qemu-img", "create", "img", "1M"}, "Formatting 'img', fmt=raw size=1048576\n"},
		{[]string{"img", "create", "img", "1M"}, "Formatting 'img', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib " +
			"size=1048576 lazy_refcounts=off refcount_bits=16\n"},
	} {
		if status, out, stderr := govmm(tt.args...); status != 0 || out != tt.want || stderr != "" {
			t.Errorf("%v: status %d, %q, %q; want %q", tt.args, status, out, stderr, tt.want)
		}
	}
	status, _, stderr := govmm("qemu-img", "info", "none")
	if want := "qemu-img: Could not open 'none': Could not open 'none': No such file or directory\n"; status != 1 || stderr != want {
		t.Errorf("status %d, %q, want %q", status, stderr, want)
	}
}
