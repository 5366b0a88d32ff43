package nest

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Problem is something that keeps a nest from starting.
type Problem struct {
	What error
	Kind Lack
}

// Lack says what kind of thing is missing, for advice on how to get it.
type Lack uint8

const (
	LackQEMU   Lack = iota // no QEMU, or one without what is needed
	LackKernel             // no kernel or modules in Config.Dir
	LackBinary             // this executable cannot be the init process
)

// Check looks for everything that a nest needs, without starting one.
func Check(cfg Config) []Problem {
	cfg, err := cfg.complete()
	if err != nil {
		return []Problem{{err, LackBinary}}
	}
	var found []Problem
	if err := cfg.checkQEMU(); err != nil {
		found = append(found, Problem{err, LackQEMU})
	}
	if err := cfg.checkKernel(); err != nil {
		found = append(found, Problem{err, LackKernel})
	}
	if err := checkStatic(cfg.Binary); err != nil {
		found = append(found, Problem{err, LackBinary})
	}
	return found
}

// checkQEMU asks QEMU for the devices that it was built with: distributions
// build it without 9p for small packages.
func (cfg Config) checkQEMU() error {
	out, err := exec.Command(cfg.QEMU, "-device", "help").Output()
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("%s is not installed", cfg.QEMU)
		}
		return fmt.Errorf("%s: %w", cfg.QEMU, err)
	}
	for _, device := range []string{"virtio-9p-pci", "virtserialport"} {
		if !strings.Contains(string(out), fmt.Sprintf("%q", device)) {
			return fmt.Errorf("%s has no device %s", cfg.QEMU, device)
		}
	}
	return nil
}

func (cfg Config) checkKernel() error {
	if _, err := cfg.kernel(); err != nil {
		return err
	}
	_, err := cfg.modules()
	return err
}
