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
	for _, access := range []string{"-n", "-r"} {
		t.Run(access, func(t *testing.T) {
			theirs, ours := t.TempDir(), t.TempDir()
			for _, dir := range []string{theirs, ours} {
				cmd := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "a", "1M")
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				holder := exec.Command("qemu-io", "-f", "qcow2", access, "a")
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
			for _, line := range strings.Split(`info -f qcow2 a
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
				create -q -f qcow2 a 1M`, "\n") {
				compareRuns(t, theirs, ours, strings.TrimSpace(line))
			}
		})
	}
}
