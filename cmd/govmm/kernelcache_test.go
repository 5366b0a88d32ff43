package main

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/kernelcache"
	"golang.org/x/sys/unix"
)

// packedKernel is a bzImage, as small as one can be, and what it unpacks to.
func packedKernel(t *testing.T) (image, unpacked []byte) {
	t.Helper()
	le := binary.LittleEndian
	const address, align, page = 16 << 20, 2 << 20, 4096
	var b bytes.Buffer
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7F, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Entry: address,
		Phoff: 64, Phentsize: 56, Phnum: 1, Shoff: 2 * page, Shentsize: 64, Shnum: 1,
	}
	program := elf.Prog64{Type: uint32(elf.PT_LOAD), Off: page, Paddr: address, Filesz: page, Memsz: page, Align: align}
	for _, v := range []any{header, program} {
		if err := binary.Write(&b, le, v); err != nil {
			t.Fatal(err)
		}
	}
	unpacked = append(b.Bytes(), make([]byte, 2*page+64-b.Len())...)
	copy(unpacked[page:], "\xf4\xeb\xfd") // hlt; jmp to it
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(unpacked); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	const setup, code, before = 1024, 4096, 1024
	image = make([]byte, setup+code)
	copy(image[setup+before:], packed.Bytes())
	image[0x1F1] = 1
	le.PutUint16(image[0x1FE:], 0xAA55)
	image[0x201] = 0x6A
	copy(image[0x202:], "HdrS")
	le.PutUint16(image[0x206:], 0x20F)
	image[0x211] = 1 // loaded high
	image[0x234] = 1 // relocatable
	for offset, value := range map[int]uint32{
		0x1F4: code / 16, 0x22C: 0x7FFFFFFF, 0x230: align, 0x236: 3, 0x238: 2047,
		0x248: before, 0x24C: uint32(packed.Len()), 0x258: address, 0x260: 1 << 20,
	} {
		le.PutUint32(image[offset:], value)
	}
	return image, unpacked
}

// inCache waits until the kernel of a machine is in the cache.
func inCache(t *testing.T, spec *machineSpec) {
	t.Helper()
	for deadline := time.Now().Add(testLimit); spec.unpacked == ""; time.Sleep(10 * time.Millisecond) {
		if err := spec.lookUp(); err != nil && err != errNotCached && !errors.Is(err, kernelcache.ErrDamaged) {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("the kernel is not put into the cache")
		}
	}
}

// readUnpacked is the unpacked kernel as the machine reads it, or nothing.
func readUnpacked(t *testing.T, spec machineSpec, log io.Writer) []byte {
	t.Helper()
	var files closers
	defer files.close()
	src := files.openUnpacked(spec, spec.log.logger(logVMM, log))
	if src == nil {
		return nil
	}
	got, err := io.ReadAll(io.NewSectionReader(src, 0, src.Size()))
	if err != nil {
		return nil
	}
	return got
}

// logText is a log that is written and read at the same time.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wait waits for a text.
func (l *logText) wait(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(testLimit); !strings.Contains(l.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %q", text, l)
		}
	}
}

// An unpacked kernel that a disk or a crash has damaged is not started, which is said in one line,
// and put into the cache anew.
func TestDamagedKernelInCache(t *testing.T) {
	image, want := packedKernel(t)
	for name, damage := range map[string]func(path string) error{
		"cut off":   func(path string) error { return os.Truncate(path, 1000) },
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"other bit": func(path string) error { return changeByte(path, 4100) },
		"last bit":  func(path string) error { return changeByte(path, int64(len(want))+3) },
	} {
		dir := filepath.Join(t.TempDir(), "cache")
		args := []string{"--kernel", write(t, string(image), t.TempDir(), "k"), "--kernel-cache", dir}
		spec := parseRun(t, args...)
		if err := unpackKernel(dir, spec.kernel); err != nil {
			t.Fatal(err)
		}
		inCache(t, &spec)
		if err := damage(spec.unpacked); err != nil {
			t.Fatal(err)
		}
		spec = parseRun(t, args...)
		var log logText
		if err := (&app{stderr: &log}).findUnpacked(&spec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if spec.unpacked != "" {
			if got := readUnpacked(t, spec, &log); got != nil {
				t.Errorf("%s: it is read", name)
			}
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, dir) {
			t.Errorf("%s: the log is %q", name, got)
		}
		spec.unpacked = ""
		inCache(t, &spec)
		if got := readUnpacked(t, spec, &log); !bytes.Equal(got, want) {
			t.Errorf("%s: the cache has not got the kernel again: %d bytes; %s", name, len(got), log.String())
		}
	}
}

// changeByte changes a byte of a file.
func changeByte(path string, at int64) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[at] ^= 4
	return os.WriteFile(path, data, 0o600)
}

// A cache into which nothing can be written costs one line, and no start.
func TestKernelCacheThatCannotBeWritten(t *testing.T) {
	image, _ := packedKernel(t)
	kernel := write(t, string(image), t.TempDir(), "k")
	locked, full := t.TempDir(), smallFileSystem(t, 1<<20)
	if err := os.Mkdir(filepath.Join(locked, ".lock"), 0o700); err != nil {
		t.Fatal(err)
	}
	fillUp(t, filepath.Join(full, "ballast"), 0)
	for _, dir := range []string{locked, full} { // whatever the umask is
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	fixed := smallFileSystem(t, 1<<20)
	if err := unix.Mount("", fixed, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		locked: "is a directory", full: "no space left on device", filepath.Join(fixed, "cache"): "read-only file system",
	} {
		spec := parseRun(t, "--kernel", kernel, "--kernel-cache", dir)
		var log logText
		if err := (&app{stderr: &log}).findUnpacked(&spec); err != nil || spec.unpacked != "" {
			t.Errorf("%q, %v", spec.unpacked, err)
		}
		log.wait(t, want)
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, notPutIntoCache) || !strings.Contains(got, dir) {
			t.Errorf("the log is %q", got)
		}
		left, err := filepath.Glob(filepath.Join(dir, ".unpacking-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	}
}

// A kernel is put into the cache by its first start, and found there by the next.
func TestKernelCache(t *testing.T) {
	image, want := packedKernel(t)
	dir := filepath.Join(t.TempDir(), "cache")
	spec := parseRun(t, "--kernel", write(t, string(image), t.TempDir(), "k"), "--kernel-cache", dir)
	a := &app{stderr: os.Stderr}
	if err := a.findUnpacked(&spec); err != nil || spec.unpacked != "" {
		t.Fatalf("at first: %q, %v", spec.unpacked, err)
	}
	inCache(t, &spec)
	if got := readUnpacked(t, spec, os.Stderr); !bytes.Equal(got, want) {
		t.Errorf("%d bytes: not the unpacked kernel", len(got))
	}
	again := parseRun(t, spec.args()...)
	if again.unpacked != spec.unpacked {
		t.Errorf("the nested machine is given %q, want %q", again.unpacked, spec.unpacked)
	}
}

// A cache that was asked for must be usable; the usual one is used if it can be. None
// is touched for a kernel that is not packed.
func TestKernelCacheThatCannotBeUsed(t *testing.T) {
	image, _ := packedKernel(t)
	packed, plain, file := write(t, string(image), t.TempDir(), "k"), write(t, "", t.TempDir(), "k"), write(t, "", t.TempDir(), "file")
	t.Setenv("XDG_CACHE_HOME", file)
	a := &app{stderr: os.Stderr}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--kernel", packed, "--kernel-cache", file}, "--kernel-cache " + file + ": "},
		{[]string{"--kernel", plain, "--kernel-cache", file}, ""},
		{[]string{"--kernel", packed}, ""},
		{[]string{"--kernel", packed, "--kernel-cache", "none"}, ""},
	} {
		spec := parseRun(t, tt.args...)
		err := a.findUnpacked(&spec)
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.args, err, tt.want)
		}
	}
}

// A machine without a kernel starts inside the nested machine, and one with a kernel
// looks into no cache there.
func TestNestedArgsWithoutKernel(t *testing.T) {
	bios := write(t, strings.Repeat("\xf4", 64<<10), t.TempDir(), "bios")
	for _, args := range [][]string{{"--firmware", bios}, {"--kernel", write(t, "", t.TempDir(), "k")}} {
		spec := parseRun(t, args...)
		inside := parseRun(t, spec.nestedArgs()...)
		if want := map[bool]string{true: kernelCacheNone}[spec.kernel != ""]; inside.kernelCache != want {
			t.Errorf("%q: --kernel-cache %q inside, want %q", args, inside.kernelCache, want)
		}
		if inside.kernel != spec.kernel || inside.bios != spec.bios {
			t.Errorf("%q: %q inside", args, spec.nestedArgs())
		}
	}
}
