package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseSettings(t *testing.T) {
	tests := []struct {
		line string
		want settings
	}{
		{"console=ttyS0 quiet\n", settings{modeAgent, 1, map[string]string{}}},
		{"quiet govmm.mode=demo2 govmm.disks=3", settings{modeDemo2, 3, map[string]string{}}},
		{"megaraid_sas.msix_disable=1 govmm.mode=shell megaraid-sas.max_sectors=8 sd_mod.x=1", settings{modeShell, 1,
			map[string]string{"megaraid_sas": "msix_disable=1 max_sectors=8", "sd_mod": "x=1"}}},
	}
	for _, tt := range tests {
		if got, err := parseSettings(tt.line); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: got %+v, %v; want %+v", tt.line, got, err, tt.want)
		}
	}
	for _, bad := range []string{"govmm.mode=dance", "govmm.disks=many", "govmm.disks=-1"} {
		if _, err := parseSettings(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseStat(t *testing.T) {
	read, written := parseStat("     120   3   4096   50   10   2   16   7  0 0 0 0 0 0 0\n")
	if read != 4096*512 || written != 16*512 {
		t.Errorf("read %d, written %d", read, written)
	}
	if read, written := parseStat("nonsense"); read != 0 || written != 0 {
		t.Errorf("nonsense: read %d, written %d", read, written)
	}
}

func TestIOVerifyCommand(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--dev", disk, "--length", "1048576", "--operations", "50", "--sizes", "512,8192"}
	var out, errs bytes.Buffer
	if code := ioVerify(args, &out, &errs); code != 0 {
		t.Fatalf("exit status %d: %s", code, &errs)
	}
	var done struct {
		Run, Verify struct{ Writes, BytesRead uint64 }
	}
	if err := json.Unmarshal(out.Bytes(), &done); err != nil {
		t.Fatal(err)
	}
	if done.Run.Writes == 0 || done.Verify.BytesRead != 1<<20 || done.Verify.Writes != 0 {
		t.Errorf("counters: %s", &out)
	}
	if code := ioVerify(append(args, "--verify-only"), &out, &errs); code != 0 {
		t.Errorf("verify only: exit status %d: %s", code, &errs)
	}
	if code := ioVerify(append(args, "--verify-only", "--seed", "2"), &out, &errs); code != 1 || !strings.Contains(errs.String(), "want generation") {
		t.Errorf("another seed: exit status %d: %s", code, &errs)
	}
	if code := ioVerify([]string{"--size"}, &out, &errs); code != 2 {
		t.Errorf("bad flag: exit status %d", code)
	}
}
