package firmware

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A stock kernel's payload unpacks to what other tools make of it: the vmlinux that
// may lie above the directory of the image.
func TestUnpackRealKernels(t *testing.T) {
	eachKernel(t, func(t *testing.T, path string) {
		if filepath.Base(path) == "vmlinux" {
			t.Skip("not packed")
		}
		p, err := OpenPayload(openKernel(t, path))
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Unpack()
		if err != nil {
			t.Fatal(err)
		}
		u, err := openUnpackedELF(bytes.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, %d bytes, relocations: %d of 64 bits, %d negative, %d of 32 bits", p.form.name, len(got),
			len(u.relocations.add64), len(u.relocations.subtract32), len(u.relocations.add32))
		if u.relocations.empty() {
			t.Error("no relocations")
		}
		want, err := os.ReadFile(strings.TrimSuffix(filepath.Dir(path), "boot") + "vmlinux")
		if err == nil && !bytes.Equal(got, want) {
			t.Error("it differs from the vmlinux that another tool unpacked")
		}
	})
}
