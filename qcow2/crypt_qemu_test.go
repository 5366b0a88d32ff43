package qcow2

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// qemu runs one of QEMU's tools on the encrypted image "disk" of the lab.
func (l *lab) qemu(passphrase, tool string, args ...string) string {
	l.t.Helper()
	all := []string{args[0], "--object", "secret,id=s,data=" + passphrase}
	if tool == "qemu-io" {
		all = []string{"--object", "secret,id=s,data=" + passphrase}
		args = append([]string{""}, args...)
	}
	all = append(all, args[1:]...)
	all = append(all, "--image-opts", "driver=qcow2,encrypt.key-secret=s,file.filename=disk")
	// QEMU can't make a key when the kernel's accounting calls its work free.
	for range 20 {
		cmd := exec.Command(tool, all...)
		cmd.Dir = l.dir
		out, err := cmd.CombinedOutput()
		if err == nil {
			return string(out)
		}
		if !bytes.Contains(out, []byte("accurate CPU usage")) {
			l.t.Fatalf("%s %s: %v\n%s", tool, strings.Join(all, " "), err, out)
		}
	}
	l.t.Fatal("qemu-img can't measure its speed")
	return ""
}

// isDisk has qemu-img compare the encrypted image "disk" with what it must hold.
func (l *lab) isDisk(passphrase string, want []byte) {
	l.t.Helper()
	if err := os.WriteFile(l.path("want"), want, 0o644); err != nil {
		l.t.Fatal(err)
	}
	l.qemu(passphrase, "qemu-img", "check")
	l.run("qemu-img", "compare", "--object", "secret,id=s,data="+passphrase, "--image-opts",
		"driver=qcow2,encrypt.key-secret=s,file.filename=disk", "driver=raw,file.filename=want")
}

// TestQEMUReadsOurEncrypted has QEMU check, read and write images that we
// created.
func TestQEMUReadsOurEncrypted(t *testing.T) {
	for _, c := range encryptedConfigs() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			model := make([]byte, c.o.Size)
			if c.backing {
				if err := os.WriteFile(l.path("base"), pattern(0xba, 600*kib)[0], 0o644); err != nil {
					t.Fatal(err)
				}
				copy(model, pattern(0xba, 600*kib)[0])
			}
			f, err := OpenFile(l.path("disk"), os.O_RDWR|os.O_CREATE)
			if err != nil {
				t.Fatal(err)
			}
			if err := Create(f, c.o); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				im := l.open("disk", Options{Secret: secret("secret")})
				l.scribble(im, model, rng, 40)
				l.close(im)
				l.isDisk("secret", model)
				l.qemu("secret", "qemu-io", "-c", "write -P 66 12345 100k", "-c", "write -z 512k 64k")
				copy(model[12345:], pattern(66, 100*kib)[0])
				clear(model[512*kib : 576*kib])
				im = l.open("disk", Options{Secret: secret("secret")})
				if err := compareWith(im, model); err != nil {
					t.Fatal(err)
				}
				l.close(im)
			}
		})
	}
}

// TestWeReadQEMUsEncrypted reads and writes images that qemu-img created, and
// uses key slots in turn with it.
func TestWeReadQEMUsEncrypted(t *testing.T) {
	for _, options := range []string{"encrypt.format=luks,encrypt.iter-time=1", "encrypt.format=aes,cluster_size=4k,compat=0.10"} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			rng := seeded(t)
			for range 20 {
				cmd := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=tell",
					"-o", options+",encrypt.key-secret=s", l.path("disk"), "2M")
				if out, err := cmd.CombinedOutput(); err == nil {
					break
				} else if !bytes.Contains(out, []byte("accurate CPU usage")) {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			l.qemu("tell", "qemu-io", "-c", "write -P 1 100k 300k", "-c", "write -P 2 1M 5k", "-c", "write -z 200k 64k")
			model := make([]byte, 2*mib)
			copy(model[100*kib:], pattern(1, 300*kib)[0])
			copy(model[1*mib:], pattern(2, 5*kib)[0])
			clear(model[200*kib : 264*kib])
			im := l.open("disk", Options{Secret: secret("tell")})
			if err := compareWith(im, model); err != nil {
				t.Fatal(err)
			}
			l.scribble(im, model, rng, 60)
			passphrase := "tell"
			if im.Info().Encryption.Method == EncryptionLUKS {
				if _, err := addKey(im, 3, []byte("more"), cheapKeys); err != nil {
					t.Fatal(err)
				}
				if err := eraseKey(im, 0, false); err != nil {
					t.Fatal(err)
				}
				passphrase = "more"
			}
			l.close(im)
			l.isDisk(passphrase, model)
			if passphrase == "tell" {
				return
			}
			l.qemu("more", "qemu-img", "amend", "--object", "secret,id=n,data=third", "-o", "encrypt.state=active,encrypt.new-secret=n,encrypt.keyslot=6,encrypt.iter-time=1")
			im = l.open("disk", Options{Secret: secret("third")})
			if err := compareWith(im, model); err != nil {
				t.Fatal(err)
			}
			l.close(im)
		})
	}
}
