package block

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/qcow2/luks"
)

var cheapKey = luks.Params{KeyParams: luks.KeyParams{Iterations: 1}}

// luksDisk makes a LUKS disk with a passphrase in a file.
func (d dir) luksDisk(name string, size int64) Spec {
	d.t.Helper()
	f, err := qcow2.OpenFile(d.join(name), os.O_RDWR|os.O_CREATE)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := errors.Join(CreateLUKS(f, size, []byte("tell\n"), cheapKey), f.Close()); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(d.join("key"), []byte("tell\n"), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return Spec{Path: d.join(name), Format: FormatLUKS, KeyFile: d.join("key")}
}

// TestLUKS writes a LUKS disk, reads it again, and looks for plain text in the
// file.
func TestLUKS(t *testing.T) {
	at := newDir(t)
	spec := at.luksDisk("disk", 1<<20-100)
	d := mustOpen(t, spec)
	if d.Size() != 1<<20 || d.CanDiscard() || d.DiscardZeroes() || d.ReadOnly() {
		t.Errorf("size %d, discard %v, %v", d.Size(), d.CanDiscard(), d.DiscardZeroes())
	}
	text := bytes.Repeat([]byte("plain text "), 30<<10)
	if err := d.WriteV([][]byte{text[:1000], text[1000:]}, 777); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteZeroes(1777, 300<<10, true); err != nil {
		t.Fatal(err)
	}
	clear(text[1000 : 1000+300<<10])
	if err := errors.Join(d.Discard(0, 4096), d.Flush(), d.Close()); err != nil {
		t.Fatal(err)
	}
	spec.ReadOnly, spec.KeyFile, spec.Secret = true, "", "tell\n"
	d = mustOpen(t, spec)
	got := make([]byte, len(text))
	if err := d.ReadV([][]byte{got[:5], got[5:]}, 777); err != nil || !bytes.Equal(got, text) {
		t.Errorf("read something else, %v", err)
	}
	if err := d.WriteV([][]byte{got}, 0); !errors.Is(err, ErrReadOnly) {
		t.Errorf("write to a read-only disk: %v", err)
	}
	for _, off := range []int64{-1, 1<<20 - 1} {
		if err := d.ReadV([][]byte{got[:2]}, off); !errors.Is(err, ErrRange) {
			t.Errorf("read at %d: %v", off, err)
		}
	}
	file, err := os.ReadFile(at.join("disk"))
	if err != nil || bytes.Contains(file, []byte("plain text")) {
		t.Errorf("plain text in the file, %v", err)
	}
}

// TestLUKSRefused opens what needs a passphrase without the right one.
func TestLUKSRefused(t *testing.T) {
	at := newDir(t)
	good := at.luksDisk("disk", 1<<20)
	at.raw("raw", 0, 4<<20)
	at.raw("empty", 0, 0)
	with := func(change func(*Spec)) Spec {
		s := good
		change(&s)
		return s
	}
	for name, tt := range map[string]struct {
		spec Spec
		want error
	}{
		"no passphrase":    {with(func(s *Spec) { s.KeyFile = "" }), ErrSecret},
		"wrong passphrase": {with(func(s *Spec) { s.Secret = "tell" }), luks.ErrPassphrase},
		"no key file":      {with(func(s *Spec) { s.KeyFile = at.join("nowhere") }), ErrSecret},
		"empty key file":   {with(func(s *Spec) { s.KeyFile = at.join("empty") }), ErrSecret},
		"large key file":   {with(func(s *Spec) { s.KeyFile = at.join("raw") }), ErrSecret},
		"directory as key": {with(func(s *Spec) { s.KeyFile = at.path }), ErrSecret},
		"not a LUKS disk":  {with(func(s *Spec) { s.Path = at.join("raw") }), luks.ErrFormat},
		"nothing":          {with(func(s *Spec) { s.Path = at.join("empty") }), luks.ErrInvalid},
		"never guessed":    {with(func(s *Spec) { s.Format = "" }), ErrFormat},
	} {
		d, err := Open(tt.spec)
		if d != nil || !errors.Is(err, tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want one line, %v", name, err, tt.want)
		}
	}
}

// TestLUKSUnderImage has a qcow2 image on top of a LUKS disk.
func TestLUKSUnderImage(t *testing.T) {
	at := newDir(t)
	spec := at.luksDisk("base", 1<<20)
	d := mustOpen(t, spec)
	if err := errors.Join(d.WriteV([][]byte{bytes.Repeat([]byte{9}, 4096)}, 8192), d.Close()); err != nil {
		t.Fatal(err)
	}
	top := at.image("top", qcow2.CreateOptions{Size: 1 << 20, BackingFile: "base", BackingFormat: "luks"})
	if b := readByte(t, mustOpen(t, Spec{Path: top, ReadOnly: true, KeyFile: spec.KeyFile}), 9000); b != 9 {
		t.Errorf("read %d", b)
	}
	if _, err := Open(Spec{Path: top, ReadOnly: true}); !errors.Is(err, ErrSecret) {
		t.Errorf("without a passphrase: %v", err)
	}
}

// TestEncryptedImage opens an encrypted qcow2 image on top of another one.
func TestEncryptedImage(t *testing.T) {
	at := newDir(t)
	e := &qcow2.Encryption{Secret: []byte("tell"), LUKS: cheapKey}
	at.image("base", qcow2.CreateOptions{Size: 1 << 20, Encryption: e})
	top := at.image("top", qcow2.CreateOptions{Size: 1 << 20, Encryption: e, BackingFile: "base", BackingFormat: "qcow2"})
	d := mustOpen(t, Spec{Path: at.join("base"), Secret: "tell"})
	if err := errors.Join(d.WriteV([][]byte{bytes.Repeat([]byte{9}, 4096)}, 8192), d.Close()); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, Spec{Path: top, Secret: "tell"})
	if b := readByte(t, d, 9000); b != 9 {
		t.Errorf("read %d", b)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Spec{Path: top}); !errors.Is(err, qcow2.ErrSecret) {
		t.Errorf("without a passphrase: %v", err)
	}
	if _, err := Open(Spec{Path: top, Secret: "show"}); !errors.Is(err, luks.ErrPassphrase) {
		t.Errorf("with a wrong passphrase: %v", err)
	}
	if _, err := Open(Spec{Path: top, KeyFile: at.join("nowhere")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its key file: %v", err)
	}
}

// TestLUKSAndQEMU has qemu-io read what we wrote, and write what we read.
func TestLUKSAndQEMU(t *testing.T) {
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip("qemu-utils not installed")
	}
	at := newDir(t)
	spec := at.luksDisk("disk", 1<<20)
	d := mustOpen(t, spec)
	if err := errors.Join(d.WriteV([][]byte{bytes.Repeat([]byte{0x11}, 65536)}, 1<<20-65536), d.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("qemu-io", "--object", "secret,id=s,file="+spec.KeyFile, "--image-opts",
		"driver=luks,key-secret=s,file.filename="+spec.Path, "-c", "read -P 0x11 983040 65536", "-c", "write -P 0x22 1000 2000", "-c", "length").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("1 MiB")) {
		t.Fatalf("%v\n%s", err, out)
	}
	d = mustOpen(t, spec)
	if a, b := readByte(t, d, 1000), readByte(t, d, 2999); a != 0x22 || b != 0x22 {
		t.Errorf("read %#x, %#x", a, b)
	}
}
