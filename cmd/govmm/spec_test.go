package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/vmm"
	"github.com/spf13/cobra"
)

// parseRun parses the arguments of "govmm run" without running anything.
func parseRun(t *testing.T, args ...string) machineSpec {
	t.Helper()
	var f runFlags
	cmd := &cobra.Command{Run: func(*cobra.Command, []string) {}}
	f.register(cmd)
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	spec, err := f.machine()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestDefaults(t *testing.T) {
	kernel := write(t, "", t.TempDir(), "k")
	s := parseRun(t, "--kernel", kernel)
	want := machineSpec{
		kernel: kernel, cmdline: defaultCmdline, memory: 512 << 20, cpus: 1,
		serials: []serialSpec{{kind: serialStdio}},
		react:   reactions{onReset: vmm.EndOnReset, onPanic: vmm.End, shutdownTimeout: time.Minute},
		log:     logConfig{all: defaultLogLevel},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

// The arguments given to the inner program mean the same machine.
func TestArgsMeanTheSame(t *testing.T) {
	dir := t.TempDir()
	kernel, initrd := write(t, "", dir, "k"), write(t, "", dir, "i")
	odd, raw := write(t, "", dir, "a b,c.qcow2"), write(t, "", dir, "d.raw")
	odd = strings.ReplaceAll(odd, ",", ",,")
	for _, args := range [][]string{
		{"--kernel", kernel},
		{
			"--kernel", kernel, "--initrd", initrd, "--append", "console=ttyS0 a=\"b c\"",
			"--memory", "1.5G", "--cpus", "2", "--stats", "s.json",
			"--disk", "path=" + odd + ",readonly=on,serial=x", "--disk", "path=" + raw + ",format=raw,cache=writeback",
			"--serial", "none", "--serial", "file:/tmp/log", "--uuid", "00112233-4455-6677-8899-aabbccddeeff",
		},
		{"--kernel", kernel, "--append", "", "--serial", "fd:3"},
		{"--firmware", kernel, "--bios-debug", "log", "--disk", "path=" + raw + ",format=raw"},
		{"--firmware", kernel, "--display", "text", "--serial", "file:/tmp/log"},
		{"--firmware", kernel, "--boot", "order=2,1", "--disk", "path=" + raw + ",format=raw", "--disk", "path=" + odd},
	} {
		first := parseRun(t, args...)
		again := parseRun(t, first.args()...)
		if !reflect.DeepEqual(first, again) {
			t.Errorf("%q:\n%+v came back as\n%+v", args, first, again)
		}
	}
}

func TestHostKernel(t *testing.T) {
	root := t.TempDir()
	try := func() (string, string, string) {
		kernel, initrd, err := hostKernel(root, "6.1-test")
		if err != nil {
			return "", "", err.Error()
		}
		return strings.TrimPrefix(kernel, root), strings.TrimPrefix(initrd, root), ""
	}
	if _, _, err := try(); !strings.Contains(err, "vmlinuz-6.1-test") || !strings.Contains(err, "--kernel FILE") {
		t.Errorf("no kernel: %q", err)
	}
	write(t, "", root, "boot/vmlinuz-6.1-test")
	if _, _, err := try(); !strings.Contains(err, "lib/modules/6.1-test") {
		t.Errorf("no modules: %q", err)
	}
	write(t, "kernel/drivers/scsi/sd_mod.ko\n", root, "lib/modules/6.1-test/modules.builtin")
	if _, _, err := try(); !strings.Contains(err, "no driver megaraid_sas") {
		t.Errorf("no driver: %q", err)
	}
	write(t, "kernel/drivers/scsi/megaraid/megaraid_sas.ko\n", root, "lib/modules/6.1-test/modules.builtin")
	if kernel, initrd, err := try(); kernel != "/boot/vmlinuz-6.1-test" || initrd != "" || err != "" {
		t.Errorf("driver built in: %q, %q, %q", kernel, initrd, err)
	}
	write(t, "", root, "lib/modules/6.1-test/modules.builtin")
	write(t, "", root, "lib/modules/6.1-test/kernel/megaraid/megaraid_sas.ko.xz")
	write(t, "", root, "boot/initrd.img-6.1-test")
	if _, initrd, err := try(); initrd != "/boot/initrd.img-6.1-test" || err != "" {
		t.Errorf("driver as a module: %q, %q", initrd, err)
	}
}

// No flag overwrites a file that the machine is made of, by whatever name.
func TestOutputsDoNotOverwriteInputs(t *testing.T) {
	dir := t.TempDir()
	kernel, disk := write(t, "precious", dir, "k"), write(t, "precious", dir, "d")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(disk, link); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--stats=" + link, "--serial=file:" + disk, "--controller=trace=" + link, "--stats=" + kernel} {
		status, _, stderr := govmm(runArgs(kernel, "--disk", "path="+disk+",format=raw", flag)...)
		if status != exitFailure || !strings.Contains(stderr, "would overwrite the file of --") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q", flag, status, stderr)
		}
	}
	for _, path := range []string{kernel, disk} {
		if text, _ := os.ReadFile(path); string(text) != "precious" {
			t.Errorf("%s is now %q", path, text)
		}
	}
}
