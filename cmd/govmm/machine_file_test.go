package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// parseFile reads a machine from a file and arguments.
func parseFile(t *testing.T, text string, args ...string) (machineSpec, error) {
	t.Helper()
	var f runFlags
	cmd := &cobra.Command{Use: "run"}
	f.register(cmd)
	if err := cmd.ParseFlags(append(args, "-f", write(t, text, t.TempDir(), "machine.yaml"))); err != nil {
		t.Fatal(err)
	}
	if err := f.readFile(cmd); err != nil {
		return machineSpec{}, err
	}
	return f.machine()
}

// A file says the same as the flags that it has the words of, and less than those that
// are given as well.
func TestMachineFile(t *testing.T) {
	dir := t.TempDir()
	kernel, disk := write(t, "", dir, "k"), write(t, "", dir, "a,b.raw")
	text := fmt.Sprintf(`# a machine
kernel: %s
append: |-
  console=ttyS0 root=/dev/sda1
memory: 1G
cpus: 3
exit-port: yes
watchdog: off
serial: [none, none]
disk:
  - path: %s
    format: raw
    readonly: on
  - format=null,size=1M,id=scratch
`, kernel, disk)
	got, err := parseFile(t, strings.Replace(text, "yes", "true", 1), "--cpus", "2")
	if err != nil {
		t.Fatal(err)
	}
	want := parseRun(t, "--kernel", kernel, "--append", "console=ttyS0 root=/dev/sda1", "--memory", "1G", "--cpus", "2", "--exit-port",
		"--serial", "none", "--serial", "none",
		"--disk", "path="+strings.ReplaceAll(disk, ",", ",,")+",format=raw,readonly=on", "--disk", "format=null,size=1M,id=scratch")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestBadMachineFiles(t *testing.T) {
	for text, want := range map[string]string{
		"cpus: 1\nmemroy: 1G":           `machine.yaml:2: unknown word "memroy"`,
		"memory: lots":                  `machine.yaml:1: memory "lots": "lots": a size is`,
		"cpus: 1\n\ncpus: 2":            `machine.yaml:3: mapping key "cpus" already defined`,
		"cpus: 1\n cpus: 2":             "machine.yaml:1: mapping value is not allowed",
		"cpus: 2\nmemory: 1M":           "machine.yaml:2: --memory 1M: at least 16M",
		"disk:\n- path: /none\n- x=1":   `machine.yaml:3: disk without a path`,
		"disk:\n- /none\n- /none,x=1":   `machine.yaml:3: disk "/none,x=1": unknown key`,
		"disk:\n- /none\n":              "machine.yaml:1: --disk: open /none: no such file",
		"kernel: /none\nboot: order=1":  "machine.yaml:2: --boot order=1: a kernel",
		"shutdown-timeout: 5":           `machine.yaml:1: shutdown-timeout "5": must be a time`,
		"exit-port: maybe":              `machine.yaml:1: exit-port "maybe": must be true or false`,
		"cpus: [1, 2]":                  "machine.yaml:1: cpus takes one value, not a list of 2",
		"- a\n- b":                      "machine.yaml:1: not a map",
		"disk:\n  - path: {a: b}":       "machine.yaml:2: disk: must be text or a number",
		"disk:\n  - path: a\n   bad: b": "machine.yaml:3:",
		"serial:\n  - stdio\n  - tcp:1": `machine.yaml:3: serial "tcp:1"`,
		"file: x":                       `unknown word "file"`,
		"a: &x [*x, *x]\nb: *x":         `unknown word "a"`,
		"memory: *x":                    "machine.yaml:1:",
		"\x00":                          "machine.yaml",
	} {
		_, err := parseFile(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if status, _, stderr := govmm("run", "-f", t.TempDir()+"/none"); status != exitFailure || !strings.Contains(stderr, "no such file") {
		t.Errorf("a file that is not there: %s", stderr)
	}
}

// What config prints is the same machine again.
func TestConfigCanBeFedBack(t *testing.T) {
	dir := t.TempDir()
	kernel, disk := write(t, "", dir, "k"), write(t, "", dir, "d")
	args := []string{"--kernel", kernel, "--memory", "64M", "--disk", "path=" + disk + ",format=raw", "--disk", "format=null,size=1M",
		"--append", `quiet "a: b" # c`, "--exit-port", "--on-panic", "pause", "--log-level", "vmm=debug", "--accel", "kvm"}
	for _, output := range []string{"yaml", "json"} {
		status, text, stderr := govmm(append([]string{"config", "--output", output}, args...)...)
		if status != 0 {
			t.Fatal(stderr)
		}
		got, err := parseFile(t, text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		want := parseRun(t, args...)
		got.controller.text = want.controller.text
		if !reflect.DeepEqual(got.args(), want.args()) {
			t.Errorf("got %q, want %q, from\n%s", got.args(), want.args(), text)
		}
		if _, again, _ := govmm("config", "--output", output, "-f", write(t, text, dir, "again")); again != text {
			t.Errorf("fed back it is\n%s, was\n%s", again, text)
		}
	}
}

func FuzzMachineFile(f *testing.F) {
	f.Add("cpus: 1\ndisk:\n  - path: a\n    cache: writeback\n")
	f.Add("{\"memory\": \"1G\", \"serial\": [\"none\"]}")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		_, _ = parseFile(t, text)
	})
}
