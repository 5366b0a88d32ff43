package initramfs

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/govmm/govmm/guest-tests/kernel"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/u-root/u-root/pkg/ldd"
)

// config is that of a kernel whose modules are all built in.
func config(t *testing.T) Config {
	t.Helper()
	for _, tool := range tools {
		if _, err := find(tool); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	write := func(path, content string, perm os.FileMode) string {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), perm); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var builtin strings.Builder
	for _, l := range loads {
		builtin.WriteString("kernel/" + l.name + ".ko\n")
	}
	write("kernel/lib/modules/6.1.0-test/modules.builtin", builtin.String(), 0o644)
	tree, err := kernel.Open(filepath.Join(dir, "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Kernel:  tree,
		Init:    write("init", "the init program", 0o755),
		Busybox: write("busybox", "#!/bin/sh\nprintf 'ls\\nsha256sum\\nash\\n'\n", 0o755),
	}
}

// read returns the archive's files by name.
func read(t *testing.T, path string) map[string]cpio.Record {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	archive, err := cpio.ArchiveFromReader(cpio.Newc.Reader(f))
	if err != nil {
		t.Fatal(err)
	}
	return archive.Files
}

func TestArchiveHoldsWhatProgramsNeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "initramfs", "test.cpio")
	size, err := Build(config(t), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != int64(size) {
		t.Errorf("size of the file: %v, %v; want %d", info.Size(), err, size)
	}
	files := read(t, path)
	for _, tool := range tools {
		host, err := find(tool)
		if err != nil {
			t.Fatal(err)
		}
		libraries, err := ldd.List(host)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range append(libraries, host) {
			r, ok := files[guestPath(file)]
			if !ok {
				t.Errorf("%s, which %s needs, is missing", file, tool)
				continue
			}
			if r.Mode&cpio.S_IFMT != cpio.S_IFREG || r.Mode&0o111 == 0 {
				t.Errorf("%s: mode %o, want an executable file", r.Name, r.Mode)
			}
		}
	}
	for name, target := range map[string]string{"usr/bin/sh": "dash", "usr/bin/ls": "busybox", "lib64": "usr/lib64"} {
		r, ok := files[name]
		if !ok || r.Mode&cpio.S_IFMT != cpio.S_IFLNK {
			t.Errorf("%s is not a link", name)
			continue
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(&sectionReader{r}); err != nil || got.String() != target {
			t.Errorf("%s is a link to %q (%v), want %s", name, &got, err, target)
		}
	}
	if r := files["usr/bin/sha256sum"]; r.Mode&cpio.S_IFMT == cpio.S_IFLNK {
		t.Error("busybox replaced Debian's sha256sum")
	}
	for name := range files {
		if dir := filepath.Dir(name); dir != "." {
			if _, ok := files[dir]; !ok {
				t.Errorf("%s comes without its directory", name)
			}
		}
	}
}

// sectionReader reads a record's content from its start.
type sectionReader struct{ cpio.Record }

func (s *sectionReader) Read(p []byte) (int, error) {
	n, err := s.ReadAt(p, 0)
	s.Record.ReaderAt = bytes.NewReader(nil)
	return n, err
}

func TestSameInputGivesSameBytes(t *testing.T) {
	cfg := config(t)
	path := filepath.Join(t.TempDir(), "test.cpio")
	if _, err := Build(cfg, path); err != nil {
		t.Fatal(err)
	}
	first, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Build(cfg, path); err != nil {
		t.Fatal(err)
	}
	second, err := os.Stat(path)
	if err != nil || !os.SameFile(first, second) {
		t.Errorf("the archive was written again although nothing changed (%v)", err)
	}

	if err := os.WriteFile(cfg.Init, []byte("another init program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(cfg, path); err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	if _, err := content.ReadFrom(&sectionReader{read(t, path)["init"]}); err != nil || content.String() != "another init program" {
		t.Errorf("init is %q (%v)", &content, err)
	}
}

func TestMissingPartsAreNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.cpio")
	for name, change := range map[string]func(*Config){
		"init":    func(c *Config) { c.Init += "-none" },
		"busybox": func(c *Config) { c.Busybox += "-none" },
		"megaraid_sas": func(c *Config) {
			os.WriteFile(filepath.Join(c.Kernel.ModuleDir(), "modules.builtin"), []byte("ext4.ko\nsd_mod.ko\n"), 0o644)
		},
	} {
		cfg := config(t)
		change(&cfg)
		if _, err := Build(cfg, path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if leftover, _ := filepath.Glob(path + "*"); len(leftover) > 0 {
		t.Errorf("left behind: %v", leftover)
	}
}

func TestGuestPath(t *testing.T) {
	for host, want := range map[string]string{
		"/lib/x86_64-linux-gnu/libc.so.6":     "usr/lib/x86_64-linux-gnu/libc.so.6",
		"/usr/sbin/e2fsck":                    "usr/sbin/e2fsck",
		"/lib64/ld-linux-x86-64.so.2":         "usr/lib64/ld-linux-x86-64.so.2",
		"/usr/lib/../lib/x86_64/libz.so.1":    "usr/lib/x86_64/libz.so.1",
		"lib/modules/6.1/kernel/fs/ext4.ko":   "usr/lib/modules/6.1/kernel/fs/ext4.ko",
		"/usr/lib/x86_64-linux-gnu/libuuid.1": "usr/lib/x86_64-linux-gnu/libuuid.1",
	} {
		if got := guestPath(host); got != want {
			t.Errorf("%s goes to %s, want %s", host, got, want)
		}
	}
	if !slices.IsSorted(tools) {
		t.Error("tools are not in order")
	}
}
