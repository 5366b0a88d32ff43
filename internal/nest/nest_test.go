package nest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
	"golang.org/x/sys/unix"
)

func TestQEMUArgs(t *testing.T) {
	cfg := Config{CPUs: 2, Memory: 512<<20 + 1, InitArgs: []string{"nest-init"}}
	args := cfg.qemuArgs("/n/vmlinux", 2_596_000, 3, 2)
	joined := strings.Join(args, " ")
	for _, want := range []string{
		"-accel tcg", "-cpu EPYC,svm=on", "-smp 2", "-m 1025M", "-no-reboot",
		"-kernel /n/vmlinux", "-initrd /proc/self/fd/3",
		"tsc_early_khz=2596000 rdinit=/govmm -- nest-init",
		"local,id=host,path=/,security_model=none",
		"socket,id=port1,fd=4", "virtserialport,chardev=port1,nr=1", // control
		"socket,id=port2,fd=5", "virtserialport,chardev=port2,nr=2", // stdin
		"socket,id=port3,fd=6", "virtserialport,chardev=port3,nr=3", // stdout
	} {
		if !strings.Contains(joined, want) {
			t.Errorf("no %q in %s", want, joined)
		}
	}
	if strings.Contains(joined, "port4") || strings.Contains(joined, "kvm:") {
		t.Errorf("too much in %s", joined)
	}
	if i := slices.Index(args, "-append"); len(args[i+1]) > 2000 {
		t.Errorf("kernel command line of %d bytes", len(args[i+1]))
	}
}

func TestStart(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NEST_TEST", "here")
	s, err := Command{
		Args:    []string{Self, "x"},
		Stdin:   strings.NewReader(""),
		Stderr:  io.Discard,
		Streams: []Stream{{R: strings.NewReader(""), W: io.Discard}},
	}.start()
	if err != nil {
		t.Fatal(err)
	}
	if s.Dir != dir || !slices.Contains(s.Env, "NEST_TEST=here") {
		t.Errorf("not the caller's environment: %+v", s)
	}
	want := []directions{{Read: true}, {}, {Write: true}, {Read: true, Write: true}}
	if !slices.Equal(s.Streams, want) {
		t.Errorf("streams %+v, want %+v", s.Streams, want)
	}
	if _, err := (Command{}).start(); err == nil {
		t.Error("no error for no command")
	}
}

func TestInitramfs(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"program": "binary", "b.ko": "second by name, first to load", "a.ko": "needs b"}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var archive bytes.Buffer
	err := writeInitramfs(&archive, filepath.Join(dir, "program"), []string{filepath.Join(dir, "b.ko"), filepath.Join(dir, "a.ko")})
	if err != nil {
		t.Fatal(err)
	}
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(archive.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	modes := make(map[string]uint64)
	for _, r := range records {
		modes[r.Name] = r.Mode
		if r.Name == "dev/console" && (r.Rmajor != 5 || r.Rminor != 1) {
			t.Errorf("the console is device %d:%d", r.Rmajor, r.Rminor)
		}
		content := ""
		if r.ReaderAt != nil {
			b, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
			if err != nil {
				t.Fatal(err)
			}
			content = string(b)
		}
		found[r.Name] = content
	}
	for name, want := range map[string]string{
		"govmm": "binary", "modules/000-b.ko": files["b.ko"], "modules/001-a.ko": files["a.ko"], "dev/console": "",
	} {
		if got, ok := found[name]; !ok || got != want {
			t.Errorf("%s: %q (there: %v), want %q", name, got, ok, want)
		}
	}
	for name, want := range map[string]uint64{
		"dev": unix.S_IFDIR | 0o755, "modules": unix.S_IFDIR | 0o755, "dev/console": unix.S_IFCHR | 0o600, "govmm": unix.S_IFREG | 0o755,
	} {
		if modes[name] != want {
			t.Errorf("%s: mode %#o, want %#o", name, modes[name], want)
		}
	}
}

// TestInitramfsOfShrunkFile is refused: an archive whose file is shorter than it says is none.
func TestInitramfsOfShrunkFile(t *testing.T) {
	archive := &newcWriter{w: io.Discard}
	archive.executable("govmm", strings.NewReader("short"), 6)
	if err := archive.close(); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "govmm") {
		t.Errorf("%v", err)
	}
	archive = &newcWriter{w: io.Discard}
	archive.executable("govmm", strings.NewReader(""), 4<<30)
	if err := archive.close(); err == nil {
		t.Error("no error for a file of 4 GiB")
	}
}

func TestModulesInUnpackedPackage(t *testing.T) {
	dir := t.TempDir()
	modules := filepath.Join(dir, "lib/modules/6.1.0-test")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	var builtin strings.Builder
	for _, name := range Modules() {
		builtin.WriteString("kernel/" + name + ".ko\n")
	}
	if err := os.WriteFile(filepath.Join(modules, "modules.builtin"), []byte(builtin.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: dir}
	if files, err := cfg.modules(); err != nil || len(files) != 0 {
		t.Errorf("all built in: %v, %v", files, err)
	}
	if _, err := cfg.kernel(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no kernel: %v", err)
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	found := Check(Config{Dir: dir, QEMU: filepath.Join(dir, "qemu"), Binary: filepath.Join(dir, "govmm")})
	var kinds []Lack
	for _, p := range found {
		kinds = append(kinds, p.Kind)
		if !strings.Contains(p.What.Error(), dir) {
			t.Errorf("%v does not name the file", p.What)
		}
	}
	if want := []Lack{LackQEMU, LackKernel, LackBinary}; !slices.Equal(kinds, want) {
		t.Errorf("lacks %v, want %v", kinds, want)
	}
}

func TestDynamicBinaryIsRefused(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell")
	}
	if err := checkStatic(shell); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("%s: %v", shell, err)
	}
}

// fakeQEMU is a script in QEMU's place.
func fakeQEMU(t *testing.T, script string) Config {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"vmlinux": "", "modules/modules.builtin": strings.Join(Modules(), ".ko\n") + ".ko\n", "qemu": "#!/bin/sh\n" + script,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return Config{Dir: dir, QEMU: filepath.Join(dir, "qemu"), Binary: staticBinary(t, dir)}
}

// staticBinary writes the start of a static executable.
func staticBinary(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "static")
	header := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)
	header[16], header[18], header[20], header[52], header[54] = 2, 62, 1, 64, 56
	if err := os.WriteFile(path, header, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunReportsWhatQEMUSaid(t *testing.T) {
	cfg := fakeQEMU(t, "echo 'no such machine' >&2; echo 'Kernel panic'; exit 1")
	_, err := Run(context.Background(), cfg, Command{Args: []string{Self}})
	if err == nil || !strings.Contains(err.Error(), "no such machine") || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("got %v", err)
	}
}

// A nest that answers on the control port (descriptor 4) as Init does.
func TestRunStreamsAndStatus(t *testing.T) {
	// stdout is descriptor 6; the frame is "ok\n", then the end.
	cfg := fakeQEMU(t, `head -c 1 <&4 >/dev/null
printf '\003\000\000\000ok\n\000\000\000\000' >&6
printf '{"exit":42}' >&4
exec sleep 600`)
	var out bytes.Buffer
	status, err := Run(context.Background(), cfg, Command{Args: []string{Self}, Stdout: &out})
	if err != nil || status != 42 || out.String() != "ok\n" {
		t.Errorf("status %d, %v, output %q", status, err, &out)
	}
}

func TestRunReportsErrorOfNest(t *testing.T) {
	cfg := fakeQEMU(t, `printf '{"error":"fork/exec /none: no such file or directory"}' >&4; exec sleep 600`)
	_, err := Run(context.Background(), cfg, Command{Args: []string{"/none"}})
	if err == nil || err.Error() != "nest: fork/exec /none: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

func TestRunForwardsCancellation(t *testing.T) {
	// It ends when the signal has come; heartbeats may come before it.
	cfg := fakeQEMU(t, `read a <&4; echo started >&2
while read b <&4; do case $b in *'"signal":15'*) printf '{"exit":143}' >&4; exec sleep 600;; esac; done`)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	status, err := Run(ctx, cfg, Command{Args: []string{Self}})
	if err != nil || status != 143 {
		t.Errorf("status %d, %v", status, err)
	}
}
