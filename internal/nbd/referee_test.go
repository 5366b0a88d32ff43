package nbd

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/tlstest"
)

// tool runs a program of somebody else's against a server.
func tool(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed (Debian packages libnbd-bin, qemu-utils, fio)", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// filled is a device with random data, and holes, in it.
func filled(t *testing.T, size int) *ram {
	t.Helper()
	d := newRAM(size)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < size; i += 256 << 10 {
		if rng.IntN(2) == 0 {
			continue
		}
		b := make([]byte, 128<<10)
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		if err := d.WriteV([][]byte{b}, int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestNbdinfo(t *testing.T) {
	d := filled(t, 4<<20)
	path, _ := start(t, &Server{Exports: exports(d, newRAM(1<<20))})
	var info struct {
		Protocol string
		TLS      bool `json:"TLS"`
		Exports  []struct {
			Name        string   `json:"export-name"`
			Description string   `json:"description"`
			Contexts    []string `json:"contexts"`
			Size        int64    `json:"export-size"`
			MultiConn   bool     `json:"can_multi_conn"`
			Trim        bool     `json:"can_trim"`
			Zero        bool     `json:"can_zero"`
			FastZero    bool     `json:"can_fast_zero"`
			FUA         bool     `json:"can_fua"`
			DF          bool     `json:"can_df"`
			Cache       bool     `json:"can_cache"`
		}
	}
	out := tool(t, "nbdinfo", "--list", "--json", "nbd+unix:///?socket="+path)
	if err := json.Unmarshal(out, &info); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(info.Exports) != 2 || info.Protocol != "newstyle-fixed" {
		t.Fatalf("%s", out)
	}
	e := info.Exports[0]
	if e.Name != "a" || e.Description != "disk" || e.Size != 4<<20 || len(e.Contexts) != 2 ||
		!e.MultiConn || !e.Trim || !e.Zero || !e.FastZero || !e.FUA || !e.DF || !e.Cache {
		t.Errorf("%s", out)
	}
	bitmap := string(tool(t, "nbdinfo", "--map=qemu:dirty-bitmap:b0", "nbd+unix:///a?socket="+path))
	if want := "0       65536    1  dirty"; !strings.Contains(bitmap, want) {
		t.Errorf("map of the bitmap:\n%s\nwant %q", bitmap, want)
	}
}

// TestNbdcopy copies in and out by several connections.
func TestNbdcopy(t *testing.T) {
	d := filled(t, 16<<20)
	path, _ := start(t, &Server{Exports: exports(d)})
	uri := "nbd+unix:///a?socket=" + path
	file := filepath.Join(t.TempDir(), "copy")
	tool(t, "nbdcopy", uri, file)
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, d.data) {
		t.Fatalf("the copy differs (%v)", err)
	}
	empty := newRAM(16 << 20)
	path, _ = start(t, &Server{Exports: exports(empty)})
	tool(t, "nbdcopy", "--flush", file, "nbd+unix:///a?socket="+path)
	if !bytes.Equal(empty.contents(), d.data) {
		t.Fatal("what was copied in differs")
	}
	if empty.flushes.Load() == 0 {
		t.Error("no flush")
	}
}

// TestQEMU lets qemu-img and qemu-io work on an export.
func TestQEMU(t *testing.T) {
	d := filled(t, 16<<20)
	path, _ := start(t, &Server{Exports: exports(d)})
	uri := "nbd+unix:///a?socket=" + path
	file := filepath.Join(t.TempDir(), "copy.qcow2")
	tool(t, "qemu-img", "convert", "-O", "qcow2", uri, file)
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", uri, file)
	tool(t, "qemu-io", "-f", "raw", uri, "-c", "write -P 7 1000 3M", "-c", "read -P 7 1000 3M",
		"-c", "write -z -u 64k 64k", "-c", "read -P 0 64k 64k", "-c", "write -f -P 9 0 512", "-c", "discard 1M 1M", "-c", "flush")
	if got := d.contents(); got[0] != 9 || got[1000] != 7 || got[100<<10] != 0 || got[1<<20] != 0 {
		t.Error("the device has not what was written")
	}
	out := tool(t, "qemu-img", "map", "--output=json", "-f", "raw", uri)
	if !bytes.Contains(out, []byte(`"zero": true, "data": false`)) {
		t.Errorf("no hole in\n%s", out)
	}
}

// TestNbdinfoTLS connects as libnbd does, with certificates of both sides.
func TestNbdinfoTLS(t *testing.T) {
	dir := tlstest.Credentials(t)
	config, err := LoadTLS(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	path, _ := start(t, &Server{Exports: exports(newRAM(1 << 20)), TLS: config})
	uri := "nbds+unix://localhost/a?socket=" + path + "&tls-certificates=" + dir
	if out := tool(t, "nbdinfo", uri); !bytes.Contains(out, []byte("with TLS")) {
		t.Errorf("%s", out)
	}
}

// TestCopyTLS copies in and out under TLS, by libnbd with several connections and by
// QEMU, which both show a certificate.
func TestCopyTLS(t *testing.T) {
	dir := tlstest.Credentials(t)
	config, err := LoadTLS(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	d := newRAM(16 << 20)
	path, _ := start(t, &Server{Exports: exports(d), TLS: config})
	want := filled(t, 16<<20).contents()
	in, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(in, want, 0o600); err != nil {
		t.Fatal(err)
	}
	uri := "nbds+unix://localhost/a?socket=" + path + "&tls-certificates=" + dir
	tool(t, "nbdcopy", "--connections=3", in, uri)
	if !bytes.Equal(d.contents(), want) {
		t.Error("what nbdcopy copied in differs")
	}
	tool(t, "nbdcopy", "--connections=3", uri, out)
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what nbdcopy copied out differs (%v)", err)
	}
	tool(t, "qemu-img", "compare", "--object", "tls-creds-x509,id=tls0,endpoint=client,dir="+dir, "--image-opts",
		"driver=nbd,server.type=unix,server.path="+path+",export=a,tls-creds=tls0,tls-hostname=localhost", "driver=raw,file.driver=file,file.filename="+in)
}
