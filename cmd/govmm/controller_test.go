package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/raid"
)

func TestControllerFlag(t *testing.T) {
	dir := t.TempDir()
	kernel := write(t, "", dir, "k")
	s := parseRun(t, "--kernel", kernel, "--controller", "card=8708em2,bbu=charging,learn=90m,nvram="+filepath.Join(dir, "card.nvram"))
	if again := parseRun(t, s.args()...); !reflect.DeepEqual(s, again) {
		t.Errorf("%+v becomes %+v in the nested machine", s, again)
	}
	cfg := s.controller.config()
	if cfg.Profile.Device != 0x0060 || cfg.NVRAM == nil || cfg.Battery != megasas.BatteryCharging ||
		cfg.Learn != (megasas.LearnTimes{Discharge: 30 * time.Minute, Charge: time.Hour}) {
		t.Errorf("the controller is %+v", cfg)
	}
	for text, want := range map[string]string{
		"card=9361":                    `card=9361: must be 8708em2, 9260-8i, h700 or h800`,
		"nvram":                        `"nvram" is not KEY=VALUE`,
		"nvram=":                       `"nvram=" is not KEY=VALUE`,
		"colour=orange":                `unknown key "colour": must be bbu, card, faults, learn, nvram, trace or trace-format`,
		"nvram=a,nvram=b":              `nvram is given twice`,
		"trace=x,trace-format=xml":     `trace-format=xml: must be json or text`,
		"trace-format=json,nvram=a,,b": `trace-format: there is no trace=FILE`,
		"learn=0s":                     `learn=0s: must be a time, as 10m or 6h`,
		"bbu=old":                      `bbu=old: must be charging, failed, good or none`,
	} {
		var f controllerFlag
		if err := f.Set(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	got, _ := completeController(nil, nil, "card=h700,nv")
	if want := []string{"card=h700,nvram="}; !reflect.DeepEqual(got, want) {
		t.Errorf("completes to %q, want %q", got, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.nvram"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, _ = completeController(nil, nil, "bbu=f")
	if want := []string{"bbu=failed"}; !reflect.DeepEqual(got, want) {
		t.Errorf("completes to %q, want %q", got, want)
	}
	got, _ = completeController(nil, nil, "nvram="+filepath.Join(dir, "x"))
	if len(got) != 1 || !strings.HasSuffix(got[0], "x.nvram") {
		t.Errorf("completes to %q", got)
	}
}

// A frame trace of a machine that is run has what its guest did.
func TestControllerTrace(t *testing.T) {
	dir := t.TempDir()
	trace, p := filepath.Join(dir, "a,b"), payload.New()
	p.PowerOff()
	k := kernel(t, p)
	for format, want := range map[string]string{"text": " state READY word=0x", "json": `"event":"state","state":"READY","word":"0x`} {
		status, _, stderr := govmm(runArgs(k, "--disk", "format=null,size=1M", "--controller", "trace-format="+format+",trace="+strings.ReplaceAll(trace, ",", ",,"))...)
		text, err := os.ReadFile(trace)
		if status != 0 || err != nil || !strings.Contains(string(text), want) {
			t.Errorf("status %d, %s, %v, trace %q", status, stderr, err, text)
		}
	}
	if status, _, stderr := govmm(runArgs(k, "--controller", "trace="+dir+"/none/x")...); status != exitFailure || !strings.Contains(stderr, "--controller: trace: open "+dir+"/none/x: no such file") {
		t.Errorf("status %d, %q", status, stderr)
	}
	// The machine runs on if its trace can't be written, and says so in the end.
	status, _, stderr := govmm(runArgs(k, "--disk", "format=null,size=1M", "--controller", "trace=/dev/full")...)
	if status != exitFailure || strings.Count(stderr, "no space left on device") != 2 {
		t.Errorf("status %d, %q", status, stderr)
	}
}

// TestDriveKeys is what the keys of --disk about the drive mean.
func TestDriveKeys(t *testing.T) {
	for text, want := range map[string]string{
		"path=a,interface=ide":                                   `--disk: disk "path=a,interface=ide": interface=ide: must be sas or sata`,
		"path=a,media=tape":                                      `--disk: disk "path=a,media=tape": media=tape: must be hdd or ssd`,
		"path=a,werror=never":                                    `--disk: disk "path=a,werror=never": werror=never: must be enospc, ignore, report or stop`,
		"path=a,rerror=enospc":                                   `--disk: disk "path=a,rerror=enospc": rerror=enospc: must be ignore, report or stop`,
		"path=a,logical_block_size=520":                          `--disk: disk "path=a,logical_block_size=520": logical_block_size=520: must be 4096 or 512`,
		"path=a,physical_block_size=8k":                          `--disk: disk "path=a,physical_block_size=8k": physical_block_size=8k: must be 4096 or 512`,
		"path=a,logical_block_size=4096,physical_block_size=512": `--disk: disk "path=a,logical_block_size=4096,physical_block_size=512": physical_block_size=512: must not be less than logical_block_size=4096`,
		"path=a,use=raid6":                                       `--disk: disk "path=a,use=raid6": use=raid6: must be system or volume`,
	} {
		if _, err := parseDisk(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for mode, want := range map[string]raid.CachePolicy{
		"writeback": raid.WriteBack, "writeback-bbu": raid.WriteBackWithBattery, "writethrough": raid.WriteThrough,
	} {
		if d, err := parseDisk("path=a,cache=" + mode); err != nil || d.cache != want || d.medium.Direct || d.medium.NoFlush {
			t.Errorf("cache=%s: %+v, %v", mode, d, err)
		}
	}
	d, err := parseDisk("path=a,interface=sata,media=hdd,use=system")
	if err != nil {
		t.Fatal(err)
	}
	sas, err := parseDisk("path=a")
	if err != nil {
		t.Fatal(err)
	}
	a, b := d.identity(0), sas.identity(0)
	if a.Vendor != "ATA" || b.Vendor != "GOVMM" || a.Media == b.Media || a.Interface == b.Interface || a.WWN != b.WWN {
		t.Errorf("drives %+v and %+v", a, b)
	}
	if !d.system || sas.system {
		t.Error("which of them is a system drive?")
	}
}
