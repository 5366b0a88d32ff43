// Package kmod finds kernel modules in a module tree such as
// /lib/modules/RELEASE, or that of an unpacked kernel package, and works out
// which must be loaded before which.
//
// Dependencies are read from the modules themselves (the "depends" entry of the
// .modinfo section), because modules.dep is only there once depmod has run.
// Compressed modules are found by name but cannot be read.
package kmod

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Tree is a directory of kernel modules.
type Tree struct {
	files map[string]string // by Name: the path of the file
	built map[string]bool   // Name of what is built into the kernel
}

// Open indexes the modules under dir, by file name only. If there is a
// modules.builtin in dir, the modules that it lists count as present, too.
func Open(dir string) (*Tree, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	t := &Tree{files: make(map[string]string), built: make(map[string]bool)}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(builtin)) {
		t.built[Name(strings.TrimSpace(line))] = true
	}
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && isModule(d.Name()) && !d.IsDir() {
			t.files[Name(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func isModule(file string) bool {
	return strings.HasSuffix(file, ".ko") || strings.Contains(file, ".ko.")
}

// Name is the name by which the kernel knows the module of a file: without
// directories and suffixes, and with underscores for hyphens.
func Name(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// Has reports whether the kernel has the module, as a file or built in.
func (t *Tree) Has(name string) bool {
	name = Name(name)
	return t.built[name] || t.files[name] != ""
}

// Closure returns the files of the named modules and of all modules that they
// need, each after those that it needs itself. What is built into the kernel
// needs no file and is left out.
func (t *Tree) Closure(names ...string) ([]string, error) {
	var order []string
	seen := make(map[string]bool)
	var visit func(name string) error
	visit = func(name string) error {
		name = Name(name)
		if seen[name] || t.built[name] {
			return nil
		}
		seen[name] = true
		file, ok := t.files[name]
		if !ok {
			return fmt.Errorf("kernel module %s: %w", name, fs.ErrNotExist)
		}
		needs, err := dependencies(file)
		if err != nil {
			return fmt.Errorf("kernel module %s: %w", file, err)
		}
		for _, need := range needs {
			if err := visit(need); err != nil {
				return fmt.Errorf("%w (needed by %s)", err, name)
			}
		}
		order = append(order, file)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// dependencies reads the .modinfo section, which holds KEY=VALUE strings, each
// ended by a zero byte.
func dependencies(file string) ([]string, error) {
	if filepath.Ext(file) != ".ko" {
		return nil, errors.New("is compressed, which is not supported here")
	}
	object, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer object.Close()
	section := object.Section(".modinfo")
	if section == nil {
		return nil, errors.New("has no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
