package imgtool

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/block"
)

// script is a list of command lines that are run twice, by qemu-img and by this
// package, each in a directory of its own: exit statuses and output must agree
// line for line. A line that begins with "io " or "img " is for QEMU's qemu-io or
// qemu-img in both, one with "same " compares the two directories' images of that name. Of one that
// begins with "~" the layout of the file is left out; of one with "%" the progress is compared, too.
type script struct {
	name  string
	lines string
}

// volatile is output that differs from run to run.
var volatile = []struct{ from, to string }{
	{`#block\d+`, "#blockN"},
	{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "DATE"},
	{`"date-(sec|nsec)": \d+`, `"date-$1": N`},
	{`disk size: .*`, "disk size: N"},
	{`"actual-size": \d+`, `"actual-size": N`},
	{`completed in [\d.]+ seconds`, "completed in T seconds"},
	{`uuid"?: "?[0-9a-f-]{36}`, "uuid: U"},
	{`(iters"?): \d+`, "$1: N"},
	{`    \(.*/100%\)\r`, ""},
}

func settle(out string) string {
	for _, v := range volatile {
		out = regexp.MustCompile(v.from).ReplaceAllString(out, v.to)
	}
	return out
}

// settleLayout also leaves out where things lie in a file.
func settleLayout(out string) string {
	return regexp.MustCompile(`(Image end offset|"image-end-offset"|"offset"|required size): \d+`).ReplaceAllString(settle(out), "$1: N")
}

// split cuts a command line at blanks outside double quotes.
func split(line string) (words []string) {
	for _, m := range regexp.MustCompile(`"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		words = append(words, m[1]+m[2])
	}
	return words
}

func TestAgainstQEMU(t *testing.T) {
	for _, tool := range []string{"qemu-img", "qemu-io"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian package qemu-utils)", tool)
		}
	}
	for _, s := range slices.Concat(createScripts, copyScripts, changeScripts, optionScripts, damageScripts, amendScripts, nestedScripts, fileScripts, wordScripts, formScripts, progressScripts, belowScripts) {
		t.Run(s.name, func(t *testing.T) {
			theirs, ours := t.TempDir(), t.TempDir()
			for _, line := range strings.Split(strings.TrimSpace(s.lines), "\n") {
				line = strings.TrimSpace(line)
				words := split(line)
				switch words[0] {
				case "io", "img":
					for _, dir := range []string{theirs, ours} {
						cmd := exec.Command("qemu-"+words[0], words[1:]...)
						cmd.Dir = dir
						if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("failed")) {
							t.Fatalf("%s in %s: %v\n%s", line, dir, err, out)
						}
					}
				case "poke":
					for _, dir := range []string{theirs, ours} {
						poke(t, filepath.Join(dir, words[1]), words[2:])
					}
				case "same":
					same(t, theirs, ours, words[1])
				default:
					compareRuns(t, theirs, ours, line)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// poke writes bytes into a file: the first of args is where, decimal, the others are the bytes.
func poke(t *testing.T, name string, args []string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []int64
	for _, s := range args {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	for i, b := range list[1:] {
		if _, err := f.WriteAt([]byte{byte(b)}, list[0]+int64(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// compareRuns runs a command line in both ways.
func compareRuns(t *testing.T, theirs, ours, line string) {
	t.Helper()
	settle := settle
	command, loose := strings.CutPrefix(line, "~")
	command, shown := strings.CutPrefix(command, "%")
	switch {
	case loose:
		settle = settleLayout
	case shown:
		settle = func(out string) string { return out }
	}
	words := split(command)
	var wantOut, wantErr, gotOut, gotErr bytes.Buffer
	var cmd *exec.Cmd
	for range 20 {
		wantOut.Reset()
		wantErr.Reset()
		cmd = exec.Command("qemu-img", words...)
		cmd.Dir = theirs
		cmd.Stdout, cmd.Stderr = &wantOut, &wantErr
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		// On a busy machine it can fail to measure how fast it derives keys.
		if !bytes.Contains(wantErr.Bytes(), []byte("Unable to get accurate CPU usage")) {
			break
		}
	}
	t.Chdir(ours)
	tool := Tool{Name: "qemu-img", Stdout: &gotOut, Stderr: &gotErr, DefaultFormat: "raw"}
	code := tool.Run(words)
	if want := cmd.ProcessState.ExitCode(); code != want {
		t.Errorf("%s: status %d, want %d", line, code, want)
	}
	for what, pair := range map[string][2]string{
		"stdout": {gotOut.String(), wantOut.String()}, "stderr": {gotErr.String(), wantErr.String()},
	} {
		if got, want := settle(pair[0]), settle(pair[1]); got != want {
			t.Errorf("%s: %s\n%s\nwant\n%s", line, what, got, want)
		}
	}
}

// same compares the images of one name, by the judgement of qemu-img.
func same(t *testing.T, theirs, ours, name string) {
	t.Helper()
	a, b := filepath.Join(theirs, name), filepath.Join(ours, name)
	if out, err := exec.Command("qemu-img", "compare", a, b).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
	f, err := block.Guess(b)
	if err != nil {
		t.Fatal(err)
	}
	if f != "qcow2" {
		return
	}
	if out, err := exec.Command("qemu-img", "check", b).CombinedOutput(); err != nil {
		t.Errorf("check %s: %v\n%s", name, err, out)
	}
}

// TestKeyOrder compares the order of keys with what qemu-img prints of them.
func TestKeyOrder(t *testing.T) {
	for _, want := range []string{
		"backing-filename-format snapshots virtual-size filename cluster-size format actual-size format-specific full-backing-filename encrypted backing-filename dirty-flag",
		"compat compression-type lazy-refcounts bitmaps refcount-bits data-file encrypt data-file-raw corrupt extended-l2",
		"ivgen-alg hash-alg cipher-alg uuid format cipher-mode slots payload-offset master-key-iters",
		"icount vm-clock-nsec name date-sec date-nsec vm-clock-sec id vm-state-size",
		"image-end-offset compressed-clusters total-clusters corruptions corruptions-fixed check-errors leaks leaks-fixed allocated-clusters filename format fragmented-clusters",
		"bitmaps required fully-allocated", "flags name granularity",
	} {
		d := make(dict)
		for _, k := range strings.Fields(want) {
			d[k] = 0
		}
		if got := strings.Join(d.keys(), " "); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "0.977 KiB", 1024: "1 KiB", 64 << 20: "64 MiB", 8461180928: "7.88 GiB", 1<<63 - 1: "8 EiB",
	} {
		if got := humanSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestRunOf cuts a buffer at the units of the disk, not of the buffer.
func TestRunOf(t *testing.T) {
	buf := append(append(make([]byte, 4096), bytes.Repeat([]byte{1}, 5000)...), make([]byte, 4000)...)
	var got []string
	for off := 0; off < len(buf); {
		zero, n := runOf(buf[off:], int64(off)+512, 4096)
		got = append(got, fmt.Sprintf("%v:%d", zero, n))
		off += n
	}
	if want := "true:3584 false:8192 true:1320"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}
