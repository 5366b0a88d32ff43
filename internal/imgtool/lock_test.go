package imgtool

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
)

// TestLockedAgainstQEMU runs commands on an image that somebody has open, for
// writing or for reading: what is refused, and what -U permits, is the same.
func TestLockedAgainstQEMU(t *testing.T) {
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip("qemu-io is not installed (Debian package qemu-utils)")
	}
	for _, format := range []string{"qcow2", "raw"} {
		for _, access := range []string{"-n", "-r"} {
			t.Run(format+" "+access, func(t *testing.T) {
				theirs, ours := t.TempDir(), t.TempDir()
				for _, dir := range []string{theirs, ours} {
					holdImage(t, dir, format, access)
				}
				for _, line := range strings.Split(lockedLines[format], "\n") {
					compareRuns(t, theirs, ours, strings.TrimSpace(line))
				}
			})
		}
	}
}

// holdImage makes an image called a in a directory, and has qemu-io open it until the test ends.
func holdImage(t *testing.T, dir, format, access string) {
	t.Helper()
	cmd := exec.Command("qemu-img", "create", "-q", "-f", format, "a", "1M")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	holder := exec.Command("qemu-io", "-f", format, access, "a")
	holder.Dir = dir
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if prompt, err := bufio.NewReader(out).ReadString('>'); err != nil {
		t.Fatalf("%q: %v", prompt, err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := holder.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// lockedLines are commands on an image called a, by its format. There is no "create" over a raw
// one: qemu-img truncates what somebody has open, and that is refused here.
var lockedLines = map[string]string{
	"qcow2": `info -f qcow2 a
		info -U -f qcow2 a
		check -f qcow2 a
		check -U -f qcow2 a
		check -r all -f qcow2 a
		map -f qcow2 a
		map -U -f qcow2 a
		resize -f qcow2 a 2M
		snapshot -l a
		snapshot -U -l a
		snapshot -c one a
		bitmap --add -f qcow2 a b
		convert -f qcow2 -O raw a b
		convert -U -f qcow2 -O raw a c
		measure -f qcow2 -O raw a
		create -f qcow2 -b a -F qcow2 over
		create -f qcow2 -b over -F qcow2 over2
		create -u -f qcow2 -b a -F qcow2 unseen 1M
		commit unseen
		commit -d unseen
		commit -p -b a unseen
		check -f qcow2 unseen
		snapshot -c s unseen
		create -q -f qcow2 a 1M`,
	"raw": `info -f raw a
		info a
		info -U a
		check -f raw a
		map -f raw a
		map a
		resize -f raw a 2M
		resize -f raw --shrink a 1M
		snapshot -l a
		convert -f raw -O qcow2 a b
		convert -O qcow2 a b
		convert -U -f raw -O qcow2 a c
		convert -n -f raw -O raw a a
		convert -n -f qcow2 -O raw c a
		compare -f raw -F qcow2 a c
		dd -f raw -O raw if=a of=d bs=64k
		measure -f raw -O qcow2 a
		bench -f raw -c 1 a
		bench -f raw -w -c 1 a
		create -f qcow2 -b a -F raw over
		info over
		map over
		check over
		convert -f raw -O raw -B a c f
		compare -f qcow2 -F qcow2 over c
		rebase -u -b a -F raw over
		rebase -b a -F raw over
		commit over
		commit -d over`,
}
