package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/payload"
)

func TestLogLevels(t *testing.T) {
	for _, tt := range []struct {
		value, want string // the value as it is written again, or the error
	}{
		{"warn", ""},
		{"debug", "debug"},
		{"vmm=debug,megasas=info", "megasas=info,vmm=debug"},
		{"error,qmp=warn", "error,qmp=warn"},
		{"loud", `"loud" is no level: must be debug, info, warn or error`},
		{"disk=debug", `"disk" is no component: must be megasas, qmp or vmm`},
		{"", "is no level"},
	} {
		var f logLevelFlag
		err := f.Set(tt.value)
		if err != nil && !strings.Contains(err.Error(), tt.want) || err == nil && f.String() != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.value, f.String(), err, tt.want)
		}
	}
}

func TestLogsByComponent(t *testing.T) {
	p := payload.New()
	p.PowerOff()
	k := kernel(t, p)
	for _, tt := range []struct {
		flags       []string
		want, avoid string
	}{
		{nil, "", "kernel loaded"},
		{[]string{"--log-level", "vmm=debug"}, `level=DEBUG msg="kernel loaded" component=vmm`, "{"},
		{[]string{"--log-level", "debug", "--log-format", "json"}, `"msg":"kernel loaded","component":"vmm"`, "level="},
		{[]string{"--log-level", "debug,vmm=info"}, "", "kernel loaded"},
	} {
		status, _, stderr := govmm(runArgs(k, tt.flags...)...)
		if status != 0 || !strings.Contains(stderr, tt.want) || strings.Contains(stderr, tt.avoid) {
			t.Errorf("%q: status %d, %s", tt.flags, status, stderr)
		}
		if tt.avoid != "level=" {
			continue
		}
		for _, line := range bytes.Split(bytes.TrimSpace([]byte(stderr)), []byte("\n")) {
			if !json.Valid(line) {
				t.Errorf("%q: no JSON: %s", tt.flags, line)
			}
		}
	}
}
