package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/govmm/govmm/internal/kmod"
)

// mode is what the guest is for.
type mode string

const (
	modeAgent mode = "agent"
	modeDemo1 mode = "demo1"
	modeDemo2 mode = "demo2"
	modeShell mode = "shell"
)

// settings is what the kernel command line says to init.
type settings struct {
	mode    mode
	disks   int
	modules map[string]string // parameters by module name, as insmod takes them
}

func readSettings(path string) (settings, error) {
	line, err := os.ReadFile(path)
	if err != nil {
		return settings{}, err
	}
	return parseSettings(string(line))
}

func parseSettings(line string) (settings, error) {
	set := settings{mode: modeAgent, disks: 1, modules: make(map[string]string)}
	for word := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "govmm.mode":
			set.mode = mode(value)
		case "govmm.disks":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return set, fmt.Errorf("govmm.disks=%s: must be a number", value)
			}
			set.disks = n
		default:
			module, param, ok := strings.Cut(word, ".")
			if ok {
				module = kmod.Name(module)
				set.modules[module] = strings.TrimSpace(set.modules[module] + " " + param)
			}
		}
	}
	switch set.mode {
	case modeAgent, modeDemo1, modeDemo2, modeShell:
		return set, nil
	}
	return set, fmt.Errorf("govmm.mode=%s: must be agent, demo1, demo2 or shell", set.mode)
}
