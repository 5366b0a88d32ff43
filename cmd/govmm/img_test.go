package main

import (
	"bytes"
	"encoding/json"
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

func TestCreateRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "precious", "there")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"img"}, "a size is needed"},
		{[]string{"img", "big"}, "a size is a number"},
		{[]string{"-f", "raw", "img", "1G"}, "must be qcow2"},
		{[]string{"-b", "base", "img"}, "needs its format"},
		{[]string{"-F", "raw", "img", "1G"}, "without one"},
		{[]string{"-b", "base", "-F", "raw", "img"}, "base: no such file"},
		{[]string{"-o", "cluster_size", "img", "1G"}, "KEY=VALUE"},
		{[]string{"-o", "cluster_size=0", "img", "1G"}, "512 to 2M"},
		{[]string{"-o", "cluster_size=100", "there", "1G"}, "power of two"},
		{[]string{"-o", "colour=blue", "img", "1G"}, "colour"},
		{[]string{"-o", "compat=9", "img", "1G"}, "0.10 or 1.1"},
		{[]string{"-o", "lazy_refcounts=maybe", "img", "1G"}, "on or off"},
		{[]string{"-o", "refcount_bits=x", "img", "1G"}, "power of two"},
		{[]string{"-o", "cluster_size=512", "img", "8P"}, "larger cluster size"},
		{[]string{"-o", "preallocation=some", "img", "1G"}, "off, metadata, falloc or full"},
		{[]string{"-o", "data_file_raw=on", "img", "1G"}, "needs an external data file"},
		{[]string{"-o", "data_file=img", "img", "1G"}, "that is the image"},
		{[]string{"-o", "data_file=data,compat=0.10", "img", "1G"}, "version 3"},
		{nil, "arg"},
	} {
		status, _, stderr := govmm(append([]string{"img", "create"}, tt.args...)...)
		if status != 1 || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: status %d, %q, want %q", tt.args, status, stderr, tt.want)
		}
	}
	if _, err := os.Stat("img"); err == nil {
		t.Error("a failed creation left a file behind")
	}
	if _, err := os.Stat("data"); err == nil {
		t.Error("a failed creation left a data file behind")
	}
	if b, err := os.ReadFile("there"); string(b) != "precious" {
		t.Errorf("a failed creation spoilt a file: %q, %v", b, err)
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
	if status != 1 || out != "" || !strings.Contains(stderr, image) {
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

func TestCheckJSON(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.qcow2")
	if status, _, stderr := govmm("img", "create", "-q", image, "1G"); status != 0 {
		t.Fatal(stderr)
	}
	_, out, _ := govmm("img", "check", "--output", "json", image)
	var r checkReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Filename != image || r.TotalClusters != 16384 {
		t.Errorf("%+v, %v", r, err)
	}
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

func TestParseOptions(t *testing.T) {
	got, err := parseOptions("path=a,,b.qcow2,format=raw,serial=")
	want := []option{{"path", "a,b.qcow2"}, {"format", "raw"}, {"serial", ""}}
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %v, %v", got, err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
	for _, bad := range []string{"", "path", "=x", "a=b,", "a=b,c"} {
		if got, err := parseOptions(bad); err == nil {
			t.Errorf("%q gave %v", bad, got)
		}
	}
}
