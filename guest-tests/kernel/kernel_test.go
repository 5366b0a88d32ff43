package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bzImage returns an image with one setup sector, some code and the payload.
func bzImage(payload []byte) []byte {
	const code = 0x40
	image := make([]byte, 1024+code, 1024+code+len(payload))
	image[offSetupSects] = 1
	copy(image[offMagic:], "HdrS")
	binary.LittleEndian.PutUint16(image[offVersion:], 0x20f)
	binary.LittleEndian.PutUint32(image[offPayloadOffset:], code)
	binary.LittleEndian.PutUint32(image[offPayloadLength:], uint32(len(payload)))
	return append(image, payload...)
}

func TestExtractELFByCompression(t *testing.T) {
	elf := []byte("\x7fELF" + strings.Repeat("kernel text ", 1000))
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	zw.Write(elf)
	zw.Close()

	t.Run("gzip", func(t *testing.T) {
		got, err := ExtractELF(bzImage(gz.Bytes()))
		if err != nil || !bytes.Equal(got, elf) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
	for tool, command := range map[string][]string{
		"xz":   {"xz", "-c", "--check=crc32"},
		"zstd": {"zstd", "-cq"},
		"lz4":  {"lz4", "-clq"},
	} {
		t.Run(tool, func(t *testing.T) {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skipf("%s is not installed", tool)
			}
			packed, err := pipe(elf, command...)
			if err != nil {
				t.Fatal(err)
			}
			packed = binary.LittleEndian.AppendUint32(packed, uint32(len(elf)))
			got, err := ExtractELF(bzImage(packed))
			if err != nil || !bytes.Equal(got, elf) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func TestExtractELFRefuses(t *testing.T) {
	old := bzImage(nil)
	binary.LittleEndian.PutUint16(old[offVersion:], 0x207)
	outside := bzImage([]byte("\x1f\x8b"))
	binary.LittleEndian.PutUint32(outside[offPayloadLength:], 1<<31)
	tests := map[string]struct {
		image []byte
		want  string
	}{
		"empty":               {nil, "not a bzImage"},
		"no header":           {make([]byte, 4096), "not a bzImage"},
		"old protocol":        {old, "2.07"},
		"payload outside":     {outside, "outside the image"},
		"unknown compression": {bzImage([]byte("BZh91AY")), "unknown compression"},
		"no payload":          {bzImage(nil), "unknown compression"},
	}
	for name, tt := range tests {
		if _, err := ExtractELF(tt.image); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tt.want)
		}
	}
}

// moduleFile is the smallest ELF object that says what it depends on.
func moduleFile(depends string) []byte {
	const header, section = 64, 64
	info := []byte("license=GPL\x00depends=" + depends + "\x00name=x\x00")
	names := []byte("\x00.modinfo\x00.shstrtab\x00")
	var b bytes.Buffer
	write := func(v ...any) {
		for _, x := range v {
			binary.Write(&b, binary.LittleEndian, x)
		}
	}
	infoOff := uint64(header)
	namesOff := infoOff + uint64(len(info))
	tableOff := namesOff + uint64(len(names))
	b.WriteString("\x7fELF\x02\x01\x01")
	b.Write(make([]byte, 9))
	write(uint16(1), uint16(62), uint32(1), uint64(0), uint64(0), tableOff, uint32(0),
		uint16(header), uint16(0), uint16(0), uint16(section), uint16(3), uint16(2))
	b.Write(info)
	b.Write(names)
	b.Write(make([]byte, section))
	for _, s := range []struct {
		name, kind uint32
		off, size  uint64
	}{{1, 1, infoOff, uint64(len(info))}, {10, 3, namesOff, uint64(len(names))}} {
		write(s.name, s.kind, uint64(0), uint64(0), s.off, s.size, uint32(0), uint32(0), uint64(1), uint64(0))
	}
	return b.Bytes()
}

// tree makes an unpacked kernel package with the given modules.
func tree(t *testing.T, modules map[string]string) Tree {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "lib", "modules", "6.1.0-test")
	for path, depends := range modules {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, moduleFile(depends), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "modules.builtin"), []byte("kernel/lib/built-in-thing.ko\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tr, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestClosureOrdersByDependency(t *testing.T) {
	modules, err := tree(t, map[string]string{
		"kernel/drivers/megaraid_sas.ko": "scsi_mod",
		"kernel/drivers/sd_mod.ko":       "scsi_mod,t10-pi,built_in_thing",
		"kernel/drivers/scsi_mod.ko":     "scsi_common",
		"kernel/drivers/scsi_common.ko":  "",
		"kernel/block/t10-pi.ko":         "",
		"kernel/fs/unrelated.ko":         "",
	}).Modules()
	if err != nil {
		t.Fatal(err)
	}
	got, err := modules.Closure("sd_mod", "megaraid-sas")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range got {
		names = append(names, m.Name)
	}
	if want := []string{"scsi_common", "scsi_mod", "t10_pi", "sd_mod", "megaraid_sas"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	const dep = "kernel/drivers/scsi_common.ko:\n" +
		"kernel/drivers/scsi_mod.ko: kernel/drivers/scsi_common.ko\n" +
		"kernel/block/t10-pi.ko:\n" +
		"kernel/drivers/sd_mod.ko: kernel/drivers/scsi_mod.ko kernel/block/t10-pi.ko\n" +
		"kernel/drivers/megaraid_sas.ko: kernel/drivers/scsi_mod.ko\n"
	if got := DependencyFile(got); got != dep {
		t.Errorf("modules.dep:\n%swant:\n%s", got, dep)
	}
	if !modules.Has("t10_pi") || !modules.Has("built-in-thing") || modules.Has("absent") {
		t.Error("Has is wrong about t10_pi, built-in-thing or absent")
	}
	if _, err := modules.Closure("absent"); err == nil {
		t.Error("no error for a module that is not there")
	}
}

func TestOpenNeedsOneKernel(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("an empty directory passed for a kernel package")
	}
}
