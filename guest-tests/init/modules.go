package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/govmm/govmm/internal/kmod"
	"github.com/u-root/u-root/pkg/kmodule"
	"golang.org/x/sys/unix"
)

// probe says how much of the driver's probe the console shows.
type probe bool

const (
	quietProbe probe = false
	loudProbe  probe = true
)

// moduleList names the files of the modules, each after those that it needs.
const moduleList = "/etc/modules"

// driver is the module of the controller's driver.
const driver = "megaraid_sas"

// loadModules loads the modules of the initramfs, with their parameters.
// Printing the whole boot on a serial console takes longer than booting, so the
// kernel is to be started with "quiet"; for a loud probe it is made to speak
// just before the driver is loaded.
func loadModules(params map[string]string, p probe) error {
	list, err := os.ReadFile(moduleList)
	if err != nil {
		return err
	}
	for _, path := range strings.Fields(string(list)) {
		name := kmod.Name(path)
		if p == loudProbe && name == driver {
			if err := os.WriteFile("/proc/sys/kernel/printk", []byte("7"), 0); err != nil {
				return err
			}
		}
		if err := loadModule(path, params[name]); err != nil {
			return fmt.Errorf("load module %s %s: %w", name, params[name], err)
		}
	}
	return nil
}

func loadModule(path, params string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := kmodule.FileInit(f, params, 0); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
