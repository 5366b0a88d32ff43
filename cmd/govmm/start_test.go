package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestStartMakesNoTables: every `qemu-img info` of a script pays for what any package of the
// program does before main. What our packages have large is made when it is used.
func TestStartMakesNoTables(t *testing.T) {
	program := filepath.Join(t.TempDir(), "govmm")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := exec.Command(program, "version")
	start.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	trace, err := start.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, trace)
	}
	const most = 1 << 10 // bytes
	line := regexp.MustCompile(`(?m)^init (\S+) @.* (\d+) bytes, (\d+) allocs$`)
	found := line.FindAllStringSubmatch(string(trace), -1)
	if len(found) == 0 {
		t.Fatalf("no initializers in %q", trace)
	}
	for _, m := range found {
		if n, err := strconv.Atoi(m[2]); (m[1] == "main" || strings.HasPrefix(m[1], "github.com/govmm/govmm/")) && (err != nil || n > most) {
			t.Errorf("%s allocates %s bytes in %s pieces when the program starts (at most %d are allowed)", m[1], m[2], m[3], most)
		}
	}
}

// TestStartOfLightPackages keeps packages away whose initializers take longer than all of
// ours, and for which there is something else.
func TestStartOfLightPackages(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for name, instead := range map[string]string{
		"github.com/u-root/u-root/pkg/cpio": "it has go-humanize, whose numbers are made at start; internal/nest writes its archive",
		"golang.org/x/sys/cpu":              "it asks the processor many questions; qcow2/luks asks the one it has",
		"net/http":                          "nothing of it is used",
	} {
		if slices.Contains(deps, name) {
			t.Errorf("%s is linked: %s", name, instead)
		}
	}
}
