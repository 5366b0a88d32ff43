package blkdebug

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// image opens a new image of 8 MiB with 512-byte clusters, its file behind d.
func image(t *testing.T, d *Debug) *qcow2.Image {
	t.Helper()
	f, err := qcow2.OpenFile(filepath.Join(t.TempDir(), "disk"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := qcow2.Create(f, qcow2.CreateOptions{Size: 8 << 20, ClusterSize: 512}); err != nil {
		t.Fatal(err)
	}
	im, err := qcow2.Open(d.Wrap(f), qcow2.Options{Event: d.Event})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}

func rules(t *testing.T, config string) []Rule {
	t.Helper()
	list, err := ParseConfig(strings.NewReader(config), "config")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestInjectError lets the write of L2 entries fail once: the flush says so, and
// the next one succeeds.
func TestInjectError(t *testing.T) {
	d := New(rules(t, `
# no space for L2 tables
[inject-error]
event = "l2_alloc_write"
errno = "28"
once = "on"
iotype = "write"
`), nil)
	im := image(t, d)
	if err := im.WriteV([][]byte{make([]byte, 4096)}, 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("flush: %v", err)
	}
	if err := im.Flush(); err != nil {
		t.Fatalf("the next flush: %v", err)
	}
	if res, err := im.Check(qcow2.CheckOptions{}); err != nil || !res.Clean() {
		t.Fatalf("check: %+v, %v", res, err)
	}
}

// TestStates fails a read only in the state that a write leads to.
func TestStates(t *testing.T) {
	d := New(rules(t, `
[inject-error]
event = "read_aio"
state = "2"
[set-state]
event = "write_aio"
state = "1"
new_state = "2"
[set-state]
event = "flush_to_disk"
new_state = "3"
[inject-error]
event = "flush_to_disk"
errno = "0"
`), nil)
	im := image(t, d)
	buf := [][]byte{make([]byte, 512)}
	read := func(want error) {
		t.Helper()
		if err := im.ReadV(buf, 0); !errors.Is(err, want) {
			t.Fatalf("read: %v, want %v", err, want)
		}
	}
	read(nil)
	if err := im.WriteV(buf, 0); err != nil {
		t.Fatal(err)
	}
	read(syscall.EIO)
	read(syscall.EIO)
	if err := errors.Join(im.WriteZeroes(0, 512, false), im.WriteV(buf, 512)); !errors.Is(err, syscall.EIO) {
		t.Fatal("a rule without once did not count any more")
	}
}

// TestSector fails only I/O that touches one sector of the file.
func TestSector(t *testing.T) {
	d := New([]Rule{{Event: qcow2.EventNone, IO: Write, Errno: syscall.EIO, Sector: 10}}, nil)
	for _, tt := range []struct {
		kind   IOType
		off, n int64
		fails  bool
	}{{Write, 5120, 1, true}, {Write, 0, 5120, false}, {Write, 0, 5121, true}, {Write, 5632, 512, false}, {Read, 5120, 512, false}, {Write, 5120, 0, false}} {
		if err := d.Check(tt.kind, tt.off, tt.n); (err != nil) != tt.fails {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// TestBreakpoints holds a write at its copy, while another passes, and lets it go.
func TestBreakpoints(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	d := New(nil, func(s string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, s)
	})
	im := image(t, d)
	d.Break(qcow2.EventWriteAio, "A")
	done := make(chan error)
	go func() { done <- im.WriteV([][]byte{make([]byte, 100)}, 0) }()
	if err := d.Wait(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	if !d.Suspended("A") || d.Suspended("B") {
		t.Error("Suspended is wrong")
	}
	if err := im.WriteV([][]byte{make([]byte, 100)}, 1<<20); err != nil {
		t.Fatal(err) // it passes: the breakpoint is for one
	}
	if err := d.Resume("B"); !errors.Is(err, ErrNoTag) {
		t.Errorf("resume of nobody: %v", err)
	}
	if err := d.Resume("A"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.Break(qcow2.EventWriteAio, "C")
	if err := errors.Join(d.RemoveBreak("C"), im.WriteV([][]byte{make([]byte, 100)}, 0)); err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveBreak("C"); !errors.Is(err, ErrNoTag) {
		t.Errorf("remove what is gone: %v", err)
	}
	want := []string{"blkdebug: Suspended request 'A'", "blkdebug: Resuming request 'A'"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}

// TestBadConfig refuses rules that can't be meant.
func TestBadConfig(t *testing.T) {
	for config, want := range map[string]string{
		"[inject-error]\nevent = \"nothing\"":                     "invalid parameter value: nothing",
		"[inject-error]\nerrno = \"5\"":                           "Missing event name",
		"[inject-error]\nevent = \"l2_load\"\nerrno = \"x\"":      "expects a number",
		"[inject-error]\nevent = \"l2_load\"\nonce = \"maybe\"":   "'on' or 'off'",
		"[inject-error]\nevent = \"l2_load\"\nnew_state = \"1\"":  "support the option 'new_state'",
		"[inject-error]\nevent = \"l2_load\"\niotype = \"dance\"": "invalid parameter value: dance",
		"[set-state]\nevent = \"l2_load\"\nerrno = \"1\"":         "support the option 'errno'",
		"[explode]":                            "no option group 'explode'",
		"event = \"l2_load\"":                  "no group",
		"[inject-error]\nevent = l2_load":      "config:2: parse error",
		"[inject-error\nevent = \"l2_load\"\n": "parse error",
	} {
		if _, err := ParseConfig(strings.NewReader(config), "config"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", config, err, want)
		}
	}
}

// TestParseOptions takes rules out of a list of options.
func TestParseOptions(t *testing.T) {
	list, rest, err := ParseOptions(map[string]string{
		"inject-error.0.event": "read_aio", "inject-error.0.sector": "-1", "inject-error.1.event": "write_aio", "inject-error.1.errno": "0x1c",
		"set-state.0.event": "none", "set-state.0.new_state": "4", "image.filename": "x",
	})
	if err != nil || len(list) != 3 || list[1].Errno != syscall.ENOSPC || list[2].NewState != 4 || len(rest) != 1 {
		t.Errorf("%+v, %v, %v", list, rest, err)
	}
	for _, key := range []string{"inject-error.x.event", "set-state.-1.event"} {
		if _, _, err := ParseOptions(map[string]string{key: "none"}); err == nil {
			t.Errorf("%s is taken", key)
		}
	}
}

// TestEventsAreQEMUs has QEMU take every event name that there is.
func TestEventsAreQEMUs(t *testing.T) {
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip("qemu-utils not installed")
	}
	dir := t.TempDir()
	var config bytes.Buffer
	for e := range qcow2.Events {
		fmt.Fprintf(&config, "[set-state]\nevent = \"%v\"\nnew_state = \"1\"\n", qcow2.Event(e))
		if got, ok := qcow2.ParseEvent(qcow2.Event(e).String()); !ok || got != qcow2.Event(e) {
			t.Errorf("%v is not parsed", qcow2.Event(e))
		}
	}
	if list := rules(t, config.String()); len(list) != qcow2.Events {
		t.Errorf("%d rules", len(list))
	}
	if err := os.WriteFile(filepath.Join(dir, "config"), config.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "raw"), make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("qemu-io", "-f", "raw", "-c", "length", "blkdebug:config:raw")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	// And none is missing here: an unknown event in QEMU's words.
	if !regexp.MustCompile(`^[a-z0-9_]+$`).MatchString(qcow2.Event(0).String()) {
		t.Error("names are not lower case")
	}
}

// TestPartsOfUnitsTakeTurns has a write of a part of a unit wait while another one has read the
// rest of that, and one elsewhere pass.
func TestPartsOfUnitsTakeTurns(t *testing.T) {
	d := New(nil, nil)
	d.SetLimits(Limits{Align: 4096})
	disk, err := qcow2.OpenFile(filepath.Join(t.TempDir(), "disk"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	f := d.Wrap(disk)
	write := func(b byte, off, n int64) error { return f.WriteV([][]byte{bytes.Repeat([]byte{b}, int(n))}, off) }
	d.Break(qcow2.EventPwritevRmwAfterTail, "first")
	var crew sync.WaitGroup
	for i := range int64(8) {
		crew.Go(func() {
			if err := write(byte(i+1), i*512, 512); err != nil {
				t.Error(err)
			}
		})
	}
	if err := d.Wait(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(9, 4096, 4096), write(10, 8192+512, 512)); err != nil {
		t.Fatal(err)
	}
	if err := d.Resume("first"); err != nil {
		t.Fatal(err)
	}
	crew.Wait()
	got := make([]byte, 12288)
	if err := f.ReadV([][]byte{got[:100], got[100:]}, 0); err != nil {
		t.Fatal(err)
	}
	var want []byte
	for _, b := range []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9, 0, 10, 0, 0, 0, 0, 0, 0} {
		want = append(want, bytes.Repeat([]byte{b}, 512)...)
	}
	if !bytes.Equal(got, want) {
		t.Error("the disk is not what was written")
	}
	if n, err := disk.Size(); n != 12288 || err != nil {
		t.Errorf("the file has %d bytes, %v", n, err)
	}
}
