package guesttests

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
	"github.com/govmm/govmm/guest-tests/ioverify"
)

// smallLoad is for tests of something else than the load.
var smallLoad = ioverify.Plan{Seed: 11, Offset: 64 << 20, Length: 4 << 20, Workers: 2, Operations: 30,
	Sizes: []int{512, 4096, 65536}, Reads: 30}

// largeLoad has operations that are smaller than a cluster, cross clusters, and
// are as large as the driver sends.
var largeLoad = ioverify.Plan{Seed: 12, Offset: 100<<20 + 512, Length: 24 << 20, Workers: 4, Operations: 100,
	Sizes: []int{512, 1536, 4096, 65536, 140 << 10, 1 << 20}, Reads: 40}

// ioVerify carries out a plan in the guest.
func ioVerify(g *guest, plan ioverify.Plan, flags ...string) (done struct{ Run, Verify ioverify.Counters }) {
	g.Helper()
	argv := append([]string{"/init", "io-verify", "--dev", "/dev/sda"}, append(plan.Args(), flags...)...)
	if err := json.Unmarshal([]byte(g.run(argv...)), &done); err != nil {
		g.Fatal(err)
	}
	return done
}

// TestReadWriteVerify writes and reads with direct I/O. Data goes three ways:
// from the guest back to the guest, from the guest to programs outside, and
// from outside to the guest.
func TestReadWriteVerify(t *testing.T) {
	t.Parallel()
	v := vmm(t)
	disk := image(t, "512M")
	// Two areas are written from outside: one with data, one with zeroes.
	qemuIO(t, disk, "write -P 0xc3 1M 3M", "write -z 4M 1M")

	g := start(t, v, debian12(t, disk))
	t.Run("outside to guest", func(t *testing.T) {
		got := g.with(t).sh(`dd if=/dev/sda bs=1M skip=1 count=4 iflag=direct status=none | sha256sum`)
		data := append(bytes.Repeat([]byte{0xc3}, 3<<20), make([]byte, 1<<20)...)
		if want := fmt.Sprintf("%x  -\n", sha256.Sum256(data)); got != want {
			t.Errorf("checksum %s, want %s", got, want)
		}
	})
	t.Run("overwrite", func(t *testing.T) {
		// 4 KiB in the middle of a cluster that qemu-io wrote.
		g.with(t).sh(`tr '\000' '\132' < /dev/zero | dd of=/dev/sda bs=4k seek=385 count=1 iflag=fullblock oflag=direct status=none`)
	})
	t.Run("load", func(t *testing.T) {
		done := ioVerify(g.with(t), largeLoad)
		if total := done.Run.Reads + done.Run.Writes; total != uint64(largeLoad.Workers*largeLoad.Operations) {
			t.Errorf("%d operations done, want %d", total, largeLoad.Workers*largeLoad.Operations)
		}
		t.Logf("%+v", done)
	})
	t.Run("last block", func(t *testing.T) {
		g.with(t).sh(`tr '\000' '\231' < /dev/zero | dd of=/dev/sda bs=512 seek=1048575 count=1 iflag=fullblock oflag=direct status=none
			! dd if=/dev/zero of=/dev/sda bs=512 seek=1048576 count=1 oflag=direct status=none 2>/dev/null`)
	})
	g.powerOff()

	checkImage(t, disk)
	qemuIO(t, disk,
		"read -P 0xc3 1M 516k", "read -P 0x5a 1540k 4k", "read -P 0xc3 1544k 2552k", // the overwrite
		"read -P 0 4M 1M",
		"read -P 0x99 536870400 512")
	verifyOutside(t, disk, largeLoad)
}

// verifyOutside checks the data of a load in an image that qemu-img unpacks.
func verifyOutside(t *testing.T, disk string, plan ioverify.Plan) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	qemuImg(t, "convert", "-O", "raw", disk, raw)
	f, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain := func(n int) ([]byte, error) { return make([]byte, n), nil }
	if _, err := ioverify.Verify(f, plan, plain); err != nil {
		t.Errorf("the image, as qemu-img reads it: %v", err)
	}
}

func qemuIO(t *testing.T, disk string, commands ...string) {
	t.Helper()
	if err := harness.QemuIO(t.Context(), disk, "qcow2", commands...); err != nil {
		t.Fatal(err)
	}
}
