package main

import (
	"cmp"
	"os/exec"
	"reflect"
	"slices"
	"testing"

	"github.com/govmm/govmm/internal/sockettest"
)

// What the kernel counts is described as QEMU on the same kernel does, and told by the
// same names.
func TestKernelStatisticsBesideQEMU(t *testing.T) {
	const program = "qemu-system-x86_64"
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed: guest-tests/setup.sh run does that", program)
	}
	m := startMachine(t, halting())
	socket := sockettest.Path(t)
	cmd := exec.Command(program, "-accel", "kvm", "-m", "16M", "-display", "none", "-nodefaults", "-S", "-qmp", "unix:"+socket+",server=on,wait=off")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	govmm, qemu := dialPeer(t, m.socket), dialPeer(t, socket)
	// statistics are those of both targets, sorted by name: QEMU's order is not the
	// kernel's. strip leaves out what is not the same at any two moments.
	statistics := func(p *peer, command, arguments string, strip ...string) (all []any) {
		answer := p.call(`{"execute":"` + command + `","arguments":{` + arguments + `}}`)
		results, ok := answer["return"].([]any)
		if !ok {
			t.Fatalf("%s: %v", command, answer)
		}
		p.check(p.schema, command, "ret-type", answer["return"])
		p.check(qemu.schema, command, "ret-type", answer["return"])
		for _, r := range results {
			for _, x := range r.(map[string]any)["stats"].([]any) {
				for _, key := range strip {
					delete(x.(map[string]any), key)
				}
				all = append(all, x)
			}
		}
		slices.SortStableFunc(all, func(a, b any) int {
			return cmp.Compare(a.(map[string]any)["name"].(string), b.(map[string]any)["name"].(string))
		})
		return all
	}
	for _, tt := range []struct{ command, arguments, strip string }{
		{"query-stats-schemas", ``, ""},
		{"query-stats", `"target":"vm"`, "value"},
		{"query-stats", `"target":"vcpu"`, "value"},
		{"query-stats", `"target":"vcpu","providers":[{"provider":"kvm","names":["exits","none"]}]`, "value"},
	} {
		got, want := statistics(govmm, tt.command, tt.arguments, tt.strip), statistics(qemu, tt.command, tt.arguments, tt.strip)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s %s:\n %v, but QEMU\n %v", tt.command, tt.arguments, got, want)
		}
	}
	exits := statistics(govmm, "query-stats", `"target":"vcpu","vcpus":["`+cpuPath(0)+`"],"providers":[{"provider":"kvm","names":["exits"]}]`)
	if len(exits) == 1 && exits[0].(map[string]any)["value"].(float64) == 0 {
		t.Error("a processor that runs has had no exits")
	}
	m.ctl("quit")
	m.wantEnd(0)
}
