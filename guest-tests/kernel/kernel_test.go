package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
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

func TestOpenFindsTheKernel(t *testing.T) {
	root := t.TempDir()
	modules := filepath.Join(root, "lib", "modules", "6.1.0-test")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	tree, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if tree.Release != "6.1.0-test" || tree.ModuleDir() != modules || tree.Image() != filepath.Join(root, "boot", "vmlinuz-6.1.0-test") {
		t.Errorf("got %+v, modules in %s, image %s", tree, tree.ModuleDir(), tree.Image())
	}

	if err := tree.WriteVMLinux(); err == nil {
		t.Error("no error without an image")
	}
	elf := []byte("\x7fELF")
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	zw.Write(elf)
	zw.Close()
	os.Mkdir(filepath.Join(root, "boot"), 0o755)
	if err := os.WriteFile(tree.Image(), bzImage(gz.Bytes()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := tree.WriteVMLinux(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(tree.VMLinux()); err != nil || !bytes.Equal(got, elf) {
		t.Errorf("vmlinux: %q, %v", got, err)
	}
}

func TestOpenNeedsOneKernel(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("an empty directory passed for a kernel package")
	}
}
