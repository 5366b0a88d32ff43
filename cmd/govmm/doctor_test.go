package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/nest"
	"github.com/govmm/govmm/vmm/kvm"
)

func executing() kvm.Report {
	return kvm.Report{Class: kvm.ClassExecuting, Speed: kvm.SpeedHardware, MInsnPerSecond: 3000}
}

func TestChooseAccel(t *testing.T) {
	none := kvm.Report{Class: kvm.ClassNone, Reason: "open /dev/kvm: permission denied (join the group)"}
	noQEMU := []nest.Problem{{What: errors.New("qemu is not installed"), Kind: nest.LackQEMU}}
	for name, tt := range map[string]struct {
		report   kvm.Report
		problems []nest.Problem
		accel    string
		says     string
	}{
		"hardware":              {executing(), nil, accelKVM, "using kvm: /dev/kvm runs guest code on the processor"},
		"hardware without QEMU": {executing(), noQEMU, accelKVM, "using kvm"},
		"emulated": {
			kvm.Report{Class: kvm.ClassExecuting, Speed: kvm.SpeedEmulated, MInsnPerSecond: 120}, nil,
			accelKVM, "emulated processor, 120 million instructions a second",
		},
		"interpreting":          {kvm.Report{Class: kvm.ClassInterpreting}, nil, accelNested, "interprets guest code"},
		"none":                  {none, nil, accelNested, "permission denied"},
		"none and no nest":      {none, noQEMU, "", "qemu is not installed"},
		"interpreting, no nest": {kvm.Report{Class: kvm.ClassInterpreting}, noQEMU, "", "interprets guest code"},
	} {
		accel, says, err := chooseAccel(tt.report, tt.problems)
		if err != nil {
			says = err.Error()
		}
		if accel != tt.accel || !strings.Contains(says, tt.says) || strings.Contains(says, "\n") {
			t.Errorf("%s: %q, %q", name, accel, says)
		}
	}
}

func TestDiagnose(t *testing.T) {
	problems := []nest.Problem{
		{What: errors.New("no qemu"), Kind: nest.LackQEMU},
		{What: errors.New("no kernel"), Kind: nest.LackKernel},
		{What: errors.New("dynamic"), Kind: nest.LackBinary},
	}
	for name, tt := range map[string]struct {
		kvm      kvmReport
		problems []nest.Problem
		accel    string
		says     []string
	}{
		"hardware": {
			kvmReport{"/dev/kvm", true, true, executing()}, problems, accelKVM,
			[]string{"Is there /dev/kvm?                 yes", "yes: /dev/kvm runs guest code on the processor", "will use KVM"},
		},
		"interpreting": {
			kvmReport{"/dev/kvm", true, true, kvm.Report{Class: kvm.ClassInterpreting}}, nil, accelNested,
			[]string{"no: /dev/kvm interprets guest code", "nested machine possible?    yes", "will use the nested machine"},
		},
		"forbidden": {
			kvmReport{"/dev/kvm", true, false, kvm.Report{Class: kvm.ClassNone, Reason: "permission denied (join the group)"}}, problems, accelNone,
			[]string{"May I open it?                     no", "join the group", "no qemu", "apt-get install qemu-system-x86", "make setup", "CGO_ENABLED=0", "cannot run"},
		},
		"nothing": {
			kvmReport{"/dev/kvm", false, false, kvm.Report{Class: kvm.ClassNone, Reason: "no such file"}}, nil, accelNested,
			[]string{"Is there /dev/kvm?                 no", "will use the nested machine"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := diagnose(tt.kvm, "/nest", tt.problems)
			if r.Accel != tt.accel {
				t.Errorf("accel %q, want %q", r.Accel, tt.accel)
			}
			var text bytes.Buffer
			r.write(&text)
			for _, want := range tt.says {
				if !strings.Contains(text.String(), want) {
					t.Errorf("no %q in\n%s", want, &text)
				}
			}
			if tt.accel == accelKVM && len(r.Missing) > 0 {
				t.Errorf("missing on a good KVM: %v", r.Missing)
			}
		})
	}
}

func TestDoctorJSON(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "nest")
	status, out, stderr := govmm("doctor", "--nest-dir", nowhere, "--output", "json")
	var r doctorReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %q, %q", err, out, stderr)
	}
	if r.Nested.Possible || r.Nested.Dir != nowhere || len(r.Nested.Problems) == 0 {
		t.Errorf("nested without a kernel: %+v", r.Nested)
	}
	if want := map[bool]int{true: 0, false: 1}[r.KVM.CanBoot()]; status != want {
		t.Errorf("status %d with %+v", status, r)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(out), &fields); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"accel", "kvm", "nested", "missing"} {
		if fields[key] == nil {
			t.Errorf("no %q in %s", key, out)
		}
	}
}

func TestDeviceAccess(t *testing.T) {
	dir := t.TempDir()
	if present, accessible := deviceAccess(filepath.Join(dir, "none")); present || accessible {
		t.Errorf("missing device: %v, %v", present, accessible)
	}
	if present, accessible := deviceAccess(write(t, "", dir, "device")); !present || !accessible {
		t.Errorf("good device: %v, %v", present, accessible)
	}
	if present, accessible := deviceAccess(dir); !present || accessible {
		t.Errorf("a directory: %v, %v", present, accessible)
	}
}

func TestNestDir(t *testing.T) {
	there := t.TempDir()
	gone := filepath.Join(there, "gone")
	if err := os.Mkdir(filepath.Join(there, "build"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		flag, env  string
		candidates []string
		want       string
	}{
		{"/flag", "/env", []string{there}, "/flag"},
		{"", "/env", []string{there}, "/env"},
		{"", "", []string{gone, there}, there},
		{"", "", []string{gone, gone + "2"}, gone},
		{"", "", nil, ""},
	} {
		if got := nestDir(tt.flag, tt.env, tt.candidates); got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

func TestDoctorLooksForTheBIOS(t *testing.T) {
	dir := t.TempDir()
	there, missing := write(t, "", dir, "bios.bin"), filepath.Join(dir, "none")
	for _, tt := range []struct {
		bios, vga string
		lacks     int
		says      []string
	}{
		{there, there, 0, []string{"boot disks with? yes: " + there}},
		{missing, missing, 1, []string{"boot disks with? no", "install seabios"}},
		{there, missing, 1, []string{"boot disks with? yes: " + there, "--display text?", "install seabios"}},
	} {
		var r doctorReport
		r.findBIOS([]string{tt.bios}, []string{tt.vga})
		if len(r.Missing) != tt.lacks {
			t.Errorf("%q, %q: missing %v", tt.bios, tt.vga, r.Missing)
		}
		var text strings.Builder
		r.write(&text)
		for _, want := range tt.says {
			if !strings.Contains(strings.Join(strings.Fields(text.String()), " "), want) {
				t.Errorf("no %q in\n%s", want, &text)
			}
		}
	}
}
