package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

// govmm runs the program.
func govmm(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(context.Background(), args, strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

// write makes a file and returns its path.
func write(t *testing.T, content string, path ...string) string {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestBadInputIsOneLine(t *testing.T) {
	kernel := write(t, "kernel", t.TempDir(), "vmlinuz")
	run := func(args ...string) []string {
		return append([]string{"run", "--kernel", kernel, "--accel", "kvm"}, args...)
	}
	tests := []struct {
		args []string
		want string // the line holds it
	}{
		{[]string{"fly"}, `unknown command "fly"`},
		{[]string{"version", "now"}, "now"},
		{[]string{"version", "--output", "xml"}, "must be text or json"},
		{[]string{"doctor", "--outptu", "json"}, `see "govmm doctor --help"`},
		{[]string{"run"}, "nothing to boot"},
		{[]string{"run", "--initrd", "i", "--disk", "null.qcow2"}, "--initrd i: is for a kernel"},
		{[]string{"run", "--append", "quiet", "--disk", "null.qcow2"}, `--append "quiet": is for a kernel`},
		{[]string{"run", "--kernel", "k", "--firmware", "b"}, "--firmware b: a kernel starts without firmware"},
		{[]string{"run", "--kernel", "k", "--bios-debug", "d"}, "--bios-debug d: a kernel starts without firmware"},
		{[]string{"run", "--kernel", "k", "--boot", "order=1"}, "--boot order=1: a kernel starts without firmware"},
		{[]string{"run", "--boot", "order=2,3", "--disk", "null.qcow2"}, "--boot order=2,3: there is no disk 2"},
		{[]string{"run", "--boot", "2,3"}, "must be order=N,N..."},
		{[]string{"run", "--boot", "order=1,c"}, `"c" is not the number of a disk`},
		{[]string{"run", "--boot", "order=0"}, `"0" is not the number of a disk`},
		{[]string{"run", "--boot", "order=1,1"}, `"1" comes twice`},
		{[]string{"run", "--firmware", "/nowhere/bios"}, "--firmware: open /nowhere/bios: no such file"},
		{[]string{"run", "--kernel", "/nowhere/vmlinuz"}, "--kernel: open /nowhere/vmlinuz: no such file"},
		{[]string{"run", "vmlinuz"}, `unexpected argument "vmlinuz": govmm run [--kernel FILE|host] [flags]`},
		{[]string{"help", "fly"}, `unknown command "fly"`},
		{[]string{"ctl", "/nowhere", "disk", "fly"}, `unknown command "fly" ("govmm ctl /nowhere disk --help" lists them)`},
		{[]string{"ctl", "/nowhere", "disk", "add", "x"}, "an argument is missing: govmm ctl /nowhere disk add NAME path=FILE"},
		{[]string{"ctl", "/nowhere", "status", "x"}, `unexpected argument "x": govmm ctl /nowhere status`},
		{[]string{"ctl", "/nowhere", "--fly"}, `unknown flag: --fly (see "govmm ctl /nowhere --help")`},
		{[]string{"ctl", "/nowhere", "status"}, "the machine at /nowhere does not answer: dial unix /nowhere: connect: no such file"},
		{run("--exit-port=maybe"), `--exit-port "maybe": must be true or false`},
		{run("--shutdown-timeout", "soon"), `--shutdown-timeout "soon": must be a time, as in 30s or 2m`},
		{run("--stats", "/nowhere/s"), "--stats: open /nowhere/s: no such file"},
		{run("--initrd", "/nowhere/initrd"), "--initrd: open /nowhere/initrd: no such file"},
		{run("--disk", "/nowhere/d"), "--disk: open /nowhere/d: no such file"},
		{run("--disk", "readonly"), "--disk: open readonly: no such file"},
		{run("--disk", "format=raw"), "without a path"},
		{run("--disk", "path=/nowhere/d"), "--disk: open /nowhere/d: no such file"},
		{run("--disk", "path=d,format=vmdk"), "vmdk"},
		{run("--disk", "path=d,readonly=yes"), "readonly=yes"},
		{run("--disk", "path=d,cache=fast"), `cache mode "fast" (none, directsync, writeback, writethrough and unsafe are allowed)`},
		{run("--disk", "path=d,serial=123456789012345678901"), "1 to 20 characters"},
		{run("--disk", "path=d,bus=ide"), `unknown key "bus"`},
		{run("--accel", "fast"), "must be auto, kvm or nested"},
		{run("--memory", "much"), `"much": a size is a number with a unit`},
		{run("--memory", "1M"), "--memory 1M: at least 16M"},
		{run("--memory", "9E"), "too large"},
		{run("--cpus", "0"), "--cpus 0: at least 1"},
		{run("--cpus", "many"), "many"},
		{run("--serial", "usb"), `"usb": must be stdio, none, unix:PATH, file:PATH or fd:NUMBER`},
		{run("--serial", "unix"), `"unix": unix needs a path`},
		{run("--serial", "fd:0"), "3 or more"},
		{run("--serial", "none:x"), "none takes nothing after it"},
		{run("--serial", "stdio", "--serial", "stdio"), "only one serial port can be on stdio"},
		{run("--serial", "none", "--serial", "none", "--serial", "none"), "there are two serial ports"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			status, stdout, stderr := govmm(tt.args...)
			if status != 1 {
				t.Errorf("status %d, want 1", status)
			}
			if stdout != "" {
				t.Errorf("standard output: %q", stdout)
			}
			if !strings.HasPrefix(stderr, "govmm: ") || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
				t.Errorf("not one line of govmm's: %q", stderr)
			}
			if !strings.Contains(stderr, tt.want) {
				t.Errorf("got %q, want %q in it", stderr, tt.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"help"}, {"--help"}, {"help", "run"}, {"run", "--help"}, {"doctor", "-h"}} {
		status, stdout, stderr := govmm(args...)
		if status != 0 || stderr != "" || !strings.Contains(stdout, "Usage:") {
			t.Errorf("govmm %q: status %d, %q, %q", args, status, stdout, stderr)
		}
		if strings.Contains(stdout, nestInitName) || strings.Contains(stdout, terminalGuardName) {
			t.Errorf("govmm %q shows commands that are not for people", args)
		}
	}
	_, help, _ := govmm("run", "--help")
	for _, want := range []string{"Exit status:", "128+N", "--kernel host", "Ctrl-A X", defaultCmdline} {
		if !strings.Contains(help, want) {
			t.Errorf("no %q in the help of run", want)
		}
	}
	for line := range strings.Lines(help) {
		if strings.Contains(line, "\t") {
			t.Errorf("tab in %q", line)
		}
	}
}

func TestVersion(t *testing.T) {
	if status, out, _ := govmm("version"); status != 0 || !strings.HasPrefix(out, "govmm ") || !strings.Contains(out, "go1.") {
		t.Errorf("status %d, %q", status, out)
	}
	var v versionReport
	if _, out, _ := govmm("version", "--output", "json"); json.Unmarshal([]byte(out), &v) != nil || v.Go == "" {
		t.Errorf("JSON: %q", out)
	}
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abcdef"}, {Key: "vcs.time", Value: "2026-11-22T00:00:00Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	var text bytes.Buffer
	buildVersion(info, true).write(&text)
	for _, want := range []string{"govmm v1.2.3\n", "revision abcdef (2026-11-22T00:00:00Z, modified)"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in %q", want, &text)
		}
	}
	if v := buildVersion(nil, false); v.Version != "unknown" {
		t.Errorf("without build information: %+v", v)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if status, out, _ := govmm("completion", shell); status != 0 || !strings.Contains(out, "govmm") {
			t.Errorf("%s: status %d, %d bytes", shell, status, len(out))
		}
	}
	dir := t.TempDir()
	write(t, "", dir, "disk.qcow2")
	write(t, "", dir, "images", "other.qcow2")
	tests := []struct {
		words []string
		want  []string
	}{
		{[]string{"run", "--accel", ""}, []string{"auto", "kvm", "nested"}},
		{[]string{"run", "--disk", ""}, []string{"path=", "cache=writeback"}},
		{[]string{"run", "--disk", "path=x,re"}, []string{"path=x,readonly=on"}},
		{[]string{"run", "--disk", "path=" + dir + "/"}, []string{"path=" + dir + "/disk.qcow2", "path=" + dir + "/images/"}},
		{[]string{"run", "--disk", "format=qcow2,path=" + dir + "/im"}, []string{"format=qcow2,path=" + dir + "/images/"}},
		{[]string{"run", "--serial", "u"}, []string{"unix:"}},
		{[]string{"run", "--serial", "unix:" + dir + "/d"}, []string{"unix:" + dir + "/disk.qcow2"}},
		{[]string{"doctor", "--output", ""}, []string{"json", "text"}},
		{[]string{"ru"}, []string{"run"}},
	}
	for _, tt := range tests {
		_, out, _ := govmm(append([]string{"__complete"}, tt.words...)...)
		for _, want := range tt.want {
			if !strings.Contains("\n"+out, "\n"+want+"\n") && !strings.Contains("\n"+out, "\n"+want+"\t") {
				t.Errorf("%q: no %q in %q", tt.words, want, out)
			}
		}
	}
}

func TestExitErrorSetsStatus(t *testing.T) {
	var stderr bytes.Buffer
	a := &app{stderr: &stderr}
	a.complain(fmt.Errorf("wrapped: %w", &exitError{code: 7, err: os.ErrNotExist}))
	if got := stderr.String(); got != "govmm: wrapped: file does not exist\n" {
		t.Errorf("got %q", got)
	}
}

// TestErrorsAreSaidOnce prints the errors of several steps that failed alike.
func TestErrorsAreSaidOnce(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: &out}
	full := errors.New("write disk: no space left on device")
	a.complain(errors.Join(fmt.Errorf("flush: %w", full), full, errors.New("close disk: input/output error"), full))
	if want := "govmm: flush: write disk: no space left on device\nclose disk: input/output error\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
