package block

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// TestBlkdebug injects faults under a qcow2 image and a raw disk, as their spec
// says.
func TestBlkdebug(t *testing.T) {
	at := newDir(t)
	config := at.join("config")
	text := "[inject-error]\nevent = \"write_aio\"\nerrno = \"28\"\nonce = \"on\"\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	disk := at.image("disk", qcow2.CreateOptions{Size: 1 << 20})
	if err := os.WriteFile(at.join("bare"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{disk + ",blkdebug=" + config, at.join("bare") + ",format=raw,blkdebug=" + config} {
		spec, _, err := ParseSpec(s)
		if err != nil {
			t.Fatal(err)
		}
		d := mustOpen(t, spec)
		buf := [][]byte{make([]byte, 4096)}
		if err := d.WriteV(buf, 0); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: write: %v", s, err)
		}
		if err := errors.Join(d.WriteV(buf, 0), d.Flush(), d.ReadV(buf, 0)); err != nil {
			t.Errorf("%s: after that: %v", s, err)
		}
		if m, ok := d.(Mapper); ok {
			if _, _, err := m.Allocated(0, 4096); err != nil {
				t.Errorf("%s: allocated: %v", s, err)
			}
		}
		if names := Files(d); len(names) != 1 || names[0] != spec.Path {
			t.Errorf("files are %q", names)
		}
	}
	if _, err := Open(Spec{Path: disk, DebugConfig: at.join("nowhere")}); err == nil || !strings.Contains(err.Error(), "config file") {
		t.Errorf("without the configuration: %v", err)
	}
}
