package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Module is a kernel module file.
type Module struct {
	Name  string   // with underscores, as the kernel lists it
	Path  string   // under the tree's lib/modules/RELEASE, without compression suffix
	Needs []string // names of the modules that it uses symbols of
	Image []byte   // the ELF object, uncompressed
}

// Modules are the modules of a kernel.
type Modules struct {
	dir   string
	files map[string]string // by name: path under dir
	built map[string]bool   // names of what is built into the kernel
}

// Modules lists the modules of the tree.
func (t Tree) Modules() (*Modules, error) {
	m := &Modules{
		dir:   filepath.Join(t.Dir, "lib", "modules", t.Release),
		files: make(map[string]string),
		built: make(map[string]bool),
	}
	builtin, err := os.ReadFile(filepath.Join(m.dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(builtin)) {
		m.built[moduleName(line)] = true
	}
	err = filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(d.Name(), ".ko") {
			m.files[moduleName(path)], err = filepath.Rel(m.dir, path)
		}
		return err
	})
	return m, err
}

// moduleName turns a file name, with or without directories and suffixes, into
// the name that the kernel uses.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(strings.TrimSpace(path)), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// Has reports whether the kernel has a module, as a file or built in.
func (m *Modules) Has(name string) bool {
	name = moduleName(name)
	return m.files[name] != "" || m.built[name]
}

// Closure returns the named modules and all that they need, each after what it
// needs itself. What is built into the kernel is left out.
func (m *Modules) Closure(names ...string) ([]Module, error) {
	var order []Module
	seen := make(map[string]bool)
	var visit func(name, by string) error
	visit = func(name, by string) error {
		name = moduleName(name)
		if seen[name] || m.built[name] {
			return nil
		}
		seen[name] = true
		mod, err := m.load(name)
		if err != nil {
			return fmt.Errorf("module %s (needed by %s): %w", name, by, err)
		}
		for _, need := range mod.Needs {
			if err := visit(need, name); err != nil {
				return err
			}
		}
		order = append(order, mod)
		return nil
	}
	for _, name := range names {
		if err := visit(name, "the guest"); err != nil {
			return nil, err
		}
	}
	return order, nil
}

func (m *Modules) load(name string) (Module, error) {
	path, ok := m.files[name]
	if !ok {
		return Module{}, fs.ErrNotExist
	}
	image, err := os.ReadFile(filepath.Join(m.dir, path))
	if err != nil {
		return Module{}, err
	}
	if base, ok := strings.CutSuffix(path, ".xz"); ok {
		path = base
		if image, err = pipe(image, "xz", "-dc"); err != nil {
			return Module{}, err
		}
	}
	needs, err := dependencies(image)
	return Module{Name: name, Path: path, Needs: needs, Image: image}, err
}

// dependencies reads the "depends" entry of a module's .modinfo section, which
// holds KEY=VALUE strings, each ended by a zero byte.
func dependencies(image []byte) ([]string, error) {
	object, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	section := object.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo section")
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

// DependencyFile returns a modules.dep for the given modules: a line each, with
// what it needs itself. (The one of depmod repeats what those need in turn.)
func DependencyFile(modules []Module) string {
	byName := make(map[string]Module)
	for _, mod := range modules {
		byName[mod.Name] = mod
	}
	var out strings.Builder
	for _, mod := range modules {
		fmt.Fprintf(&out, "%s:", mod.Path)
		for _, need := range mod.Needs {
			if dep, ok := byName[moduleName(need)]; ok {
				fmt.Fprintf(&out, " %s", dep.Path)
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}
