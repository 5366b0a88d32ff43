package main

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"
)

// parse reads flags as govmm run does, and what machine they are.
func parse(args []string) (f runFlags, spec machineSpec, err error) {
	cmd := &cobra.Command{Use: "run"}
	f.register(cmd)
	if err = cmd.ParseFlags(args); err != nil {
		return f, spec, err
	}
	if err = f.readFile(cmd); err != nil {
		return f, spec, err
	}
	spec, err = f.machine()
	return f, spec, err
}

// What config prints of any flags is the same machine again, in YAML and in JSON, and
// so are the arguments for the nested machine.
func TestConfigKeepsAllFlags(t *testing.T) {
	dir := t.TempDir()
	printed := filepath.Join(dir, "machine.yaml")
	file := write(t, "", dir, `a, "b": #c`)
	path, output := rapid.Just(file), file+": out" // what is not there can't be overwritten
	comma := strings.ReplaceAll(file, ",", ",,")
	text := rapid.OneOf(rapid.SampledFrom([]string{
		"", " ", "yes", "no", "~", "null", "1e3", "0x10", "- a", "{a: b}", "[a]", "a: b", "# a", "a #b", "'", `"`, "*a", "&a", "!a", "|", ">", "a\nb\n", "\n\n a", "%a", "@", "`", "2026-11-30",
		"é\u2028\U0001f600", "\t", "a\r\nb", "\\", "...", "---", "a,b", "1_000", "0o7", "+1", ".5", "-.inf",
	}), rapid.StringMatching(`[ -~]{0,12}`))
	size := rapid.SampledFrom([]string{"16", "1G", "1.5G", "16777217B", "20000001B", "64M,hugepages", "64M,shared,prealloc"})
	flags := map[string]*rapid.Generator[string]{
		"append":       text,
		"initrd":       path,
		"kernel-cache": rapid.SampledFrom([]string{"none", file}), "kernel-unpacked": path,
		"firmware": path, "bios-debug": rapid.Just(output),
		"boot": rapid.SampledFrom([]string{"order=1", "order=cd,1"}),
		"disk": rapid.SampledFrom([]string{
			"format=null,size=1M", "path=" + comma + ",format=raw", comma + ",format=raw,readonly=on,cache=writeback,serial=a b",
			"path=" + comma + ",media=hdd,interface=sata,use=system,locking=off,l2-cache-size=1M", "format=null,size=1M,werror=stop,rerror=ignore",
		}),
		"cdrom":            path,
		"controller":       rapid.SampledFrom([]string{"card=h700", "card=8708em2,nvram=" + comma, "faults=" + comma + ",trace=x: y,trace-format=json"}),
		"memory":           size,
		"cpus":             rapid.SampledFrom([]string{"1", "4", "8,sockets=2,threads=2", "6,cores=3,sockets=2"}),
		"accel":            rapid.SampledFrom([]string{"kvm", "nested", "auto"}),
		"serial":           rapid.SampledFrom([]string{"none", "file:" + output, "unix:" + file, "fd:7"}),
		"stats":            rapid.Just(output),
		"display":          rapid.SampledFrom([]string{"none", "text"}),
		"on-reboot":        rapid.SampledFrom([]string{"auto", "restart", "exit"}),
		"on-panic":         rapid.SampledFrom(words(panicReactions())),
		"watchdog":         rapid.SampledFrom(append([]string{"off"}, words(watchdogReactions())...)),
		"exit-port":        rapid.SampledFrom([]string{"true", "false"}),
		"shutdown-timeout": rapid.SampledFrom([]string{"0", "1m", "1h2m3.5s", "1ns"}),
		"name":             text,
		"uuid":             rapid.SampledFrom([]string{"00112233-4455-6677-8899-aabbccddeeff", "12345678-9ABC-DEF0-1234-000000000000"}),
		"qmp":              rapid.SampledFrom([]string{"unix:" + file, "unix:x,server=on,wait=off", "fd:9"}),
		"log-level":        rapid.SampledFrom([]string{"debug", "error", "vmm=debug,megasas=error", "info,qmp=warn"}),
		"log-format":       rapid.SampledFrom([]string{"text", "json"}),
		"nest-dir":         path,
	}
	kernel := []string{"append", "initrd", "kernel-cache", "kernel-unpacked"} // only with --kernel
	bios := []string{"firmware", "bios-debug", "boot", "display"}             // only without
	repeated := map[string]int{"disk": 3, "serial": 2}
	var f runFlags
	cmd := &cobra.Command{}
	f.register(cmd)
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if flags[flag.Name] == nil && flag.Name != machineFile && flag.Name != "kernel" {
			t.Errorf("--%s is not tried here", flag.Name)
		}
	})

	rapid.Check(t, func(t *rapid.T) {
		args, not := []string{"--kernel=" + file}, bios
		if rapid.Bool().Draw(t, "BIOS") {
			args, not = []string{"--disk=format=null,size=1M", "--cdrom=" + file, "--firmware=" + file}, kernel
		}
		for _, name := range slices.Sorted(maps.Keys(flags)) {
			if slices.Contains(not, name) {
				continue
			}
			for range rapid.IntRange(0, max(1, repeated[name])).Draw(t, "how often "+name) {
				args = append(args, "--"+name+"="+flags[name].Draw(t, name))
			}
		}
		_, want, err := parse(args)
		if err != nil {
			t.Skip(err) // such as topologies that do not fit the number
		}
		if _, again, err := parse(want.args()); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%q for the nested machine: %v,\n%+v, want\n%+v", want.args(), err, again, want)
		}
		for _, format := range []string{"yaml", "json"} {
			status, out, stderr := govmm(append([]string{"config", "--output", format}, args...)...)
			if status != 0 {
				t.Fatalf("%q: %s", args, stderr)
			}
			given, _, _ := parse(args)
			if err := os.WriteFile(printed, []byte(out), 0o600); err != nil {
				t.Fatal(err)
			}
			flags, got, err := parse([]string{"--file", printed})
			if err != nil {
				t.Fatalf("%v in\n%s", err, out)
			}
			if !reflect.DeepEqual(got, want) || flags.nest.dir != given.nest.dir || flags.accel.value != given.accel.value {
				t.Errorf("config prints\n%s, which is\n%+v, want\n%+v", out, got, want)
			}
		}
	})
}
