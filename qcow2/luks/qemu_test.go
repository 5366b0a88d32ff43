package luks

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fileStorage is a plain LUKS disk.
type fileStorage struct{ *os.File }

func openDisk(t *testing.T, path string) fileStorage {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return fileStorage{f}
}

// tool runs one of QEMU's tools or cryptsetup, which must succeed. QEMU gives up
// making a key when the kernel's accounting calls its work free.
func tool(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	var out []byte
	var err error
	for range 20 {
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err = cmd.CombinedOutput(); !bytes.Contains(out, []byte("accurate CPU usage")) {
			break
		}
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// options are the -o options by which qemu-img makes a volume like p.
func (p Params) options() string {
	o := "key-secret=s,iter-time=1"
	for k, v := range map[string]string{"cipher-alg": p.Cipher, "cipher-mode": p.Mode, "ivgen-alg": p.IVGen, "ivgen-hash-alg": p.IVHash, "hash-alg": p.Hash} {
		if v != "" {
			o += "," + k + "=" + v
		}
	}
	return o
}

// plainSectors is what the tests write at sector 100 of a disk.
func plainSectors() []byte { return bytes.Repeat([]byte{0x5a}, 8*SectorSize) }

// TestOpenWhatQEMUMade opens a volume of qemu-img, which takes seconds to make
// one, and reads what qemu-io wrote.
func TestOpenWhatQEMUMade(t *testing.T) {
	for _, p := range []Params{{}} {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "disk")
			secret := []string{"--object", "secret,id=s,data=tell"}
			tool(t, "", "qemu-img", append([]string{"create", "-q", "-f", "luks", "-o", p.options(), path, "1M"}, secret...)...)
			tool(t, "", "qemu-io", append(secret, "--image-opts", "driver=luks,key-secret=s,file.filename="+path, "-c", "write -P 0x5a 51200 4k")...)
			f := openDisk(t, path)
			v, err := Open(f, []byte("tell"), OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			h := v.Header()
			got := make([]byte, 8*SectorSize)
			if _, err := f.ReadAt(got, h.PayloadOffset()+51200); err != nil {
				t.Fatal(err)
			}
			v.Cipher().Decrypt(got, got, 100)
			if !bytes.Equal(got, plainSectors()) {
				t.Error("read something else")
			}
			if _, err := v.AddKey(5, []byte("more"), quick); err != nil {
				t.Fatal(err)
			}
			if err := v.EraseKey(0, false); err != nil {
				t.Fatal(err)
			}
			tool(t, "", "qemu-io", "--object", "secret,id=s,data=more", "--image-opts", "driver=luks,key-secret=s,file.filename="+path, "-c", "read -P 0x5a 51200 4k")
		})
	}
}

// TestQEMUOpensOurs has qemu-io read and write volumes that we created.
func TestQEMUOpensOurs(t *testing.T) {
	for _, p := range allParams() {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			if p.Cipher == "aes-192" && p.Mode == "cbc" {
				t.Skip("QEMU 7.2 aborts on keys of 24 bytes")
			}
			f, v := ourDisk(t, p)
			out := tool(t, "", "qemu-io", "--object", "secret,id=s,data=tell", "--image-opts",
				"driver=luks,key-secret=s,file.filename="+f.Name(), "-c", "read -P 0x5a 51200 4k", "-c", "write -P 0x77 0 512")
			if strings.Contains(out, "failed") {
				t.Error(out)
			}
			got := make([]byte, SectorSize)
			h := v.Header()
			if _, err := f.ReadAt(got, h.PayloadOffset()); err != nil {
				t.Fatal(err)
			}
			v.Cipher().Decrypt(got, got, 0)
			if !bytes.Equal(got, bytes.Repeat([]byte{0x77}, SectorSize)) {
				t.Error("read something else than qemu-io wrote")
			}
		})
	}
}

// ourDisk is a disk of 1 MiB with data at sector 100.
func ourDisk(t *testing.T, p Params) (fileStorage, *Volume) {
	t.Helper()
	size, err := p.HeaderSize()
	if err != nil {
		t.Fatal(err)
	}
	f := openDisk(t, filepath.Join(t.TempDir(), "disk"))
	if err := f.Truncate(size + 1<<20); err != nil {
		t.Fatal(err)
	}
	p.IterTime = time.Millisecond
	v, err := Create(f, []byte("tell"), p)
	if err != nil {
		t.Fatal(err)
	}
	data := plainSectors()
	v.Cipher().Encrypt(data, data, 100)
	if _, err := f.WriteAt(data, size+51200); err != nil {
		t.Fatal(err)
	}
	return f, v
}

// TestCryptsetupAgrees has cryptsetup print our headers and try passphrases.
func TestCryptsetupAgrees(t *testing.T) {
	for _, p := range allParams() {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			f, v := ourDisk(t, p)
			if _, err := v.AddKey(6, []byte("six"), quick); err != nil {
				t.Fatal(err)
			}
			dump := tool(t, "", "cryptsetup", "luksDump", f.Name())
			h := v.Header()
			for _, want := range []string{
				"Version:       \t1",
				"Cipher mode:   \t" + h.CipherMode,
				"Hash spec:     \t" + h.Hash,
				fmt.Sprintf("Payload offset:\t%d", h.Payload),
				fmt.Sprintf("MK bits:       \t%d", 8*h.KeyBytes),
				"UUID:          \t" + h.UUID,
				"Key Slot 0: ENABLED", "Key Slot 1: DISABLED", "Key Slot 6: ENABLED",
			} {
				if !strings.Contains(dump, want) {
					t.Errorf("no %q in\n%s", want, dump)
				}
			}
			if p.Mode == "ecb" || p.Cipher == "aes-192" {
				return // cryptsetup leaves these to a kernel with device-mapper
			}
			for slot, passphrase := range map[string]string{"0": "tell", "6": "six"} {
				tool(t, passphrase, "cryptsetup", "open", "--test-passphrase", "--key-file=-", "--key-slot="+slot, "--disable-locks", f.Name())
			}
		})
	}
}

// TestOpenWhatCryptsetupMade opens a volume of cryptsetup.
func TestOpenWhatCryptsetupMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	f := openDisk(t, path)
	if err := f.Truncate(8 << 20); err != nil {
		t.Fatal(err)
	}
	tool(t, "tell", "cryptsetup", "luksFormat", "--type=luks1", "--batch-mode", "--key-file=-", "--pbkdf-force-iterations=1000", "--cipher=aes-xts-plain64", "--key-size=512", path)
	v, err := Open(f, []byte("tell"), OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.AddKey(AnySlot, []byte("more"), quick); err != nil {
		t.Fatal(err)
	}
	tool(t, "more", "cryptsetup", "open", "--test-passphrase", "--key-file=-", path)
}
