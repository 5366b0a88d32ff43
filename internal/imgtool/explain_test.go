package imgtool

import (
	"bytes"
	"encoding/json"
	commandline "flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/qcow2"
)

var update = commandline.Bool("update", false, "write the golden files anew")

// runTool runs a command line.
func runTool(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	tool := Tool{Name: "govmm img", Stdout: &out, Stderr: &errs, DefaultFormat: "qcow2"}
	status = tool.Run(args)
	return status, out.String(), errs.String()
}

// explainImage makes an image with data, zeroes, a snapshot and a bitmap, the same
// each time.
func explainImage(t *testing.T, o qcow2.CreateOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := qcow2.OpenFile(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	o.Size = 1 << 30
	if err := qcow2.Create(f, o); err != nil {
		t.Fatal(err)
	}
	im, err := qcow2.Open(f, qcow2.Options{NoBacking: true})
	if err != nil {
		t.Fatal(err)
	}
	data := func(n int) [][]byte { return [][]byte{bytes.Repeat([]byte{7}, n)} }
	for i, step := range []func() error{
		func() error { return im.WriteV(data(128<<10), 0) },
		func() error { return im.WriteZeroes(1<<20, 256<<10, false) },
		func() error {
			_, err := im.CreateSnapshot(qcow2.SnapshotOptions{Name: "before", Date: time.Unix(1000000000, 5000)})
			return err
		},
		func() error { return im.WriteV(data(64<<10), 64<<10) },
		func() error { return im.AddBitmap("changes", qcow2.BitmapOptions{Granularity: 64 << 10}) },
		func() error { return im.WriteV(data(64<<10), 512<<20) },
		im.Close,
	} {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	return path
}

// TestExplainGolden compares what explain prints with the files in testdata.
func TestExplainGolden(t *testing.T) {
	plain := explainImage(t, qcow2.CreateOptions{})
	extended := explainImage(t, qcow2.CreateOptions{ExtendedL2: true, ClusterSize: 16 << 10, BackingFile: "base", BackingFormat: "raw", RefcountBits: 4})
	damaged := explainImage(t, qcow2.CreateOptions{})
	b, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	b[96+3] = 7                                           // refcount order
	copy(b[0x30008:], "\x80\x00\x00\xff\x00\x00\x00\x00") // L1 entry 1
	b[79] |= 2                                            // corrupt bit
	if err := os.WriteFile(damaged, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		golden string
		args   []string
	}{
		{"plain", []string{plain}},
		{"extended", []string{"--l2", "0", extended}},
		{"damaged", []string{damaged}},
		{"guest", []string{"--guest", "0x11170", plain}},
		{"guest-backing", []string{"--guest=64M", extended}},
		{"host", []string{"--host", "0x50000", plain}},
		{"host-json", []string{"--host", "320k", "--output=json", plain}},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			status, out, errs := runTool(append([]string{"explain"}, tt.args...)...)
			if status != 0 {
				t.Fatalf("status %d: %s", status, errs)
			}
			golden := filepath.Join("testdata", "explain", tt.golden+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(out), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if out != string(want) {
				t.Errorf("printed\n%s\nnot\n%s", out, want)
			}
			var v []struct {
				Structure string
				Notes     []map[string]any
			}
			status, out, errs = runTool(append([]string{"explain", "--output=json"}, tt.args...)...)
			if err := json.Unmarshal([]byte(out), &v); status != 0 || err != nil || len(v) == 0 || v[0].Structure == "" || len(v[0].Notes) == 0 {
				t.Errorf("as JSON: status %d, %v: %s%s", status, err, errs, out)
			}
		})
	}
}

// TestExplainMistakes gives command lines that can't be followed.
func TestExplainMistakes(t *testing.T) {
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"", "Expecting one image file name"},
		{raw, "Image is not in qcow2 format"},
		{"--host x " + raw, "--host x: must be a number"},
		{"--guest -1 " + raw, "--guest -1: must be a number"},
		{"--l2 -1 " + raw, "--l2 -1: must be a number"},
		{"--guest 0 --host 0 " + raw, "mutually exclusive"},
		{"/nowhere", "No such file or directory"},
	} {
		status, out, errs := runTool(append([]string{"explain"}, strings.Fields(tt.args)...)...)
		if status != 1 || out != "" || !strings.Contains(errs, tt.want) {
			t.Errorf("explain %s: status %d, %s%s", tt.args, status, out, errs)
		}
	}
}

// TestExplainLocked explains an image that somebody writes to only with -U.
func TestExplainLocked(t *testing.T) {
	path := explainImage(t, qcow2.CreateOptions{})
	f, err := openHostFile(path, true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if status, _, errs := runTool("explain", path); status != 1 || !strings.Contains(errs, "lock") {
		t.Errorf("status %d: %s", status, errs)
	}
	if status, _, errs := runTool("explain", "-U", path); status != 0 {
		t.Errorf("with -U: status %d: %s", status, errs)
	}
}
