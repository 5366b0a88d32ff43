package main

import (
	"strings"
	"testing"
)

func TestRunRefusesBadDisplay(t *testing.T) {
	bios := tinyBIOS(t)
	for want, args := range map[string][]string{
		"must be none or text":           {"--firmware", bios, "--display", "gtk"},
		"finds no screen":                {"--kernel", bios, "--display", "text"},
		"only one of them can have":      {"--firmware", bios, "--display", "text", "--serial", "stdio"},
		"give --kernel FILE, --kernel h": {"--display", "text"},
	} {
		status, _, stderr := govmm(append([]string{"run", "--accel", "kvm"}, args...)...)
		if status != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: status %d, %q, want %q", args, status, stderr, want)
		}
	}
}

// The terminal is the screen's, unless the user says what is on the serial port.
func TestDisplayTakesTheTerminal(t *testing.T) {
	bios := tinyBIOS(t)
	if s := parseRun(t, "--firmware", bios, "--display", "text"); len(s.serials) != 1 || s.serials[0].kind != serialNone || s.vga == "" {
		t.Errorf("%+v", s)
	}
	if s := parseRun(t, "--firmware", bios, "--display", "text", "--serial", "file:log"); s.serials[0].kind != serialFile {
		t.Errorf("%+v", s)
	}
}
